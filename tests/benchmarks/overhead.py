"""What a trial costs beyond its work: three no-op stages against a bare Ray Tune trial and nested Ray Train fits.

All in one run on one local cluster, two trials at a time. Targets: at most 0.3 s a trial over a bare function trial
with reused actors; at least ten times less than a nested ``TorchTrainer`` per stage; the time per trial flat.
Usage: ``python -m tests.benchmarks.overhead [--trials 500] [--bare 60] [--nested 1]``
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from orchestrator.cluster import connect
from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.provenance import hardware
from orchestrator.search import Search, Sweep
from orchestrator.trial import Place
from tests.benchmarks.noop import experiment


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--bare", type=int, default=60)
    parser.add_argument("--nested", type=int, default=1)
    options = parser.parse_args()
    connect()
    with tempfile.TemporaryDirectory() as folder:
        bare = bare_trials(options.bare, Path(folder))
        ends = our_trials(options.trials, Path(folder))
        nested = nested_fits(options.nested, Path(folder))
    gaps = [later - earlier for earlier, later in itertools.pairwise(ends[4:])]  # Start-up is not per trial.
    half = len(gaps) // 2
    first, second = statistics.fmean(gaps[:half]), statistics.fmean(gaps[half:])
    ours = statistics.fmean(gaps)
    print(f"{hardware('cpu')}; two trials at a time, seconds of wall-clock per trial")
    print(f"bare Tune function trial, reused actors   {bare:8.3f}")
    print(f"ours, three no-op stages, ledger and rows {ours:8.3f}   {ours - bare:+.3f} over bare")
    print(f"    first half {first:.3f}, second half {second:.3f}: ratio {second / first:.2f} ({options.trials} trials)")
    print(f"nested TorchTrainer for each of 3 stages  {nested:8.3f}   {nested / ours:.0f} × ours")
    print(json.dumps({"bare": bare, "ours": ours, "first": first, "second": second, "nested": nested}))


def bare_trials(count: int, folder: Path) -> float:
    """Seconds per trial of a function that reports once, start-up taken out."""
    from ray import tune

    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())

    def function(config: dict[str, Any]) -> None:
        tune.report({"score": 1.0})

    tune.Tuner(
        tune.with_resources(function, {"CPU": 1}),
        tune_config=tune.TuneConfig(num_samples=count, max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(name="bare", storage_path=str(folder / "bare"), verbose=0, callbacks=[Clock()]),
    ).fit()
    return (ends[-1] - ends[4]) / (len(ends) - 5)


def our_trials(count: int, folder: Path) -> list[float]:
    """The moment at which each trial of a sweep ended."""
    from orchestrator.searcher import Watcher
    from orchestrator.sweep import run_sweep

    study = experiment()
    place = Place(storage=folder / "ours", roots={}, fingerprints={}, threads=1)
    place.storage.mkdir()
    space = {"train.value": FloatDistribution(0.0, 1.0)}
    sweep = Sweep(study, study.arms["noop"], space, count, 1, Seeds(0, 0, "last"), "random", place)
    ends: list[float] = []
    search = Search(sweep, Ledger(place.storage, "noop"))
    run_sweep(search, Watcher(lambda trial, event: None, lambda trial, outcome: ends.append(time.perf_counter())))
    assert len(ends) == count
    assert all(outcome.status == "finished" for outcome in search.outcomes.values())
    return ends


def nested_fits(count: int, folder: Path) -> float:
    """Seconds per trial of three worker groups in a row, each doing nothing."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def nothing(config: dict[str, Any]) -> None:
        """One worker, no work."""

    began = time.perf_counter()
    for number in range(3 * count):
        TorchTrainer(
            nothing,
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(name=f"nested-{number}", storage_path=str(folder / "nested")),
        ).fit()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
