"""Rows of a leaderboard: filter and sort them."""

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from results.columns import HIGHER_IS_BETTER, LeaderboardError, resolve_column

_STATISTICS = ("mean", "low", "high", "median")
_EXPRESSION = re.compile(r"\s*([^<>=!\s]+)\s*(!=|>=|<=|==?|>|<)\s*(.*?)\s*")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


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


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of trials that were pruned, diverged or failed, newest first; they are never ranked."""
    return frame[frame["status"] != "finished"].sort_values("created_utc", ascending=False, kind="stable")


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
