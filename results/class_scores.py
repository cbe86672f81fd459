"""IoU by class: which classes a configuration is good at, and how much of the picture each is."""

import numpy as np
import pandas as pd

from results.columns import CLASS_SCORES, CONFIG, SCORED
from results.configurations import scored_rows, statistics

_UNIT = [*CONFIG, "evaluation_set", *SCORED, "checkpoint"]


def per_class(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration, evaluation set, what was scored, checkpoint and class that occurs there.

    ``class`` (``traffic_light``), n, mean, sd, low, high (95 %) and median of its IoU over the seeds, and
    ``frequency``: its share of the labeled pixels (NaN where a row holds no confusion matrix).
    """
    scored = scored_rows(frame, "miou")
    names = [name for name in CLASS_SCORES if name in frame.columns]
    shown = list(dict.fromkeys([*_UNIT, "seed"]))
    shares = _frequencies(scored, names)
    long = scored[shown].join(scored[names]).melt(id_vars=shown, var_name="class", ignore_index=False)
    shares = shares.melt(var_name="class", value_name="frequency", ignore_index=False)
    long["frequency"] = shares["frequency"].to_numpy()
    long = long[long["value"].notna()]
    long["class"] = long["class"].str.removeprefix("iou.")
    unit = [*_UNIT, "class"]
    table = statistics(long, unit)
    frequency = long.groupby(unit, sort=False, dropna=False)["frequency"].mean().reset_index()
    table = table.merge(frequency, on=unit)
    order = {name.removeprefix("iou."): place for place, name in enumerate(names)}
    return table.sort_values(["class"], key=lambda column: column.map(order), kind="stable").sort_values(
        _UNIT, kind="stable", ignore_index=True
    )


def class_metrics(frame: pd.DataFrame) -> list[str]:
    """The ``iou.*`` columns that hold any value."""
    return [name for name in CLASS_SCORES if name in frame.columns and frame[name].notna().any()]


def worst_class(frame: pd.DataFrame) -> pd.Series:
    """The lowest IoU of any class that occurs, row by row."""
    return frame[[name for name in CLASS_SCORES if name in frame.columns]].min(axis=1)


def _frequencies(scored: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Share of the labeled pixels by class, from the rows of the confusion matrices (truth in rows)."""
    shares = np.full((len(scored), len(names)), np.nan)
    for line, counts in enumerate(scored["confusion"]):
        if counts is None or np.ndim(counts) == 0 or len(counts) != len(CLASS_SCORES) ** 2:
            continue
        pixels = np.asarray(counts, dtype=float).reshape(len(CLASS_SCORES), -1).sum(axis=1)
        if pixels.sum() > 0:
            shares[line] = (pixels / pixels.sum())[[CLASS_SCORES.index(name) for name in names]]
    return pd.DataFrame(shares, index=scored.index, columns=names)
