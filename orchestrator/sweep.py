"""Run a search on Ray Tune: its trials in reused processes, as many at once as the resources allow."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cluster import connect
from orchestrator.execute import Event, StageReport, Walk
from orchestrator.files import naming_full_disk
from orchestrator.launch import run_in_process
from orchestrator.ledger import Ledger
from orchestrator.record import record, recorded_trials
from orchestrator.search import Search, Sweep
from orchestrator.signals import Stopping, stopping_on_sigterm
from orchestrator.trial import Trial, prepare_process
from trainers.errors import UserError

if TYPE_CHECKING:
    from orchestrator.schedulers import Pruner
    from orchestrator.searcher import Watcher


def run_sweep(search: Search, watcher: Watcher, pruner: Pruner | None = None) -> None:
    """Run all that is left to do; every trial that ends is on the leaderboard before the next is handed out."""
    recorded = recorded_trials(search.sweep.place.storage, search.ledger.name)
    for trial, outcome, attempt in search.known:
        if trial.id not in recorded or recorded[trial.id][0] < attempt:  # Killed before the leaderboard was written.
            if outcome.status == "finished" and not outcome.scores:
                outcome = replace(outcome, scores=search.ledger.scores(trial.id, attempt))
            record(trial, outcome, sweep=search.ledger.name, attempt=attempt)
    if search.is_done:  # Ray need not even start.
        return
    with stopping_on_sigterm() as stopping:
        run_shared_stages(search, watcher, stopping)
    _run_on_tune(search, watcher, pruner)


def refuse_workers(workers: int) -> None:
    """Sweeps run each trial in one process so far.

    Raises:
        UserError: worker groups are asked for.
    """
    if workers:
        raise UserError(
            f"--workers {workers}: a sweep's trials run in one process each; use --workers 0 here, "
            "or `nightshift run` for one trial on several workers"
        )


def shared_stages(sweep: Sweep) -> list[str]:
    """The stages that no searched field reaches: one artifact per seed serves every configuration."""
    varied = {name.partition(".")[0] for name in sweep.space}
    experiment = sweep.experiment
    return [name for name in experiment.upstream(sweep.arm.stages()) if not varied & set(experiment.upstream([name]))]


def run_shared_stages(search: Search, watcher: Watcher, stopping: Stopping) -> list[StageReport]:
    """Make the shared stages once, before the search; a signal lets the stage in progress save and ends the process."""
    from orchestrator.artifacts import Store
    from trainers.context import PlainContext

    sweep = search.sweep
    names = shared_stages(sweep)
    reports: list[StageReport] = []
    for seed in range(sweep.seeds.trial, sweep.seeds.trial + sweep.num_seeds) if names else ():
        trial = Trial.of(
            sweep.experiment,
            sweep.arm,
            {},
            replace(sweep.seeds, trial=seed),
            sweep.place,
        )
        store = Store(sweep.place.storage)
        planned = {name: trial.planned[name] for name in names}
        if all(store.exists(one.method.name, one.key) for one in planned.values()):
            continue
        search.ledger.write("shared", f"{trial.id}", {"keys": [one.key for one in planned.values()]})
        prepare_process(sweep.place)
        walk = Walk(
            planned,
            store,
            sweep.place.roots,
            lambda folder, *, on_report, guard: PlainContext(
                folder, device=sweep.place.device_type, on_report=on_report, guard=guard
            ),
            partial(_observe_shared, trial, watcher, stopping),
        )
        reports += walk.run(names)
        watcher.event(trial, Event("over", ""))
    return reports


def _observe_shared(trial: Trial, watcher: Watcher, stopping: Stopping, event: Event) -> None:
    from trainers.context import SAVE_AND_EXIT

    watcher.event(trial, event)
    if stopping and event.kind == "progress":
        raise SystemExit(SAVE_AND_EXIT)


def _run_on_tune(search: Search, watcher: Watcher, pruner: Pruner | None) -> None:
    from ray import tune

    from orchestrator.searcher import LedgerScheduler, LedgerSearcher, Watchdog

    place = search.sweep.place
    connect()
    folder = search.ledger.root / "tune"
    shutil.rmtree(folder, ignore_errors=True)  # Of earlier starts; nothing in it is ever read.
    resources: dict[str, float] = {"CPU": place.threads, **({"GPU": 1} if place.device_type == "cuda" else {})}
    searcher = LedgerSearcher(search, watcher, pruner)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trial_in_tune, sweep=search.sweep, stop_flag=stop_flag(search.ledger)), resources
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=LedgerScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=concurrency(resources),
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config["trial"]),
            trial_dirname_creator=lambda trial: f"{trial.config['trial']}.{trial.config['attempt']}",
        ),
        run_config=tune.RunConfig(
            name=f"start-{time.time_ns()}",
            storage_path=str(folder),
            verbose=0,
            callbacks=[Watchdog(searcher)],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    flag = stop_flag(search.ledger)
    flag.unlink(missing_ok=True)
    with stopping_on_sigterm(flag.touch) as stopping:  # Only now: Ray's start installs a handler of its own.
        searcher.stopping = stopping
        try:
            with naming_full_disk(place.storage, search.again):  # Tune writes there too.
                tuner.fit()
        except Exception as error:
            searcher.error = searcher.error or (error if isinstance(error, UserError) else None)
            if searcher.error is None:
                raise
    if searcher.error is not None:
        raise searcher.error
    if stopping:
        raise Interrupted(f"{search.ledger.name} was stopped; `{search.again}` continues it")


def stop_flag(ledger: Ledger) -> Path:
    """The file whose existence asks the trials of a sweep, wherever they run, to save and end."""
    return ledger.root / "stopping"


class Interrupted(RuntimeError):
    """The sweep was asked to stop, and its trials have saved."""


def concurrency(resources: dict[str, float]) -> int:
    """How many trials with these resources fit the cluster at once, counted node by node.

    Raises:
        UserError: none fits.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = sum(int(min(node.get(name, 0) // amount for name, amount in resources.items() if amount)) for node in nodes)
    if fit < 1:
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
        have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
        raise UserError(f"a trial needs {wanted}, and no node of the cluster has that (they have {have})")
    return fit


def _trial_in_tune(config: dict[str, Any], *, sweep: Sweep, stop_flag: Path) -> None:
    """What a Tune trial runs: one of our trials, told through ``tune.report``."""
    from ray import tune

    from trainers.context import SAVE_AND_EXIT

    seeds = replace(sweep.seeds, trial=config["seed"])
    trial = Trial.of(sweep.experiment, sweep.arm, json.loads(config["varied"]), seeds, sweep.place)
    told = 0.0

    def observe(event: Event) -> None:
        nonlocal told
        matters = "resumed" in event.metrics or event.metrics.get("selection_step") == event.metrics.get("step")
        if event.kind == "progress" and not matters and time.monotonic() - told < 1:
            return
        told = time.monotonic()
        if stop_flag.exists():
            raise SystemExit(SAVE_AND_EXIT)
        tune.report({"event": json.dumps(asdict(event))})

    try:
        outcome = run_in_process(trial, observe)
    except SystemExit as stop:
        if stop.code == SAVE_AND_EXIT:
            return  # Without an outcome: the next start goes on from the checkpoint.
        raise
    tune.report({"outcome": json.dumps(asdict(outcome))})
