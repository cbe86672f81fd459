"""A leaderboard in pandas: load, filter, sort, and compare configurations over their seeds.

    >>> from results import leaderboard
    >>> rows = leaderboard.load("published")
    >>> rows = leaderboard.filter_rows(rows, "miou>0.4", "checkpoint=best")
    >>> leaderboard.by_config(rows)

Integers are ``Int64`` (NULL is NA), floats float64 (NULL is NaN), texts pandas' default for texts.
"""

import json
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from results.compact import read_scores
from results.schema import COLUMNS, SCORE, STATUSES
from results.store import read_published

CONFIG = ["experiment", "preset", "arm", "config_hash", "seed_scope"]
"""What makes two rows the same configuration."""

COMPARABLE = ["experiment", "preset", "evaluation_set", "checkpoint", "seed_scope"]
"""Configurations are ranked among those that share these, never across."""

FEW_SEEDS = 3
"""Below this number of seeds an interval is flagged: it says next to nothing."""

HIGHER_IS_BETTER = {column.name for column in COLUMNS if column.higher_is_better or column.unit == SCORE}

_STATISTICS = ("mean", "low", "high", "median")
_EXPRESSION = re.compile(r"\s*([^<>=!\s]+)\s*(!=|>=|<=|==?|>|<)\s*(.*?)\s*")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class LeaderboardError(ValueError):
    """A question that a leaderboard cannot answer: one line that says what is wrong and what to do."""


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
            raise LeaderboardError(f"no sweep {sweep!r} in {source}: {_nearest(sweep, names)}")
        frame = frame[frame["sweep"] == sweep].reset_index(drop=True)
    return pd.concat([frame, expand_params(frame)], axis=1)


def expand_params(frame: pd.DataFrame) -> pd.DataFrame:
    """The JSON of ``params`` and ``varied`` as one typed column ``params.<field>`` per field.

    Nested objects become dotted names; a list becomes its JSON text. The index is that of ``frame``.
    """
    seen: dict[tuple[Any, Any], int] = {}
    codes = [seen.setdefault(pair, len(seen)) for pair in zip(frame["params"], frame["varied"], strict=True)]
    flat = [
        {name: value for text in pair if isinstance(text, str) for name, value in _flatten(json.loads(text))}
        for pair in seen
    ]
    names = dict.fromkeys(name for fields in flat for name in fields)
    columns = {f"params.{name}": _typed([fields.get(name) for fields in flat]).take(codes).array for name in names}
    return pd.DataFrame(columns, index=frame.index)


def filter_rows(frame: pd.DataFrame, *expressions: str) -> pd.DataFrame:
    """The rows for which every expression holds: ``miou>0.4``, ``arm=fda``, ``params.loss.alpha<=0.5``.

    Operators are ``= != > >= < <=``; scores are in [0, 1]; ``params.`` may be left out. A row without a value
    only satisfies ``!=``. Raises LeaderboardError for an unknown column or a value of the wrong type.
    """
    for expression in expressions:
        match = _EXPRESSION.fullmatch(expression)
        if match is None or not match[3]:
            raise LeaderboardError(
                f"cannot read {expression!r}: write column, operator (= != > >= < <=), value, as in miou>.4"
            )
        column = resolve_column(frame, match[1])
        frame = frame[_holds(frame[column], match[2], match[3])]
    return frame


def sort_rows(frame: pd.DataFrame, column: str, ascending: bool | None = None) -> pd.DataFrame:
    """``frame`` sorted by ``column``, rows without a value last; by default the best score comes first."""
    column = resolve_column(frame, column)
    _require_plain(frame[column])
    if ascending is None:
        metric = column
        if column in _STATISTICS and "metric" in frame and len(frame):
            metric = frame["metric"].iloc[0]
        ascending = metric not in HIGHER_IS_BETTER
    return frame.sort_values(column, ascending=ascending, na_position="last", kind="stable")


def best(frame: pd.DataFrame, metric: str = "miou", by: str | Sequence[str] = "arm") -> pd.DataFrame:
    """The configuration with the best mean over its seeds for each value of ``by``, as ``by_config`` rows.

    One row per ``by``, evaluation set, checkpoint and seed scope: these are never compared with each other.
    """
    by = [resolve_column(frame, name) for name in ([by] if isinstance(by, str) else by)]
    table = by_config(frame, metric, keep=by)
    ranked = table[table["rank"].notna()].sort_values("rank", kind="stable")
    return ranked.drop_duplicates([*COMPARABLE, *by]).sort_index().reset_index(drop=True)


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials that were pruned, diverged or failed, newest first; they are never ranked."""
    return frame[frame["status"] != "finished"].sort_values("created_utc", ascending=False, kind="stable")


def by_config(frame: pd.DataFrame, metric: str = "miou", keep: Sequence[str] = ()) -> pd.DataFrame:
    """One row per configuration, evaluation set and checkpoint: statistics of ``metric`` over its seeds.

    ``n`` seeds, ``mean``, ``sd`` (n − 1), ``low`` and ``high`` of the 95 % t-interval of the mean (NaN for
    n < 2), ``median``, ``few_seeds`` (n < 3), ``rank`` by mean (1 is best) among ``COMPARABLE`` rows, and
    how many further seeds were ``pruned``, ``diverged`` or ``failed``; then ``keep`` and the ``params.*``
    that any search varied. A seed that several sweeps ran counts once, by its newest row. A configuration
    that never finished comes last in its experiment, without evaluation set and rank.
    Raises LeaderboardError if ``metric`` is unknown or not a number.
    """
    metric = resolve_column(frame, metric)
    if not pd.api.types.is_numeric_dtype(frame[metric].dtype):
        raise LeaderboardError(f"column {metric!r} does not hold numbers")
    extra = [name for name in dict.fromkeys([*keep, *_varied_columns(frame)]) if name not in CONFIG]
    frame = frame.reset_index(drop=True)
    config = frame.groupby(CONFIG, sort=False, dropna=False).ngroup()
    work = frame[["evaluation_set", "checkpoint", "seed", "status", "created_utc"]].assign(
        config=config, value=pd.to_numeric(frame[metric]).astype("float64")
    )
    work = work.sort_values("created_utc", kind="stable")
    table = _statistics(work).merge(_unfinished(work), on="config", how="outer")
    table[["n", *STATUSES[1:]]] = table[["n", *STATUSES[1:]]].fillna(0).astype("int64")
    table["few_seeds"] = table["n"] < FEW_SEEDS
    identity = frame.loc[~config.duplicated(), list(dict.fromkeys([*CONFIG, *extra]))]
    identity["config"] = config[identity.index]
    table = table.merge(identity, on="config", suffixes=("", "_of_config"))
    is_ascending = metric not in HIGHER_IS_BETTER
    table["rank"] = (
        table.groupby(COMPARABLE, dropna=False)["mean"].rank(method="min", ascending=is_ascending).astype("Int64")
    )
    table["metric"] = metric
    table = table.sort_values([*COMPARABLE, "rank", "config"], na_position="last", ignore_index=True)
    shown = [*CONFIG, "evaluation_set", "checkpoint", "metric", "rank", "n", "mean", "sd", "low", "high"]
    shown += ["median", "few_seeds", *STATUSES[1:]]
    return table[[*shown, *(name for name in extra if name not in shown)]]


def resolve_column(frame: pd.DataFrame, name: str) -> str:
    """The column that ``name`` means (``params.`` may be left out). Raises LeaderboardError if none is."""
    for candidate in (name, f"params.{name}"):
        if candidate in frame.columns:
            return candidate
    raise LeaderboardError(f"no column {name!r}: {_nearest(name, frame.columns)}")


def _nearest(name: str, names: Iterable[str]) -> str:
    """Names that resemble ``name``: by their end (``alpha`` for ``params.loss.alpha``), then by spelling."""
    names = list(names)
    spelled = {candidate.removeprefix("params.").lower(): candidate for candidate in names}
    near = [candidate for candidate in names if candidate.lower().endswith(f".{name.lower()}")]
    near += [spelled[match] for match in get_close_matches(name.removeprefix("params.").lower(), spelled)]
    if near:
        return f"did you mean {' or '.join(dict.fromkeys(near[:3]))}?"
    return f"there {'are ' + ', '.join(names[:12]) + (' …' if len(names) > 12 else '') if names else 'are none'}"


def _require_plain(series: pd.Series) -> None:
    if series.name in ("confusion", "stages"):
        raise LeaderboardError(f"column {series.name!r} holds lists: it can be neither filtered nor sorted")


def _holds(series: pd.Series, sign: str, text: str) -> np.ndarray:
    """Which rows satisfy the comparison with ``text``, read as a value of the column's type."""
    _require_plain(series)
    value = _read_value(series, text)
    present = series.notna().to_numpy()
    result = np.full(len(series), sign == "!=")
    result[present] = np.asarray(_OPERATORS[sign](series[present], value), dtype=bool)
    return result


def _read_value(series: pd.Series, text: str) -> Any:
    dtype = series.dtype
    try:
        if pd.api.types.is_bool_dtype(dtype):
            return _BOOLEANS[text.lower()]
        if pd.api.types.is_numeric_dtype(dtype):
            number = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
            if not math.isfinite(number):
                raise ValueError(text)
            return number
        if isinstance(dtype, pd.DatetimeTZDtype):
            time = pd.Timestamp(text)
            return time.tz_localize("UTC") if time.tzinfo is None else time
    except (ValueError, KeyError):
        kind = "true or false" if pd.api.types.is_bool_dtype(dtype) else "a number"
        kind = "a date" if isinstance(dtype, pd.DatetimeTZDtype) else kind
        raise LeaderboardError(f"column {series.name!r} is compared with {kind}, got {text!r}") from None
    return text


def _flatten(fields: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


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


def _varied_columns(frame: pd.DataFrame) -> list[str]:
    texts = frame["varied"].dropna().unique()
    names = dict.fromkeys(f"params.{name}" for text in texts for name, _ in _flatten(json.loads(text)))
    return [name for name in names if name in frame.columns]


def _statistics(work: pd.DataFrame) -> pd.DataFrame:
    """Of the finished rows with a value, one per seed: n, mean, sd, interval, median."""
    from scipy.special import stdtrit

    unit = ["config", "evaluation_set", "checkpoint"]
    scored = work[(work["status"] == "finished") & work["value"].notna()].drop_duplicates([*unit, "seed"], keep="last")
    values = scored.groupby(unit, sort=False, dropna=False)["value"]
    table = values.agg(["count", "mean", "std", "median"]).reset_index()
    table = table.rename(columns={"count": "n", "std": "sd"})
    half = stdtrit(table["n"] - 1, 0.975) * table["sd"] / np.sqrt(table["n"])
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def _unfinished(work: pd.DataFrame) -> pd.DataFrame:
    """Per configuration, how many seeds ended otherwise and never finished."""
    trial = ["config", "seed"]
    newest = work.assign(is_finished=work["status"] == "finished")
    newest = newest.sort_values("is_finished", kind="stable").drop_duplicates(trial, keep="last")
    counts = newest.groupby(["config", "status"]).size().unstack(fill_value=0)
    return counts.reindex(columns=list(STATUSES[1:]), fill_value=0).reset_index()
