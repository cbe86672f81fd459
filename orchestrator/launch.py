"""Start trials one by one: in this process, or in a worker group whose ranks walk the whole graph together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.execute import Event, Observe
from orchestrator.signals import Stopping, stopping_on_signals
from orchestrator.trial import Outcome, Trial, run_trial

if TYPE_CHECKING:
    from trainers.context import OnReport, TrainContext

Watch = Callable[[Trial, Event], None]
"""Told what happens in which trial."""

STOPS_AT = ("start", "hit", "progress", "done")
"""Events at which a stage can be left: whoever reports progress saves first."""


def run_trials(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """Run ``trials`` one after the other; yields each with its outcome as it ends.

    Raises:
        Interrupted: a signal asked to stop, and the trial in progress has saved.
    """
    if trials and trials[0].place.workers > 0:
        yield from _run_in_group(trials, watch)
        return
    with stopping_on_signals() as stopping:
        for trial in trials:
            with until_saved(stopping):
                outcome = run_in_process(trial, saving_when_stopped(trial, watch, stopping))
            yield trial, outcome


def run_in_process(trial: Trial, observe: Observe) -> Outcome:
    """Run one trial here."""
    from trainers.context import PlainContext

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        return PlainContext(folder, device=trial.place.device_type, on_report=on_report, guard=guard)

    return run_trial(trial, make_context=make_context, observe=observe)


def _run_in_group(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """Let one worker group serve all trials."""
    from orchestrator.cluster import connect
    from orchestrator.slot import Slot

    connect()
    with Slot(trials[0].place) as slot, stopping_on_signals() as stopping:  # Ray's start installs a handler of its own.
        for trial in trials:
            with until_saved(stopping):
                outcome = slot.run(trial, saving_when_stopped(trial, watch, stopping))
            yield trial, outcome


def saving_when_stopped(trial: Trial, watch: Watch, stopping: Stopping) -> Observe:
    """Make the observer of a trial that ends it, with a checkpoint, once a signal has asked to stop."""
    from trainers.context import SAVE_AND_EXIT

    def observe(event: Event) -> None:
        watch(trial, event)
        if stopping and event.kind in STOPS_AT:
            raise SystemExit(SAVE_AND_EXIT)

    return observe


@contextmanager
def until_saved(stopping: Stopping) -> Iterator[None]:
    """Raise ``Interrupted`` where a trial in the block ended for a signal, or would begin after one."""
    from trainers.context import SAVE_AND_EXIT

    if stopping:
        raise stopping.interrupted()
    try:
        yield
    except SystemExit as stop:
        if stop.code == SAVE_AND_EXIT and stopping:
            raise stopping.interrupted() from None
        raise
