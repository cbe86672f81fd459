"""Is B better than A, and by how much: configurations against a baseline, paired by seed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.columns import (
    COMPARABLE,
    CONFIG,
    FEW_SEEDS,
    HIGHER_IS_BETTER,
    LeaderboardError,
    nearest,
    resolve_metric,
    scored_columns,
)
from results.configurations import scored_rows
from results.rows import filter_rows
from results.scored import Scored, difference, not_compared, scored_of
from results.statistics import Difference, holm, paired, welch

PROTOCOL = ["experiment", "preset", "seed_scope"]
"""What two configurations must share to be compared at all."""

SIGNIFICANCE = 0.05

ONE_RUN = "every seed gave the same: one run under several names (--seed-scope all moves every stage)"

Place = tuple[Any, Any]
"""Evaluation set and checkpoint."""

_HASH = re.compile(r"c[0-9a-f]{3,}")


@dataclass(frozen=True)
class Chosen:
    """One configuration that a person named."""

    selector: str
    config_hash: str
    rows: pd.DataFrame


def compare(frame: pd.DataFrame, baseline: str, *others: str, metric: str | Sequence[str] = "miou") -> pd.DataFrame:
    """Each of ``others`` against ``baseline``: one row per metric, evaluation set and checkpoint that both have.

    Where both have a set and not the same of it (other images or labels, classes, or size), nothing is compared: the
    row has no difference, its ``verdict`` is ``not compared``, and ``note`` says why.

    Each is named by an arm, a sweep, ``sweep:arm``, the first letters of a configuration's hash, or conditions
    (``arm=fda,params.loss.alpha<0.5``). Where that leaves several configurations, the one with the best mean mIoU of
    the best checkpoint on the ``select`` split stands for them, among those with the most seeds.

    ``difference`` is other − baseline, with a 95 % t-interval (``low``, ``high``) and a two-sided p: paired over the
    ``n`` common seeds; Welch's where they have no seed in common (``test``). ``p_holm`` is p adjusted for all rows of
    the answer; ``verdict`` is ``better`` or ``worse`` where it is below 0.05, else ``tie``, and ``unknown`` where there
    is no test; ``note`` says why, or that n < 3. Seeds that changed nothing, in either, count once.
    Raises LeaderboardError for a name that fits nothing, the same configuration twice, and for configurations that are
    never compared: of other experiments, presets or seed scopes, or scored on other images everywhere.
    """
    if not others:
        raise LeaderboardError("name at least two configurations: the baseline, then what is compared with it")
    metrics = [resolve_metric(frame, name) for name in ([metric] if isinstance(metric, str) else metric)]
    chosen = _choose(frame, [baseline, *others])
    lines = [
        line
        for one in metrics
        for other in chosen[1:]
        for line in _lines(_units(chosen[0].rows, one), _units(other.rows, one), chosen[0], other, one)
    ]
    if not lines:
        names = " and ".join(repr(one.selector) for one in chosen)
        raise LeaderboardError(f"{names} have no evaluation set in common that has {' or '.join(metrics)}")
    table = pd.DataFrame(lines)
    if table["difference"].isna().all():
        told = "; ".join(dict.fromkeys(f"{line['evaluation_set']}: {line['note']}" for line in lines))
        raise LeaderboardError(f"{' and '.join(repr(one.selector) for one in chosen)} are not compared: {told}")
    table["p_holm"] = holm(table["p"])
    table["verdict"] = verdicts(table)
    return table


def select(frame: pd.DataFrame, selector: str) -> pd.DataFrame:
    """The rows that a selector names, of any number of configurations.

    Raises LeaderboardError, with the nearest names, if there are none, or if it is the name of two things.
    """
    if any(sign in selector for sign in "<>="):
        rows = filter_rows(frame, *selector.split(","))
        if rows.empty:
            raise LeaderboardError(f"no row satisfies {selector!r}")
        return rows
    sweep, _, arm = selector.partition(":")
    found = {
        "an arm": frame["arm"] == selector,
        "a sweep": frame["sweep"] == selector,
        "an arm of a sweep": (frame["sweep"] == sweep) & (frame["arm"] == arm),
        "a configuration": frame["config_hash"].str.startswith(selector) & bool(_HASH.fullmatch(selector)),
    }
    found = {kind: rows for kind, rows in found.items() if rows.any()}
    if not found:
        names = [*frame["arm"].unique(), *frame["sweep"].unique(), *frame["config_hash"].dropna().unique()]
        names += [f"{sweep}:{arm}" for sweep, arm in frame[["sweep", "arm"]].drop_duplicates().itertuples(index=False)]
        raise LeaderboardError(f"no arm, sweep, sweep:arm or configuration {selector!r}: {nearest(selector, names)}")
    if len(found) > 1:
        raise LeaderboardError(f"{selector!r} is {' and '.join(found)}: write arm={selector} or sweep={selector}")
    rows = frame[next(iter(found.values()))]
    if "a configuration" in found and rows["config_hash"].nunique() > 1:
        raise LeaderboardError(
            f"{selector!r} begins several configurations: {', '.join(sorted(rows['config_hash'].unique()))}"
        )
    return rows


def _choose(frame: pd.DataFrame, selectors: Sequence[str]) -> list[Chosen]:
    """One configuration for each selector, all of one protocol."""
    found = {selector: select(frame, selector) for selector in selectors}
    # Hundreds of columns that pandas would copy at every step; conditions have read them by now.
    finished = {selector: rows.loc[:, ~rows.columns.str.startswith("params.")] for selector, rows in found.items()}
    for selector, rows in finished.items():
        finished[selector] = rows[(rows["status"] == "finished") & rows["evaluation_set"].notna()]
        if finished[selector].empty:
            raise LeaderboardError(f"no trial of {selector!r} has finished")
    protocol = _protocol(finished)
    chosen = []
    for selector, rows in finished.items():
        rows = rows[[values == protocol for values in _protocols(rows)]]
        config = _representative(rows)
        chosen.append(Chosen(selector, config, rows[rows["config_hash"] == config]))
    taken: dict[str, str] = {}
    for one in chosen:
        if one.config_hash in taken:
            raise LeaderboardError(
                f"{taken[one.config_hash]!r} and {one.selector!r} are the same configuration, {one.config_hash}"
            )
        taken[one.config_hash] = one.selector
    if len(selectors) > len(finished):
        raise LeaderboardError(f"{selectors[0]!r} is named twice" if len(finished) == 1 else "a name is given twice")
    return chosen


def _protocols(rows: pd.DataFrame) -> list[tuple[str | None, ...]]:
    """Of each row its values of ``PROTOCOL``."""
    frame = rows[PROTOCOL].astype("object")
    return list(frame.where(frame.notna(), None).itertuples(index=False, name=None))


def _protocol(named: dict[str, pd.DataFrame]) -> tuple[str | None, ...]:
    """The one experiment, preset and seed scope that all have."""
    sets = {selector: set(_protocols(rows)) for selector, rows in named.items()}
    common = set.intersection(*sets.values())
    if len(common) == 1:
        return common.pop()
    for place, name in enumerate(PROTOCOL):
        values = {selector: {protocol[place] for protocol in found} for selector, found in sets.items()}
        if not set.intersection(*values.values()):
            told = "; ".join(f"{selector!r}: {', '.join(sorted(map(str, one)))}" for selector, one in values.items())
            why = ": they hold another source of variance" if name == "seed_scope" else ""
            raise LeaderboardError(f"configurations of different {name} are never compared{why} ({told})")
    if not common:
        raise LeaderboardError(f"{' and '.join(map(repr, named))} share no experiment, preset and seed scope at once")
    told = " or ".join(" ".join(f"{name}={value}" for name, value in zip(PROTOCOL, one, strict=True)) for one in common)
    raise LeaderboardError(f"these exist in several protocols ({told}): name one with a condition, as --where does")


def _representative(rows: pd.DataFrame) -> str:
    """The configuration that stands for ``rows``: the best on the select split, among those with the most seeds."""
    configs = rows["config_hash"].unique()
    if len(configs) == 1:
        return str(configs[0])
    select_rows = rows[(rows["split_role"] == "select") & (rows["checkpoint"] == "best")]
    if select_rows.empty:
        raise LeaderboardError(
            f"{rows['arm'].iloc[0]} has {len(configs)} configurations and no select split to choose by: name one hash"
        )
    if told := not_compared(select_rows):
        raise LeaderboardError(
            f"{rows['arm'].iloc[0]} has {len(configs)} configurations and no best one ({told[0]}): name one hash, or "
            "give --where with what they differ in, such as scored_fingerprint=…"
        )
    scores = scored_rows(select_rows, "miou").groupby("config_hash")["value"].agg(["count", "mean"])
    return str(scores[scores["count"] == scores["count"].max()]["mean"].idxmax())


def _units(rows: pd.DataFrame, metric: str) -> dict[Place, dict[Scored, pd.Series]]:
    """Evaluation set and checkpoint → what was scored there → scores by seed."""
    scored = scored_rows(rows, metric)
    units: dict[Place, dict[Scored, pd.Series]] = {}
    for (name, checkpoint, _), group in scored.groupby(["evaluation_set", "checkpoint", "scored"], sort=False):
        units.setdefault((name, checkpoint), {})[scored_of(group.head(1), metric)[0]] = group.set_index("seed")["value"]
    return units


def _lines(
    before: dict[Place, dict[Scored, pd.Series]],
    after: dict[Place, dict[Scored, pd.Series]],
    baseline: Chosen,
    other: Chosen,
    metric: str,
) -> list[dict[Any, Any]]:
    """The comparisons of two configurations, one for each set and checkpoint that both have."""
    lines = []
    for place in (place for place in before if place in after):
        named = {
            **baseline.rows[PROTOCOL].iloc[0].to_dict(),
            "evaluation_set": place[0],
            "checkpoint": place[1],
            "metric": metric,
            "baseline": baseline.selector,
            "baseline_config": baseline.config_hash,
            "other": other.selector,
            "other_config": other.config_hash,
        }
        lines += [{**named, **line} for line in _differences(before[place], after[place], metric)]
    return lines


def _differences(
    before: dict[Scored, pd.Series], after: dict[Scored, pd.Series], metric: str
) -> Iterator[dict[str, Any]]:
    """One for each thing that both were scored on, or why there is none."""
    common = [scored for scored in before if scored in after]
    for scored in common:
        said = dict(zip(scored_columns(metric), scored, strict=True))
        yield {**said, **_difference(before[scored], after[scored])}
    if not common:
        yield _no_difference(before, after)


def _difference(before: pd.Series, after: pd.Series) -> dict[str, Any]:
    """The test of two configurations whose scores are comparable."""
    both = pd.concat([before, after], axis=1, join="inner").to_numpy(dtype=float)
    test = "paired t" if len(both) else "Welch t"
    found = paired(both[:, 1], both[:, 0]) if len(both) else welch(after, before)
    if _are_one_run(both):
        found = paired(both[:1, 1], both[:1, 0])
    return {
        "test": test,
        "n": int(found.n),
        "baseline_mean": both[:, 0].mean() if len(both) else before.mean(),
        "other_mean": both[:, 1].mean() if len(both) else after.mean(),
        "difference": float(found.mean),
        "low": float(found.low),
        "high": float(found.high),
        "p": float(found.p),
        "note": ONE_RUN if _are_one_run(both) else _note(found, test),
    }


def _no_difference(before: dict[Scored, pd.Series], after: dict[Scored, pd.Series]) -> dict[str, Any]:
    """What stands in the place of a difference of two scores that are not comparable."""
    (mine, of_mine), (theirs, of_theirs) = next(iter(before.items())), next(iter(after.items()))
    return {
        "test": None,
        "n": 0,
        "baseline_mean": of_mine.mean(),
        "other_mean": of_theirs.mean(),
        **dict.fromkeys(("difference", "low", "high", "p"), float("nan")),
        "note": difference(mine, theirs),
    }


def _are_one_run(both: np.ndarray) -> bool:
    """Whether two or more seeds gave both configurations the same score: no seed changed anything then."""
    return len(both) > 1 and bool((both == both[0]).all()) and both[0, 0] != both[0, 1]


def _note(found: Difference, test: str) -> str | None:
    counted = "common seed" if test == "paired t" else "seed of one of them"
    if found.n < 2:
        return f"{int(found.n)} {counted}: no interval (--seeds runs more)"
    return f"{int(found.n)} {counted}s: the interval says little" if found.n < FEW_SEEDS else None


def verdicts(table: pd.DataFrame) -> np.ndarray:
    """Of each comparison, by its ``p_holm``; see ``compare``."""
    gains = table["difference"] * np.where(table["metric"].isin(HIGHER_IS_BETTER), 1, -1)
    absent = table["difference"].isna()
    conditions = [absent, table["p_holm"].isna(), table["p_holm"] >= SIGNIFICANCE, gains > 0]
    return np.select(conditions, ["not compared", "unknown", "tie", "better"], "worse")


assert set(PROTOCOL) <= set(COMPARABLE) & set(CONFIG)
