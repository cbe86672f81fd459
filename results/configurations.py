"""Configurations over their seeds: the unit in which a leaderboard compares."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.columns import (
    CONFIG,
    FEW_SEEDS,
    HIGHER_IS_BETTER,
    PROTOCOL_OF_SCORE,
    flatten,
    resolve_column,
    resolve_metric,
    scored_columns,
)
from results.schema import STATUSES
from results.scored import scored_codes
from results.statistics import interval, tie_groups

UNIT = ["config", "evaluation_set", "checkpoint", "scored"]
RANKED = [*PROTOCOL_OF_SCORE, "scored"]


def by_config(frame: pd.DataFrame, metric: str = "miou", keep: Sequence[str] = ()) -> pd.DataFrame:
    """One row per configuration, evaluation set, checkpoint and what was scored: ``metric`` over its seeds.

    ``rank`` by mean (1 is best) among ``COMPARABLE`` rows, so that scores of other images, classes or sizes are ranked
    apart (``scored.not_compared`` says which); ``place`` is the same as a text, ``1–3`` where ranks are
    tied (``statistics.tie_groups``); ``n`` seeds, ``mean``, ``sd`` (n − 1), ``low`` and ``high`` of the 95 %
    t-interval of the mean (NaN for n < 2), ``median``, ``few_seeds`` (n < 3), and how many further seeds were
    ``pruned``, ``diverged`` or ``failed``; then ``keep`` and the ``params.*`` that any search varied. A seed that
    several sweeps ran counts once, by its newest row. A configuration that never finished comes last in its
    experiment, without evaluation set and rank.
    Raises LeaderboardError if ``metric`` is unknown or not a number.
    """
    metric = resolve_metric(frame, metric)
    table, scored = table_of(frame, metric, keep)
    table.insert(list(table.columns).index("rank") + 1, "place", _places(table, scored))
    return table.drop(columns=["config", "scored"])


def best(frame: pd.DataFrame, metric: str = "miou", by: str | Sequence[str] = "arm") -> pd.DataFrame:
    """The configuration with the best mean over its seeds for each value of ``by``, as ``by_config`` rows.

    One row per ``by`` and set of ``COMPARABLE`` rows: these are never compared with each other. ``rank`` is that among
    all configurations, ``place`` that among the winners.
    """
    by = [resolve_column(frame, name) for name in ([by] if isinstance(by, str) else by)]
    table, scored = table_of(frame, resolve_metric(frame, metric), by)
    ranked = table[table["rank"].notna()].sort_values("rank", kind="stable")
    winners = ranked.drop_duplicates([*RANKED, *by]).sort_index().reset_index(drop=True)
    winners.insert(list(winners.columns).index("rank") + 1, "place", _places(winners, scored))
    return winners.drop(columns=["config", "scored"])


def scored_rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The finished rows that have ``metric`` (as ``value``), one per configuration, set, checkpoint, seed and what was
    scored.

    Of several sweeps' rows the newest counts. With all columns of ``frame``, ``config`` and ``scored`` (numbers).
    """
    config = frame.groupby(CONFIG, sort=False, dropna=False).ngroup()
    value = pd.to_numeric(frame[metric]).astype("float64")
    work = frame.assign(config=config, scored=scored_codes(frame, metric), value=value)
    return _newest(work)


def _newest(work: pd.DataFrame) -> pd.DataFrame:
    scored = work[(work["status"] == "finished") & work["value"].notna()]
    return scored.sort_values("created_utc", kind="stable").drop_duplicates([*UNIT, "seed"], keep="last")


def table_of(
    frame: pd.DataFrame, metric: str, keep: Sequence[str], *, scored_as: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``by_config`` without places but with ``config`` and ``scored``, and the scores that it was made of.

    ``scored_as`` is the metric whose ``scored_columns`` tell rows apart; ``None`` takes those of ``metric``.
    """
    scored_as = scored_as or metric
    extra = [name for name in dict.fromkeys([*keep, *varied_columns(frame)]) if name not in CONFIG]
    frame = frame.reset_index(drop=True)
    config = frame.groupby(CONFIG, sort=False, dropna=False).ngroup()
    code = scored_codes(frame, scored_as)
    work = frame[["evaluation_set", "checkpoint", "seed", "status", "created_utc"]].assign(
        config=config, scored=code, value=pd.to_numeric(frame[metric]).astype("float64")
    )
    scored = _newest(work)
    table = statistics(scored, UNIT).merge(_unfinished(work), on="config", how="outer")
    table[["n", *STATUSES[1:]]] = table[["n", *STATUSES[1:]]].fillna(0).astype("int64")
    table["few_seeds"] = table["n"] < FEW_SEEDS
    identity = frame.loc[~config.duplicated(), list(dict.fromkeys([*CONFIG, *extra]))]
    identity["config"] = config[identity.index]
    table = table.merge(identity, on="config", suffixes=("", "_of_config"))
    scored_on = frame.loc[~code.duplicated(), scored_columns(scored_as)].assign(scored=code)
    table = table.merge(scored_on, on="scored", how="left", suffixes=("_of_config", ""))
    is_ascending = metric not in HIGHER_IS_BETTER
    table["rank"] = (
        table.groupby(RANKED, dropna=False)["mean"].rank(method="min", ascending=is_ascending).astype("Int64")
    )
    table["metric"] = metric
    table = table.sort_values([*RANKED, "rank", "config"], na_position="last", ignore_index=True)
    shown = [*CONFIG, "evaluation_set", *scored_columns(scored_as), "checkpoint", "metric", "rank", "n", "mean", "sd"]
    shown += ["low", "high", "median", "few_seeds", *STATUSES[1:]]
    return table[[*shown, *(name for name in extra if name not in shown), "config", "scored"]], scored


def statistics(scored: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Per ``unit``: n, mean, sd, median, low and high of ``value``."""
    values = scored.groupby(list(unit), sort=False, dropna=False)["value"]
    table = values.agg(["count", "mean", "std", "median"]).reset_index()
    table = table.rename(columns={"count": "n", "std": "sd"})
    low, high = interval(table["n"], table["mean"], table["sd"])
    return table.assign(low=low, high=high)


def varied_columns(frame: pd.DataFrame) -> list[str]:
    """The ``params.*`` that any search varied."""
    texts = frame["varied"].dropna().unique()
    names = dict.fromkeys(f"params.{name}" for text in texts for name, _ in flatten(json.loads(text)))
    return [name for name in names if name in frame.columns]


def _unfinished(work: pd.DataFrame) -> pd.DataFrame:
    """Per configuration, how many seeds ended otherwise and never finished."""
    trial = ["config", "seed"]
    newest = work.assign(is_finished=work["status"] == "finished").sort_values("created_utc", kind="stable")
    newest = newest.sort_values("is_finished", kind="stable").drop_duplicates(trial, keep="last")
    counts = newest.groupby(["config", "status"]).size().unstack(fill_value=0)
    return counts.reindex(columns=list(STATUSES[1:]), fill_value=0).reset_index()


def _places(table: pd.DataFrame, scored: pd.DataFrame) -> pd.Series:
    """Of each row its place among those that it is ranked with; absent without a rank."""
    places = pd.Series(pd.NA, index=table.index, dtype="object")
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        return places
    seeds, columns = np.unique(scored["seed"].to_numpy(dtype=float, na_value=-1), return_inverse=True)
    keys = pd.MultiIndex.from_frame(ranked[UNIT])
    lines = keys.get_indexer(pd.MultiIndex.from_frame(scored[UNIT]))
    values = np.full((len(ranked), len(seeds)), np.nan)
    values[lines[lines >= 0], columns[lines >= 0]] = scored["value"].to_numpy()[lines >= 0]
    positions = pd.Series(np.arange(len(ranked)), index=ranked.index)
    for _, members in positions.groupby([ranked[name] for name in RANKED], dropna=False, sort=False):
        order = members.iloc[np.argsort(ranked.loc[members.index, "rank"].to_numpy(dtype=float), kind="stable")]
        texts = [str(first) if first == last else f"{first}–{last}" for first, last in tie_groups(values[order])]
        places[order.index] = texts
    return places
