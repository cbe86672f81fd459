"""How optimistic a sweep was: its scores against fresh seeds on a held-out split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.configurations import scored_rows
from results.statistics import interval, tie_groups


def optimism(
    frame: pd.DataFrame,
    configs: Sequence[tuple[Mapping[str, Any], str, str]],
    held_out: Mapping[str, str],
    *,
    sweep: str,
    confirmation: str,
    seeds: range,
) -> pd.DataFrame:
    """One row per configuration and evaluation set of the sweep, the sweep's order kept.

    ``configs`` are (fields, hash in the sweep, hash in the confirmation); ``held_out`` maps an evaluation set of the
    sweep to the held-out one that checks it; ``seeds`` are the fresh ones. mIoU of the best checkpoint:
    ``sweep_mean`` over ``sweep_n`` seeds is what the sweep claimed; ``fresh_mean`` the same split with the ``n`` fresh
    seeds; ``confirmed_mean``, ``confirmed_sd`` the held-out split with them, ``place`` its rank with ties.
    ``optimism`` = sweep_mean − confirmed_mean, with a 95 % t-interval: the claim is a fixed number, the confirmed mean
    is what is uncertain (NaN for n < 2). sweep − fresh is the luck of seeds, fresh − confirmed that of the split.
    Configurations of which nothing is confirmed yet are left out.
    """
    frame = frame[frame["checkpoint"] == "best"]
    # Each sweep alone: a later sweep's row of the same configuration and seed must not take the place of its own.
    claimed = scored_rows(frame[(frame["sweep"] == sweep) & ~frame["seed"].isin(seeds)], "miou")
    fresh = scored_rows(frame[(frame["sweep"] == confirmation) & frame["seed"].isin(seeds)], "miou")
    lines, values = [], []
    for rank, (fields, before, after) in enumerate(configs, start=1):
        for known, hidden in held_out.items():
            claim = _values(claimed, before, known)
            confirmed = _values(fresh, after, hidden)
            if claim.empty or confirmed.empty:
                continue
            values.append(confirmed.reindex(seeds).to_numpy(dtype=float))
            lines.append(
                {
                    "sweep_rank": rank,
                    **{f"params.{name}": value for name, value in fields.items()},
                    "evaluation_set": known,
                    "held_out_set": hidden,
                    "sweep_n": len(claim),
                    "sweep_mean": claim.mean(),
                    "n": len(confirmed),
                    "fresh_mean": _values(fresh, after, known).mean(),
                    "confirmed_mean": confirmed.mean(),
                    "confirmed_sd": confirmed.std(ddof=1),
                    "sweep_config": before,
                    "config_hash": after,
                }
            )
    table = pd.DataFrame(lines)
    if table.empty:
        return table
    low, high = interval(table["n"], table["confirmed_mean"], table["confirmed_sd"])
    table["optimism"] = table["sweep_mean"] - table["confirmed_mean"]
    table["low"], table["high"] = table["sweep_mean"] - high, table["sweep_mean"] - low
    table["place"] = _places(table, np.stack(values))
    return table


def _values(scored: pd.DataFrame, config_hash: str, evaluation_set: str) -> pd.Series:
    """Scores by seed."""
    rows = scored[(scored["config_hash"] == config_hash) & (scored["evaluation_set"] == evaluation_set)]
    return rows.set_index("seed")["value"]


def _places(table: pd.DataFrame, values: np.ndarray) -> pd.Series:
    """Among the configurations that one held-out set checks."""
    places = pd.Series("", index=table.index, dtype="object")
    for _, group in table.groupby("held_out_set", sort=False):
        order = group["confirmed_mean"].sort_values(ascending=False, kind="stable").index
        for index, (first, last) in zip(order, tie_groups(values[order]), strict=True):
            places[index] = str(first) if first == last else f"{first}–{last}"
    return places
