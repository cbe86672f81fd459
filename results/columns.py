"""Names of a leaderboard's columns: what they mean together, and which one a person meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import pandas as pd

from results.schema import COLUMNS, SCORE

CONFIG = ["experiment", "preset", "arm", "config_hash", "seed_scope"]
"""What makes two rows the same configuration."""

PROTOCOL_OF_SCORE = ["experiment", "preset", "evaluation_set", "checkpoint", "seed_scope"]
"""What rows must share by name to be ranked with each other; by content they must share ``scored_columns`` too."""

SCORED = ["scored_split", "scored_fingerprint", "class_set", "label_height", "label_width"]
"""What a row was scored on: which images and labels, which classes, and at which size."""

SCORED_OF_OBJECTIVE = {"source_miou": ["source_fingerprint"], "target_infomax": ["target_fingerprint"]}
"""The same for columns that repeat a number of the trial, whatever set their row is of."""

COMPARABLE = [*PROTOCOL_OF_SCORE, *SCORED]
"""Configurations are ranked among those that share these, never across."""

FEW_SEEDS = 3
"""Below this number of seeds an interval is flagged: it says next to nothing."""

CLASS_SCORES = [column.name for column in COLUMNS if column.name.startswith("iou.")]

WORST_CLASS, TOTAL_SECONDS = "worst_iou", "total_seconds"
"""Columns that ``pareto`` derives: the lowest IoU of any class; the trial's seconds with what its hits had cost."""

HIGHER_IS_BETTER = {column.name for column in COLUMNS if column.higher_is_better or column.unit == SCORE}
HIGHER_IS_BETTER.add(WORST_CLASS)


class LeaderboardError(ValueError):
    """A question that a leaderboard cannot answer: one line that says what is wrong and what to do."""


def scored_columns(metric: str) -> list[str]:
    """The columns that say what ``metric`` was scored on; NULL, of older rows, is comparable with NULL alone."""
    return SCORED_OF_OBJECTIVE.get(metric, SCORED)


def resolve_column(frame: pd.DataFrame, name: str) -> str:
    """The column that ``name`` means (``params.`` may be left out). Raises LeaderboardError if none is."""
    for candidate in (name, f"params.{name}"):
        if candidate in frame.columns:
            return candidate
    raise LeaderboardError(f"no column {name!r}: {nearest(name, frame.columns)}")


def resolve_metric(frame: pd.DataFrame, name: str) -> str:
    """As ``resolve_column``, of a column that holds numbers. Raises LeaderboardError if it does not."""
    name = resolve_column(frame, name)
    if not pd.api.types.is_numeric_dtype(frame[name].dtype) or pd.api.types.is_bool_dtype(frame[name].dtype):
        raise LeaderboardError(f"column {name!r} does not hold numbers")
    return name


def nearest(name: str, names: Iterable[str]) -> str:
    """Names that resemble ``name``: by their end (``alpha`` for ``params.loss.alpha``), then by spelling."""
    names = list(names)
    spelled = {candidate.removeprefix("params.").lower(): candidate for candidate in names}
    near = [candidate for candidate in names if candidate.lower().endswith(f".{name.lower()}")]
    near += [spelled[match] for match in get_close_matches(name.removeprefix("params.").lower(), spelled)]
    if near:
        return f"did you mean {' or '.join(dict.fromkeys(near[:3]))}?"
    return f"there {'are ' + ', '.join(names[:12]) + (' …' if len(names) > 12 else '') if names else 'are none'}"


def flatten(fields: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted name, value) of every leaf."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
