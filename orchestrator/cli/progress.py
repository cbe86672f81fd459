"""What a person sees while trials run: a live table in a terminal, a line per event elsewhere."""

import contextlib
import io
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.live import Live
from rich.table import Table

from orchestrator import signals
from orchestrator.cli.console import Console, standard_error
from orchestrator.execute import Event
from orchestrator.trial import Outcome, Trial

LINE_EVERY_SECONDS = 30.0
"""Without a terminal, progress within a stage is a line at this distance."""


@dataclass
class _Running:
    stage: str = ""
    text: str = "starting"
    started: float = field(default_factory=time.monotonic)
    first_step: int | None = None
    told: float = field(default_factory=time.monotonic)


class Progress:
    """Live progress of one command; a context manager.

    ``verbose`` writes a line for every stage where there is no terminal; a sweep writes one per trial.
    """

    def __init__(self, total: int, *, done: int = 0, verbose: bool, console: Console | None = None) -> None:
        self.console = console or standard_error()
        self._total, self._done, self._verbose = total, done, verbose
        self._running: dict[str, _Running] = {}
        self._labels: dict[str, str] = {}
        self._began = time.monotonic()
        self._ended_here = 0
        self._live = Live(console=self.console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            with contextlib.suppress(OSError):  # The terminal has been closed.
                self._live.stop()

    def event(self, trial: Trial, event: Event) -> None:
        """Something happened in a trial."""
        self._labels[trial.id] = label(trial.varied, trial.seeds.trial)
        if event.kind == "over":
            self._running.pop(trial.id, None)
            return
        if event.kind == "group":  # Nothing that a person wants to read.
            return
        running = self._running.setdefault(trial.id, _Running())
        if event.kind == "progress":
            self._step(trial.id, running, event)
            return
        running.stage, running.text = event.stage, f"{event.kind} {event.text}".strip()
        running.started, running.first_step = time.monotonic(), None
        if event.kind in ("warning", "waiting", "damaged", "lost") or (self._verbose and self._worth_a_line(event)):
            self._line(trial.id, f"{event.stage}: {running.text}")

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has ended: its one line."""
        self._running.pop(trial.id, None)
        self._done += 1
        self._ended_here += 1
        hits = sum(1 for stage in outcome.stages if stage["hit"])
        parts = [f"{self._done}/{self._total}", outcome.status, label(trial.varied, trial.seeds.trial)]
        scores = {name: value for name, value in outcome.objectives.items() if value is not None and name != "seconds"}
        parts += [f"{name} {100 * value:.1f}" for name, value in scores.items()]
        if outcome.message:
            parts.append(f"{outcome.failure_class}: {outcome.message}" if outcome.failure_class else outcome.message)
        elif outcome.stages:
            parts.append(
                "every stage is a hit" if outcome.all_hits else f"{hits} of {len(outcome.stages)} stages were hits"
            )
        self._line(trial.id, "  ".join(part for part in parts if part))

    def note(self, text: str) -> None:
        """Write a line of its own; a pipe that nobody reads any more stops the command as a signal does.

        A terminal that was closed behind ``nohup`` or ``disown`` only leaves nobody to write to.
        """
        try:
            self.console.print(text, markup=False, emoji=False, soft_wrap=True)
        except BrokenPipeError:
            self.console.file = io.StringIO()
            signals.receive(signal.SIGPIPE)
        except OSError:
            self.console.file = io.StringIO()

    def _worth_a_line(self, event: Event) -> bool:
        return event.kind in ("done", "hit") or (event.kind == "start" and "@" not in event.stage)

    def _step(self, trial_id: str, running: _Running, event: Event) -> None:
        step, steps = event.metrics.get("step"), event.metrics.get("steps")
        if step is None or steps is None:
            return
        if "resumed" in event.metrics:
            self._line(trial_id, f"{event.stage}: continues at step {step:.0f} of {steps:.0f}")
        now = time.monotonic()
        if running.stage != event.stage or running.first_step is None:
            running.stage, running.started, running.first_step = event.stage, now, int(step)
        running.text = describe(event.metrics, now - running.started, running.first_step)
        if self._verbose and not self.console.is_terminal and now - running.told > LINE_EVERY_SECONDS:
            running.told = now
            self._line(trial_id, f"{event.stage}: {running.text}")

    def _line(self, trial_id: str, text: str) -> None:
        self.note(f"{time.strftime('%H:%M:%S')}  {trial_id}  {text}")

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        elapsed = time.monotonic() - self._began
        eta = ""
        if self._ended_here:
            eta = f", about {_duration(elapsed / self._ended_here * (self._total - self._done))} left"
        table.add_row(f"{self._done}/{self._total} trials", "", f"{_duration(elapsed)} so far{eta}")
        if not self._running and self._done < self._total:
            table.add_row("starting …", "", "")
        for trial_id, running in self._running.items():
            table.add_row(f"{trial_id}  {self._labels[trial_id]}", running.stage, running.text)
        return table


def label(varied: Mapping[str, Any], seed: int) -> str:
    """``alpha=0.31 seed=0``: the last part of each varied field."""
    fields = [f"{name.rpartition('.')[2]}={_short(value)}" for name, value in varied.items()]
    return " ".join([*fields, f"seed={seed}"])


def describe(metrics: Mapping[str, float], seconds: float, first_step: int) -> str:
    """Step, loss, rate and time left of a stage in progress."""
    step, steps = int(metrics["step"]), int(metrics["steps"])
    parts = [f"{step}/{steps}"]
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']:.3f}")
    selection = metrics.get("selection")
    if selection is not None and selection != metrics.get("selection_step"):  # Else the last is the best by rule.
        parts.append(f"selection {100 * selection if selection <= 1 else selection:.1f}")  # Above 1: dB.
    if metrics.get("images_per_second"):
        parts.append(f"{metrics['images_per_second']:.1f} images/s")
    if step > first_step and seconds > 0:
        parts.append(f"{_duration(seconds / (step - first_step) * (steps - step))} left")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
