"""Learning curves: what training stages reported while they ran."""

import warnings
from pathlib import Path

import pandas as pd

from results.columns import CONFIG, LeaderboardError, nearest
from results.configurations import statistics
from results.store import read_curves

_SHARED = [*CONFIG, "seed", "status"]


def curves(
    source: str | Path = "./runs", *, sweep: str | None = None, stage: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Every point of a storage's learning curves, long: sweep, trial, attempt, stage, step, metric, value.

    Joined with the trial's configuration, seed and status. A file that cannot be read is skipped with a warning that
    names it. Raises LeaderboardError if the storage has no curves, or none of such a sweep, stage or metric; published
    results have none.
    """
    from results.leaderboard import load  # That module offers this function.

    if source == "published":
        raise LeaderboardError("published results hold scores, no curves: name a storage")
    rows = load(source, sweep=sweep)
    table, broken = read_curves(Path(source))
    for file in broken:
        warnings.warn(f"skipped {file.path}: {file.reason}", stacklevel=2)
    frame = table.to_pandas()
    for name, wanted in {"sweep": sweep, "stage": stage, "metric": metric}.items():
        if wanted is None:
            continue
        known = frame[name].unique().tolist()
        if wanted not in known:
            raise LeaderboardError(f"no curve of {name} {wanted!r} in {source}: {nearest(wanted, known)}")
        frame = frame[frame[name] == wanted]
    trials = rows.drop_duplicates(["sweep", "trial"])[["sweep", "trial", *_SHARED]]
    frame = frame.merge(trials, on=["sweep", "trial"], how="inner")
    return frame.sort_values(["sweep", "trial", "stage", "metric", "step"], kind="stable", ignore_index=True)


def curves_by_config(points: pd.DataFrame) -> pd.DataFrame:
    """``curves`` over seeds: n, mean, sd, median, low, high of each configuration, stage, metric and step.

    Only of trials that finished. A curve that several sweeps or trials of one seed share counts once.
    """
    unit = [*CONFIG, "stage", "metric", "step"]
    points = points[(points["status"] == "finished") & points["value"].notna()]
    return statistics(points.drop_duplicates([*unit, "seed"]), unit).sort_values(unit, ignore_index=True)
