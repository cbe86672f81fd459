"""A leaderboard in pandas: load, filter, sort, and compare configurations over their seeds.

    >>> from results import leaderboard
    >>> rows = leaderboard.load("published")
    >>> rows = leaderboard.filter_rows(rows, "miou>0.4", "checkpoint=best")
    >>> leaderboard.by_config(rows)
    >>> leaderboard.compare(rows, "day", "night")

Integers are ``Int64`` (NULL is NA), floats float64 (NULL is NaN), texts pandas' default for texts. Every question is a
function of one file of this package; this module offers them all.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from results.class_scores import class_metrics, per_class
from results.columns import COMPARABLE, CONFIG, FEW_SEEDS, LeaderboardError, flatten, nearest, resolve_column
from results.compact import read_scores
from results.comparison import compare
from results.configurations import best, by_config
from results.confirmation import optimism
from results.costs import cost
from results.learning_curves import curves, curves_by_config
from results.pareto_front import pareto
from results.rows import failures, filter_rows, sort_rows
from results.scored import not_compared
from results.store import read_published

__all__ = [
    "COMPARABLE", "CONFIG", "FEW_SEEDS", "LeaderboardError", "best", "by_config", "class_metrics", "compare", "cost",
    "curves", "curves_by_config", "failures", "filter_rows", "load", "not_compared", "optimism", "pareto",
    "per_class", "resolve_column", "sort_rows",
]  # fmt: skip


def load(source: str | Path = "./runs", *, sweep: str | None = None) -> pd.DataFrame:
    """One row per (sweep, trial, evaluation set, checkpoint) of a storage, or of ``"published"`` results.

    All columns of ``results.schema.COLUMNS``, then ``params.<field>``, typed, for every field in ``params``
    and ``varied``. A file that cannot be read is skipped with a warning that names it. A leaderboard without
    rows is a frame without rows.
    Raises LeaderboardError if the storage has no leaderboard or no such sweep, NewerSchemaError for files
    of a newer version.
    """
    if source == "published":
        table, broken = read_published()
    elif (Path(source) / "leaderboard").is_dir():
        table, broken = read_scores(Path(source))
    else:
        raise LeaderboardError(
            f"{source} holds no leaderboard: make one with `nightshift run demo --storage {source}`, "
            'name the --storage of an earlier run, or load "published"'
        )
    for file in broken:
        warnings.warn(f"skipped {file.path}: {file.reason}", stacklevel=2)
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    if sweep is not None:
        names = frame["sweep"].unique().tolist()
        if sweep not in names:
            raise LeaderboardError(f"no sweep {sweep!r} in {source}: {nearest(sweep, names)}")
        frame = frame[frame["sweep"] == sweep].reset_index(drop=True)
    return pd.concat([frame, expand_params(frame)], axis=1)


def expand_params(frame: pd.DataFrame) -> pd.DataFrame:
    """The JSON of ``params`` and ``varied`` as one typed column ``params.<field>`` per field.

    Nested objects become dotted names; a list becomes its JSON text. The index is that of ``frame``.
    """
    seen: dict[tuple[Any, Any], int] = {}
    codes = [seen.setdefault(pair, len(seen)) for pair in zip(frame["params"], frame["varied"], strict=True)]
    flat = [
        {name: value for text in pair if isinstance(text, str) for name, value in flatten(json.loads(text))}
        for pair in seen
    ]
    names = dict.fromkeys(name for fields in flat for name in fields)
    columns = {f"params.{name}": _typed([fields.get(name) for fields in flat]).take(codes).array for name in names}
    return pd.DataFrame(columns, index=frame.index)


def _typed(values: list[Any]) -> pd.Series:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pd.Series(values, dtype="float64")
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series([value if isinstance(value, str | None) else json.dumps(value) for value in values])
