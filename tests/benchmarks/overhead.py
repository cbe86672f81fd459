"""What a trial costs beyond its work: three no-op stages against a bare Ray Tune trial and nested Ray Train fits.

All in one run on one local cluster, two trials at a time. Targets: at most 0.3 s a trial over a bare function trial
with reused actors; at least ten times less than a nested ``TorchTrainer`` per stage; the time per trial flat.
Beside them the same no-op trials one after the other through one worker group of two ranks: when the first starts, what
each later one costs, and whether memory or processes grow. Target: at most 0.5 s from the second trial on.
Usage: ``python -m tests.benchmarks.overhead [--trials 500] [--bare 60] [--nested 1] [--slot 200]``
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from optuna.distributions import FloatDistribution

from orchestrator.cluster import connect
from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.provenance import hardware
from orchestrator.search import Search, Sweep
from orchestrator.trial import Place, Trial
from tests.benchmarks.noop import experiment


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--bare", type=int, default=60)
    parser.add_argument("--nested", type=int, default=1)
    parser.add_argument("--slot", type=int, default=200)
    options = parser.parse_args()
    connect()
    with tempfile.TemporaryDirectory() as folder:
        bare = bare_trials(options.bare, Path(folder))
        ends = our_trials(options.trials, Path(folder))
        nested = nested_fits(options.nested, Path(folder))
        slot = slot_trials(options.slot, Path(folder))
    gaps = [later - earlier for earlier, later in itertools.pairwise(ends[4:])]  # Start-up is not per trial.
    half = len(gaps) // 2
    first, second = statistics.fmean(gaps[:half]), statistics.fmean(gaps[half:])
    ours = statistics.fmean(gaps)
    print(f"{hardware('cpu')}; two trials at a time, seconds of wall-clock per trial")
    print(f"bare Tune function trial, reused actors   {bare:8.3f}")
    print(f"ours, three no-op stages, ledger and rows {ours:8.3f}   {ours - bare:+.3f} over bare")
    print(f"    first half {first:.3f}, second half {second:.3f}: ratio {second / first:.2f} ({options.trials} trials)")
    print(f"nested TorchTrainer for each of 3 stages  {nested:8.3f}   {nested / ours:.0f} × ours")
    print(f"one slot of two ranks, its first trial    {slot['first']:8.3f}")
    print(f"    each of {options.slot - 1} later ones {slot['later']:.3f}, the slowest {slot['slowest']:.3f}")
    print(
        f"    memory of owner and ranks {slot['megabytes_before']:.0f} → {slot['megabytes_after']:.0f} MB, "
        f"processes {slot['processes_before']:.0f} → {slot['processes_after']:.0f} (10th trial → last)"
    )
    print(json.dumps({"bare": bare, "ours": ours, "first": first, "second": second, "nested": nested, "slot": slot}))


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


def slot_trials(count: int, folder: Path) -> dict[str, float]:
    """Seconds, memory and processes of trials one after the other in one worker group."""
    from orchestrator.slot import Slot

    study = experiment()
    place = Place(storage=folder / "slot", roots={}, fingerprints={}, workers=2)
    place.storage.mkdir()
    seconds, usage = [], []
    began = time.perf_counter()
    with Slot(place) as slot:
        for number in range(count):
            trial = Trial.of(study, study.arms["noop"], {"train.value": number / count}, Seeds(0, 0, "last"), place)
            outcome = slot.run(trial, lambda event: None)
            assert outcome.status == "finished", outcome.message
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            if number in (min(10, count - 1), count - 1):
                usage.append(used())
    return {
        "first": seconds[0],
        "later": statistics.fmean(seconds[1:]),
        "slowest": max(seconds[1:]),
        "megabytes_before": usage[0][0],
        "megabytes_after": usage[-1][0],
        "processes_before": usage[0][1],
        "processes_after": usage[-1][1],
    }


def used() -> tuple[float, int]:
    """Memory in MB of this process and of the ranks, and how many processes Ray runs for us."""
    family = psutil.Process().children(recursive=True)
    ranks = [one for one in family if "RayTrainWorker" in " ".join(one.cmdline())]
    return sum(one.memory_info().rss for one in [psutil.Process(), *ranks]) / 1e6, len(family)


if __name__ == "__main__":
    main()
