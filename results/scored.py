"""What rows were scored on: scores of other images, labels, classes or sizes are never ranked with each other."""

from itertools import pairwise
from typing import Any

import pandas as pd

from results.columns import PROTOCOL_OF_SCORE, SCORED, LeaderboardError, scored_columns

FIRST_VERSION = 5
"""Schema version from which on rows name what was scored; of older ones it is unknown."""

SHORT = 8
"""Digits of a fingerprint that people are shown."""

Scored = tuple[Any, ...]
"""Values of ``scored_columns``, ``None`` where they are unknown."""


def scored_of(frame: pd.DataFrame, metric: str = "miou") -> list[Scored]:
    """What each row of ``frame`` was scored on."""
    values = frame[scored_columns(metric)].astype("object")
    return list(values.where(values.notna(), None).itertuples(index=False, name=None))


def scored_codes(frame: pd.DataFrame, metric: str = "miou") -> pd.Series:
    """A number for each row: the same where the same was scored, the lowest for what was scored last."""
    codes = frame.groupby(scored_columns(metric), sort=False, dropna=False).ngroup()
    if not codes.max() > 0:
        return codes
    last = frame["created_utc"].groupby(codes).max()
    return codes.map(last.rank(ascending=False, method="first")).astype("int64") - 1


def described(scored: Scored) -> str:
    """What was scored, for people."""
    if len(scored) != len(SCORED):
        return "unknown images" if scored[0] is None else f"images {scored[0][:SHORT]}"
    split, fingerprint, class_set, height, width = scored
    images = "unknown images" if fingerprint is None else f"{split} {fingerprint[:SHORT]}"
    size = f" at {height}×{width}" if height is not None else ""
    return f"{images}, {class_set or 'unknown classes'}{size}"


def difference(first: Scored, second: Scored) -> str:
    """Why scores of the two are not compared, in words."""
    if len(first) != len(SCORED):
        return f"scored on different images: {described(first)} and {described(second)}"
    if (first[1] is None) != (second[1] is None):
        images = described(first if first[1] is not None else second)
        return f"one row says that it is of {images}, the other is older than schema {FIRST_VERSION} and does not say"
    if first[:2] != second[:2]:
        return f"scored on different images: {described(first)} and {described(second)}"
    if first[2] != second[2]:
        return f"scored on different classes: {first[2]} and {second[2]}"
    sizes = " and ".join(
        "several sizes" if size[0] is None else f"{size[0]}×{size[1]}" for size in (first[3:], second[3:])
    )
    return f"scored at different sizes of the labels: {sizes}"


def not_compared(frame: pd.DataFrame, metric: str = "miou") -> list[str]:
    """A line for each evaluation set whose rows are ranked apart, because not all were scored on the same."""
    finished = frame[(frame["status"] == "finished") & frame["evaluation_set"].notna()]
    if not len(finished) or scored_codes(finished, metric).max() == 0:
        return []
    told: dict[str, None] = {}
    for key, group in finished.groupby(PROTOCOL_OF_SCORE, dropna=False, sort=False):
        newest_first = sorted(set(zip(scored_codes(group, metric), scored_of(group, metric), strict=True)))
        for (_, first), (_, second) in pairwise(newest_first):
            told[f"not compared: rows of {key[2]} {difference(first, second)}"] = None
    return list(told)


def newest(frame: pd.DataFrame, metric: str = "miou") -> pd.DataFrame:
    """``frame`` without the scores of an evaluation set that were taken on something else than its newest ones."""
    has_score = frame["evaluation_set"].notna()
    scored = frame[has_score]
    if not len(scored) or scored_codes(scored, metric).max() == 0:
        return frame
    codes = scored_codes(scored, metric)
    lowest = codes.groupby([scored[name] for name in PROTOCOL_OF_SCORE], dropna=False).transform("min")
    return frame[~has_score | frame.index.isin(scored.index[codes == lowest])]


def require_comparable(frame: pd.DataFrame, metric: str = "miou") -> None:
    """Refuse rows of which some can not be compared with others.

    Raises:
        LeaderboardError: with the first reason.
    """
    if told := not_compared(frame, metric):
        raise LeaderboardError(f"{told[0]}; make all rows anew")
