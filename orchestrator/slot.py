"""A slot: one worker group and its owner, who hands it trial after trial. From the second on a start costs nothing."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.execute import Event, Observe
from orchestrator.losses import Losses
from orchestrator.mailbox import Letter, Mailbox
from orchestrator.trial import Outcome, Place, Trial

POLL_SECONDS = 2.0
"""How often an owner without letters looks whether its group still exists."""

GROUP = "worker group"
"""Stands for the stage in events that are about the group."""

PATIENCE_SECONDS = 60.0
"""After so long without a group it says that it waits for resources."""


class SlotBroken(RuntimeError):
    """The run of Ray Train around the group has ended; a new slot has to do the rest."""


class Slot:
    """Owns a worker group; whatever this process leaves of it goes with this process."""

    def __init__(self, place: Place, folder: Path | None = None) -> None:
        """Starts the group; the first job waits for it. ``folder`` holds Ray Train's own state, never read."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Imported before the thread starts: two threads that import Ray Train at once find each other's halves.
        from orchestrator.group import trainer

        self.place = place
        self._folder = (folder or place.storage / "groups") / f"group-{time.time_ns()}"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox = actor.options(scheduling_strategy=here).remote()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._fit, args=(trainer,), name="worker group", daemon=True)
        self._thread.start()

    def run(self, trial: Trial, observe: Observe, ends: Sequence[str] | None = None) -> Outcome:
        """Have the group run ``trial``, or only its stages ``ends``; ``observe`` may raise ``SystemExit`` to stop it.

        Raises:
            SlotBroken: there is no group any more, and will be none.
        """
        import ray

        from orchestrator.group import Job

        losses, ready, since = Losses(), False, time.monotonic()
        ray.get(self._mailbox.put.remote(Job(trial, ends)))
        try:
            while True:
                for letter in self._letters():
                    if letter.kind == "outcome":
                        outcome: Outcome = letter.content
                        return outcome
                    if letter.kind == "broke":
                        ready, since = False, time.monotonic()
                        cause = described(letter.content)
                        if losses.one_too_many():
                            ray.get(self._mailbox.abandon.remote())
                            return lost(losses.in_a_row, cause)
                        observe(Event("lost", GROUP, f"{cause}; its worker group is built anew"))
                    self._hear(letter, losses, observe)
                    if letter.kind == "ready":
                        ready = True
                        observe(Event("group", GROUP, letter.content))
                if not ready and time.monotonic() - since > PATIENCE_SECONDS:
                    observe(Event("waiting", GROUP, f"for {wanted(self.place.bundles)} to be free and started"))
                    since = time.monotonic() + 9 * PATIENCE_SECONDS
        except SystemExit as stop:
            self._stop(stop)
            raise

    def close(self) -> None:
        """Let the group go, and wait until it has gone."""
        import ray

        if self._closed:
            return
        self._closed = True
        ray.get(self._mailbox.close.remote())
        self._thread.join()
        ray.kill(self._mailbox)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        if kind is None or issubclass(kind, SystemExit):
            self.close()
        else:  # The group may be in the middle of a job; it ends with this process.
            ray.kill(self._mailbox)

    def _hear(self, letter: Letter, losses: Losses, observe: Observe) -> None:
        if letter.kind == "leaving":
            losses.forgive()
            observe(Event("lost", GROUP, "a node of its worker group is being taken away; it has saved"))
        elif letter.kind == "event":
            event: Event = letter.content
            losses.heard(event)
            observe(event)

    def _letters(self) -> list[Letter]:
        import ray

        alive = self._thread.is_alive()  # Read before the letters: a group that has ended sends no more.
        letters: list[Letter] = ray.get(self._mailbox.take.remote(POLL_SECONDS))
        if not letters and not alive:
            raise SlotBroken(f"the worker group has ended: {self._error}") from self._error
        return letters

    def _stop(self, stop: SystemExit) -> None:
        """Tell the ranks, and wait until they have saved and let go of what they hold."""
        import ray

        from trainers.context import SAVE_AND_EXIT, STOP

        ray.get(self._mailbox.stop.remote(SAVE_AND_EXIT if stop.code == SAVE_AND_EXIT else STOP))
        while not any(letter.kind == "outcome" for letter in self._letters()):
            pass

    def _fit(self, trainer: Callable[[Place, Any, Path], Any]) -> None:
        try:
            trainer(self.place, self._mailbox, self._folder).fit()
        except Exception as error:
            self._error = error
        shutil.rmtree(self._folder, ignore_errors=True)


_own: list[Slot] = []


def own_slot(place: Place, folder: Path) -> Slot:
    """The slot of this process, which serves one sweep; started with its first trial."""
    if not _own:
        _own.append(Slot(place, folder))
    return _own[0]


def described(errors: dict[int, str]) -> str:
    """Which ranks were lost, and what the first one said."""
    if not errors:
        return "a worker died"
    rank, text = min(errors.items(), key=lambda item: (_is_consequence(item[1]), item[0]))
    return f"worker {rank} was lost ({text or 'without a word'})"


def _is_consequence(text: str) -> bool:
    return "Collateral" in text


def lost(times: int, cause: str) -> Outcome:
    """The outcome of a trial whose group broke too often."""
    return Outcome("failed", failure_class="worker_lost", message=f"its worker group broke {times} times: {cause}")


def wanted(bundles: Sequence[dict[str, float]]) -> str:
    """``2 x (1 CPU, 1 GPU)``."""
    each = ", ".join(f"{amount:g} {name}" for name, amount in bundles[0].items())
    return f"{len(bundles)} x ({each})"
