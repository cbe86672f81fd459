"""The configurations of a sweep, best first, as every section of a report refers to them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results import leaderboard
from results.report.svg import number

HIGHLIGHTED = 3
"""So many configurations have a color of their own; the others are grey."""


@dataclass(frozen=True)
class Configuration:
    """One configuration over its seeds."""

    hash: str
    label: str
    css: str
    place: str
    """Its rank, ``1–3`` where ranks are tied."""
    n: int
    mean: float
    low: float | None
    high: float | None
    varied: Mapping[str, Any]
    scores: Mapping[str, tuple[float, float | None]]
    """Evaluation set → mean mIoU of the best checkpoint and half the width of its 95 % interval."""
    seconds: float | None
    """Mean over seeds of what a trial costs without sharing."""


@dataclass(frozen=True)
class Ranking:
    """What is ranked, by what."""

    metric: str
    sets: Sequence[str]
    """Evaluation sets, the one that selects first."""
    varied: Sequence[str]
    configurations: Sequence[Configuration]

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        if self.metric == "miou":
            return f"mIoU on {self.sets[0]}" if self.sets else "mIoU"
        return self.metric.replace("miou", "mIoU").replace("_", " ")


def rank(rows: pd.DataFrame, objective: str | None) -> Ranking:
    """Rank the finished configurations of one sweep by ``objective``, or by the mIoU of the select split."""
    best = rows[(rows["status"] == "finished") & (rows["checkpoint"] == "best")]
    sets = _sets(best)
    is_known = objective is not None and objective in best and best[objective].notna().any()
    metric = objective if objective is not None and is_known else "miou"
    varied = _varied(rows)
    if best.empty:
        return Ranking(metric, sets, varied, ())
    # An objective belongs to the trial, and every row repeats it.
    ranked = best[best["evaluation_set"] == sets[0]] if metric == "miou" else best.drop_duplicates("trial")
    table = leaderboard.by_config(ranked.assign(evaluation_set=sets[0]), metric)
    table = table[table["mean"].notna()].sort_values("rank", kind="stable")
    several_arms = best["arm"].nunique() > 1
    values_of, scores_of, seconds_of = _values(best, varied), _scores(leaderboard.by_config(best)), _seconds(best)
    configurations = []
    columns = ["config_hash", "arm", "place", "n", "mean", "low", "high"]
    for place, line in enumerate(table[columns].to_dict("records")):
        values = values_of[line["config_hash"]]
        parts = [line["arm"]] if several_arms else []
        parts += [", ".join(f"{short(name)} {text(value)}" for name, value in values.items())] if values else []
        configurations.append(
            Configuration(
                hash=line["config_hash"],
                label=": ".join(parts) or line["arm"],
                css=f"s{place + 1}" if place < HIGHLIGHTED else "other",
                place=line["place"],
                n=int(line["n"]),
                mean=float(line["mean"]),
                low=present(line["low"]),
                high=present(line["high"]),
                varied=values,
                scores=scores_of[line["config_hash"]],
                seconds=present(seconds_of.get(line["config_hash"])),
            )
        )
    return Ranking(metric, sets, varied, configurations)


def thinned(configurations: Sequence[Configuration], count: int) -> list[Configuration]:
    """At most about ``count`` of them, evenly over the ranks, always with the highlighted ones."""
    step = -(-len(configurations) // count)
    return [one for place, one in enumerate(configurations) if place < HIGHLIGHTED or place % step == 0]


def present(value: Any) -> float | None:
    """``None`` for NaN and NA."""
    return None if value is None or pd.isna(value) else float(value)


def short(name: str) -> str:
    """The last part of a dotted field name."""
    return name.rpartition(".")[2]


def text(value: Any) -> str:
    """A field's value for people."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    return number(value) if isinstance(value, float) else str(value)


def percent(value: float | None) -> str:
    """A share in per cent with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}"


def _values(best: pd.DataFrame, varied: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Configuration → varied field → value."""
    names = [name for name in varied if f"params.{name}" in best]
    first = best.drop_duplicates("config_hash")
    columns = [first[f"params.{name}"].tolist() for name in names]
    lines = zip(*columns, strict=True) if columns else [()] * len(first)
    found = zip(first["config_hash"], lines, strict=True)
    return {config: {name: _plain(one) for name, one in zip(names, line, strict=True)} for config, line in found}


def _scores(table: pd.DataFrame) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Configuration → evaluation set → mean and half the width of its interval."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    columns = ("config_hash", "evaluation_set", "mean", "low", "high")
    for config, name, mean, low, high in zip(*(table[column] for column in columns), strict=True):
        own = found.setdefault(config, {})
        if present(mean) is not None:
            own[name] = (float(mean), present((high - low) / 2))
    return found


def _seconds(best: pd.DataFrame) -> dict[Any, float]:
    """Configuration → mean seconds of a trial that shares nothing."""
    trials = best.drop_duplicates("trial")
    total = trials["seconds"] + trials["seconds_saved"].fillna(0)
    return total.groupby(trials["config_hash"]).mean().to_dict()


def _sets(best: pd.DataFrame) -> list[str]:
    """Evaluation sets, those that select first."""
    roles = best.drop_duplicates("evaluation_set").sort_values(
        ["split_role", "evaluation_set"], ascending=[False, True]
    )
    return [str(name) for name in roles["evaluation_set"]]


def _varied(rows: pd.DataFrame) -> list[str]:
    names: dict[str, None] = {}
    for varied in rows["varied"].dropna().unique():
        names |= dict.fromkeys(json.loads(varied))
    return list(names)


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
