"""What sweeps cost, and what sharing stages saved."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from results.columns import LeaderboardError

_LEVELS = {"sweep": ["sweep"], "stage": ["sweep", "stage"], "all": []}


def cost(frame: pd.DataFrame, by: Literal["stage", "sweep", "all"] = "stage") -> pd.DataFrame:
    """Seconds by sweep and stage, by sweep, or of everything (then a stage that two sweeps share counts once).

    ``trials`` and ``uses`` of stages by them; ``distinct`` artifacts that these were; ``seconds`` to make each of those
    once, which is what a storage that shares them spends; ``seconds_unshared``: had every trial made all of its own;
    ``seconds_saved``, their difference, and ``saved`` as a share of ``seconds_unshared``. Seconds are the wall clock of
    the worker that made the artifact. ``unrecorded`` trials ended early (pruned, failed) and left no seconds.
    """
    if by not in _LEVELS:
        raise LeaderboardError(f"costs are counted by {', '.join(_LEVELS)}: got {by!r}")
    trials = frame.drop_duplicates(["sweep", "trial"])
    uses = _uses(trials)
    level = _LEVELS[by]
    table = _sums(uses, level)
    if by == "stage":
        return table.sort_values(["sweep", "seconds_unshared"], ascending=[True, False], ignore_index=True)
    ended = trials.assign(unrecorded=[not _is_list(stages) for stages in trials["stages"]])
    if not level:
        return table.assign(unrecorded=int(ended["unrecorded"].sum()))
    counted = ended.groupby("sweep").agg(ended=("trial", "size"), unrecorded=("unrecorded", "sum")).reset_index()
    table = counted.merge(table, on="sweep", how="left").drop(columns="ended")
    return table[[*(name for name in table if name != "unrecorded"), "unrecorded"]]


def _is_list(stages: object) -> bool:
    return hasattr(stages, "__len__") and not isinstance(stages, str)


def _uses(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per trial and stage."""
    lines = [
        (sweep, trial, stage["name"], stage["key"] or f"{trial}/{stage['name']}", stage["seconds"])
        for sweep, trial, stages in trials[["sweep", "trial", "stages"]].itertuples(index=False)
        if _is_list(stages)
        for stage in stages
    ]
    frame = pd.DataFrame(lines, columns=["sweep", "trial", "stage", "key", "seconds"])
    return frame.astype({"sweep": "str", "trial": "str", "stage": "str", "key": "str", "seconds": "float64"})


def _sums(uses: pd.DataFrame, level: Sequence[str]) -> pd.DataFrame:
    # The dummy makes one group of everything.
    groups = [*level, "everything"]
    uses = uses.assign(everything=True)
    total = uses.groupby(groups, sort=False).agg(
        trials=("trial", "nunique"), uses=("key", "size"), seconds_unshared=("seconds", "sum")
    )
    once = uses.drop_duplicates([*groups, "key"]).groupby(groups, sort=False)
    table = total.join(once.agg(distinct=("key", "size"), seconds=("seconds", "sum"))).reset_index()
    table["seconds_saved"] = table["seconds_unshared"] - table["seconds"]
    table["saved"] = table["seconds_saved"] / table["seconds_unshared"]
    shown = ["trials", "uses", "distinct", "seconds", "seconds_unshared", "seconds_saved", "saved"]
    return table[[*level, *shown]]
