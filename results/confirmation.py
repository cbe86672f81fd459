"""How optimistic a sweep was: its scores against fresh seeds on a held-out split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from results.configurations import scored_rows
from results.scored import Scored, difference, scored_of
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
    Of a set that was scored on several things (other images, classes or sizes) the newest counts; ``fresh_mean`` is
    absent where the sweep scored something else, and ``optimism`` where classes or sizes differ, as ``note`` says.
    Configurations of which nothing is confirmed yet are left out.
    """
    frame = frame[frame["checkpoint"] == "best"]
    # Each sweep alone: a later sweep's row of the same configuration and seed must not take the place of its own.
    claimed = scored_rows(frame[(frame["sweep"] == sweep) & ~frame["seed"].isin(seeds)], "miou")
    fresh = scored_rows(frame[(frame["sweep"] == confirmation) & frame["seed"].isin(seeds)], "miou")
    lines, values, scored_on = [], [], []
    for rank, (fields, before, after) in enumerate(configs, start=1):
        for known, hidden in held_out.items():
            claim_rows, confirmed_rows = _rows(claimed, before, known), _rows(fresh, after, hidden)
            if claim_rows.empty or confirmed_rows.empty:
                continue
            claimed_on, confirmed_on = scored_of(claim_rows)[0], scored_of(confirmed_rows)[0]
            again = _rows(fresh, after, known)
            again = again[[scored == claimed_on for scored in scored_of(again)]]
            claim, confirmed = (rows.set_index("seed")["value"] for rows in (claim_rows, confirmed_rows))
            values.append(confirmed.reindex(seeds).to_numpy(dtype=float))
            scored_on.append(confirmed_on)
            # The images differ by design; classes and size must not.
            is_fair = claimed_on[2:] == confirmed_on[2:]
            note = None if is_fair else difference((*confirmed_on[:2], *claimed_on[2:]), confirmed_on)
            lines.append(
                {
                    "sweep_rank": rank,
                    **{f"params.{name}": value for name, value in fields.items()},
                    "evaluation_set": known,
                    "held_out_set": hidden,
                    "sweep_n": len(claim),
                    "sweep_mean": claim.mean(),
                    "n": len(confirmed),
                    "fresh_mean": again["value"].mean(),
                    "confirmed_mean": confirmed.mean(),
                    "confirmed_sd": confirmed.std(ddof=1),
                    "sweep_config": before,
                    "config_hash": after,
                    "note": note,
                }
            )
    table = pd.DataFrame(lines)
    if table.empty:
        return table
    low, high = interval(table["n"], table["confirmed_mean"], table["confirmed_sd"])
    claimed_mean = table["sweep_mean"].where(table["note"].isna())
    table["optimism"] = claimed_mean - table["confirmed_mean"]
    table["low"], table["high"] = claimed_mean - high, claimed_mean - low
    table["place"] = _places(table, np.stack(values), scored_on)
    return table


def _rows(scored: pd.DataFrame, config_hash: str, evaluation_set: str) -> pd.DataFrame:
    """One row per seed, all scored on what the newest was."""
    rows = scored[(scored["config_hash"] == config_hash) & (scored["evaluation_set"] == evaluation_set)]
    return rows[rows["scored"] == rows["scored"].min()]


def _places(table: pd.DataFrame, values: np.ndarray, scored_on: Sequence[Scored]) -> pd.Series:
    """Among the configurations that one held-out set checks, all scored on the same."""
    places = pd.Series("", index=table.index, dtype="object")
    number = {scored: place for place, scored in enumerate(dict.fromkeys(scored_on))}
    for _, group in table.groupby(["held_out_set", pd.Series([number[scored] for scored in scored_on])], sort=False):
        order = group["confirmed_mean"].sort_values(ascending=False, kind="stable").index
        for index, (first, last) in zip(order, tie_groups(values[order]), strict=True):
            places[index] = str(first) if first == last else f"{first}–{last}"
    return places
