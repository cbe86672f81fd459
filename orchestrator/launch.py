"""Start trials one by one: in this process, or in a worker group whose ranks walk the whole graph together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.execute import Event
from orchestrator.signals import stopping_on_sigterm
from orchestrator.trial import Outcome, Trial, run_trial

if TYPE_CHECKING:
    from trainers.context import OnReport, TrainContext

Watch = Callable[[Trial, Event], None]
"""Told what happens in which trial."""


def run_trials(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """Run ``trials`` one after the other; yields each with its outcome as it ends."""
    if trials and trials[0].place.workers > 0:
        yield from _run_in_group(trials, watch)
        return
    from trainers.context import SAVE_AND_EXIT

    with stopping_on_sigterm() as stopping:
        for trial in trials:

            def observe(event: Event, trial: Trial = trial) -> None:
                watch(trial, event)
                if stopping and event.kind == "progress":
                    raise SystemExit(SAVE_AND_EXIT)

            yield trial, run_in_process(trial, observe)


def run_in_process(trial: Trial, observe: Callable[[Event], None]) -> Outcome:
    """Run one trial here."""
    from trainers.context import PlainContext

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        return PlainContext(folder, device=trial.place.device_type, on_report=on_report, guard=guard)

    return run_trial(trial, make_context=make_context, observe=observe)


def _run_in_group(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """One worker group serves all trials; a signal lets the trial in progress save and ends the process."""
    from orchestrator.cluster import connect
    from orchestrator.slot import Slot
    from trainers.context import SAVE_AND_EXIT

    connect()
    with Slot(trials[0].place) as slot, stopping_on_sigterm() as stopping:  # Ray's start installs a handler of its own.
        for trial in trials:

            def observe(event: Event, trial: Trial = trial) -> None:
                watch(trial, event)
                if stopping and event.kind == "progress":
                    raise SystemExit(SAVE_AND_EXIT)

            yield trial, slot.run(trial, observe)
