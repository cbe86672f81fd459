"""Run a search on Ray Tune: its trials in reused processes or worker groups, as many at once as the resources allow."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.access import write_for_group
from orchestrator.cluster import connect
from orchestrator.execute import Event, Observe, StageReport, Throttle, Walk
from orchestrator.files import naming_full_disk
from orchestrator.launch import run_in_process, saving_when_stopped, until_saved
from orchestrator.ledger import Ledger
from orchestrator.record import record, recorded_trials
from orchestrator.resources import are_free, cluster_nodes, groups_that_fit, is_on_cluster, require_fit
from orchestrator.search import Search, Sweep
from orchestrator.signals import Interrupted, Stopping, stopping_on_signals
from orchestrator.slot import Slot, own_slot, wanted
from orchestrator.trial import Place, Trial, prepare_process
from trainers.errors import UserError

if TYPE_CHECKING:
    from orchestrator.schedulers import Pruner
    from orchestrator.searcher import Watcher
    from trainers.context import OnReport, TrainContext


def run_sweep(search: Search, watcher: Watcher, pruner: Pruner | None = None) -> None:
    """Run all that is left to do; every trial that ends is on the leaderboard before the next is handed out.

    Raises:
        Interrupted: a signal asked to stop, and the trials have saved.
    """
    recorded = recorded_trials(search.sweep.place.storage, search.ledger.name)
    for trial, outcome, attempt in search.known:
        if trial.id not in recorded or recorded[trial.id][0] < attempt:  # Killed before the leaderboard was written.
            if outcome.status == "finished" and not outcome.scores:
                outcome = replace(outcome, scores=search.ledger.scores(trial.id, attempt))
            record(trial, outcome, sweep=search.ledger.name, attempt=attempt)
    if search.is_done:  # Ray need not even start.
        return
    try:
        with stopping_on_signals() as stopping, until_saved(stopping):
            run_shared_stages(search, watcher, stopping)
        _run_on_tune(search, watcher, pruner)
    except Interrupted as stop:
        ended = f"{len(search.outcomes)} of {search.total} trials have ended"
        raise stop.named(f"{search.ledger.name} was stopped: {ended}; `{search.again}` continues it") from None


def shared_stages(sweep: Sweep) -> list[str]:
    """The stages that no searched field reaches: one artifact per seed serves every configuration."""
    varied = {name.partition(".")[0] for name in sweep.space}
    experiment = sweep.experiment
    return [name for name in experiment.upstream(sweep.arm.stages()) if not varied & set(experiment.upstream([name]))]


def run_shared_stages(search: Search, watcher: Watcher, stopping: Stopping) -> list[StageReport]:
    """Make the shared stages once, before the search; a signal lets the stage in progress save and ends the process."""
    from orchestrator.artifacts import Store

    sweep = search.sweep
    names = shared_stages(sweep)
    reports: list[StageReport] = []
    with contextlib.ExitStack() as group:
        slot: Slot | None = None
        for seed in range(sweep.seeds.trial, sweep.seeds.trial + sweep.num_seeds) if names else ():
            seeds = replace(sweep.seeds, trial=seed)
            trial = Trial.of(sweep.experiment, sweep.arm, {}, seeds, sweep.place)
            store = Store(sweep.place.storage)
            planned = {name: trial.planned[name] for name in names}
            if all(store.exists(one.method.name, one.key) for one in planned.values()):
                continue
            search.ledger.write("shared", f"{trial.id}", {"keys": [one.key for one in planned.values()]})
            observe = saving_when_stopped(trial, watcher.event, stopping)
            if sweep.place.workers or is_on_cluster():
                slot = slot or group.enter_context(_one_slot(sweep.place))
                reports += _made_in_group(slot, trial, names, observe)
            else:
                prepare_process(sweep.place)
                walk = Walk(planned, store, sweep.place.roots, partial(_plain_context, sweep.place), observe)
                reports += walk.run(names)
            watcher.event(trial, Event("over", ""))
    return reports


def _plain_context(place: Place, folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
    from trainers.context import PlainContext

    return PlainContext(folder, device=place.device_type, on_report=on_report, guard=guard)


def _one_slot(place: Place) -> Slot:
    """A worker group for this process; on a cluster a driver may have no GPU, so even one process is a group there."""
    connect()
    return Slot(place if place.workers else replace(place, workers=1))


def _made_in_group(slot: Slot, trial: Trial, names: list[str], observe: Observe) -> list[StageReport]:
    outcome = slot.run(trial, observe, ends=names)
    if outcome.status != "finished":
        kind = UserError if outcome.failure_class == "invalid" else RuntimeError
        raise kind(f"{outcome.message}\n{outcome.trace or ''}".strip())
    return [StageReport(**report) for report in outcome.stages]


def _run_on_tune(search: Search, watcher: Watcher, pruner: Pruner | None) -> None:
    from ray import tune

    from orchestrator.searcher import LedgerScheduler, LedgerSearcher, NoTrialLines, Watchdog

    place = search.sweep.place
    connect()
    # We say in one line what it says in traces, and nobody reads its state, which a full disk cannot hold.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    folder = search.ledger.root / "tune"
    shutil.rmtree(folder, ignore_errors=True)  # Of earlier starts; nothing in it is ever read.
    searcher = LedgerSearcher(search, watcher, pruner)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trial_in_tune, sweep=search.sweep, stop_flag=stop_flag(search.ledger)),
            # The owner of a group takes nothing that its group needs; Ray refuses an empty bundle.
            {"memory": 2**20} if place.workers else dict(place.bundles[0]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=LedgerScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=concurrency(place, watcher.note),
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config["trial"]),
            trial_dirname_creator=lambda trial: f"{trial.config['trial']}.{trial.config['attempt']}",
        ),
        run_config=tune.RunConfig(
            name=f"start-{time.time_ns()}",
            storage_path=str(folder),
            verbose=0,
            callbacks=[Watchdog(searcher), NoTrialLines()],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    flag = stop_flag(search.ledger)
    flag.unlink(missing_ok=True)
    with stopping_on_signals(flag.touch) as stopping:  # Only now: Ray's start installs a handler of its own.
        searcher.stopping = stopping
        try:
            with naming_full_disk(place.storage, search.again):  # Tune writes there too.
                tuner.fit()
        except Exception as error:
            searcher.error = searcher.error or (error if isinstance(error, UserError) else None)
            if searcher.error is None:
                raise
        finally:
            searcher.release_groups()
    if searcher.error is not None:
        raise searcher.error
    if stopping:
        raise stopping.interrupted()


def stop_flag(ledger: Ledger) -> Path:
    """The file whose existence asks the trials of a sweep, wherever they run, to save and end."""
    return ledger.root / "stopping"


def concurrency(place: Place, note: Callable[[str], None]) -> int:
    """How many trials fit the cluster at once; ``note`` hears what other jobs hold at the moment.

    Raises:
        UserError: none ever fits.
    """
    nodes = cluster_nodes()
    require_fit(nodes, place.bundles)
    fit = groups_that_fit(nodes, place.bundles)
    if not are_free(place.bundles, fit):
        note(
            f"{fit} x {wanted(place.bundles)} fit the cluster, and they are not free now: trials wait for what other "
            "jobs hold"
        )
    return fit


def _trial_in_tune(config: dict[str, Any], *, sweep: Sweep, stop_flag: Path) -> None:
    """What a Tune trial runs: one of our trials, told through ``tune.report``."""
    from ray import tune

    from trainers.context import SAVE_AND_EXIT

    write_for_group(sweep.place.storage)
    seeds = replace(sweep.seeds, trial=config["seed"])
    trial = Trial.of(sweep.experiment, sweep.arm, json.loads(config["varied"]), seeds, sweep.place)
    throttle = Throttle()

    def observe(event: Event) -> None:
        if not throttle.passes(event):
            return
        if stop_flag.exists():
            raise SystemExit(SAVE_AND_EXIT)
        tune.report({"event": json.dumps(asdict(event))})

    try:
        if sweep.place.workers:
            outcome = own_slot(sweep.place, stop_flag.parent / "tune").run(trial, observe)
        else:
            outcome = run_in_process(trial, observe)
    except SystemExit as stop:
        if stop.code == SAVE_AND_EXIT:
            return  # Without an outcome: the next start goes on from the checkpoint.
        raise
    tune.report({"outcome": json.dumps(asdict(outcome))})
