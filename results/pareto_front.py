"""Two objectives at once: which configurations nobody beats in both."""

import numpy as np
import pandas as pd

from results.class_scores import worst_class
from results.columns import (
    CONFIG,
    HIGHER_IS_BETTER,
    PROTOCOL_OF_SCORE,
    TOTAL_SECONDS,
    WORST_CLASS,
    resolve_metric,
    scored_columns,
)
from results.configurations import table_of, varied_columns


def pareto(frame: pd.DataFrame, score: str = "miou", cost: str = TOTAL_SECONDS) -> pd.DataFrame:
    """One row per configuration, evaluation set and checkpoint with the means of both, the best ``score`` first.

    ``on_front``: no other among the ``COMPARABLE`` rows is at least as good in both and better in one. Besides the
    columns of the frame either may be ``total_seconds`` (a trial's seconds with what its hits had cost: fair where
    stages are shared) or ``worst_iou`` (the lowest IoU of a class). Lower is better but for scores and rates.
    Means over seeds, without regard to their intervals (``score_low``, ``score_high``).
    Raises LeaderboardError if either is unknown or not a number.
    """
    frame = frame.assign(
        **{TOTAL_SECONDS: frame["seconds"] + frame["seconds_saved"].fillna(0.0), WORST_CLASS: worst_class(frame)}
    )
    score, cost = (resolve_metric(frame, metric) for metric in (score, cost))
    apart = scored_columns(score)
    unit = [*CONFIG, "evaluation_set", *apart, "checkpoint"]
    scores, costs = (table_of(frame, metric, (), scored_as=score)[0] for metric in (score, cost))
    varied = varied_columns(frame)
    renamed = {"metric": "score", "mean": "score_mean", "low": "score_low", "high": "score_high"}
    table = scores[[*unit, "n", *renamed, *varied]].rename(columns=renamed)
    renamed = {"metric": "cost", "mean": "cost_mean"}
    table = table.merge(costs[[*unit, *renamed]].rename(columns=renamed), on=unit)
    table = table[table["score_mean"].notna() & table["cost_mean"].notna()].reset_index(drop=True)
    table.insert(len(unit), "on_front", False)
    signs = [1.0 if str(name) in HIGHER_IS_BETTER else -1.0 for name in (scores["metric"].max(), costs["metric"].max())]
    for _, group in table.groupby([*PROTOCOL_OF_SCORE, *apart], dropna=False, sort=False):
        points = group[["score_mean", "cost_mean"]].to_numpy(dtype=float) * signs
        table.loc[group.index, "on_front"] = front(points)
    return table


def front(points: np.ndarray) -> np.ndarray:
    """Which of the points [k, 2], where more is better in both, none dominates: one pass over the sorted points."""
    if not len(points):
        return np.zeros(0, dtype=bool)
    order = np.lexsort((-points[:, 1], -points[:, 0]))
    first, second = points[order, 0], points[order, 1]
    best_before = np.maximum.accumulate(np.concatenate([[-np.inf], second[:-1]]))
    is_new = second > best_before
    # Equal in both to the last one that was on the front: neither beats the other.
    is_same = np.concatenate([[False], (first[1:] == first[:-1]) & (second[1:] == second[:-1])])
    kept = np.zeros(len(points), dtype=bool)
    last = False
    for position, (new, same) in enumerate(zip(is_new, is_same, strict=True)):
        last = bool(new or (same and last))
        kept[order[position]] = last
    return kept
