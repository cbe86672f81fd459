"""Our searcher and scheduler for Ray Tune: hand out the trials of a search, judge them, record how they end.

Imports Ray. Tune's own state is disposable: both read everything from the ledger when they start.
"""

import json
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.execute import Event
from orchestrator.files import disk_full, naming_full_disk
from orchestrator.group import release
from orchestrator.leases import FIRST_REMINDER_SECONDS
from orchestrator.ledger import attempt_name
from orchestrator.losses import Losses, loss_class
from orchestrator.record import record
from orchestrator.schedulers import Pruner
from orchestrator.search import Search
from orchestrator.signals import Stopping
from orchestrator.trial import FailureClass, Outcome, Trial, failure, keep_trace
from trainers.errors import UserError


@dataclass(frozen=True)
class Watcher:
    """Who looks on."""

    event: Callable[[Trial, Event], None]
    ended: Callable[[Trial, Outcome], None]
    note: Callable[[str], None] = lambda text: None


class LedgerSearcher(Searcher):
    """Hands out trials, and records their outcomes before anything else happens."""

    def __init__(self, search: Search, watcher: Watcher, pruner: Pruner | None) -> None:
        super().__init__()  # No metric: Tune judges nothing here.
        self._search, self._watcher, self._pruner = search, watcher, pruner
        self._live: dict[str, tuple[Trial, int]] = {}
        self._losses: defaultdict[str, Losses] = defaultdict(Losses)
        self._broken: dict[str, BaseException] = {}
        """Tune's id → why its process ended."""
        self._reserved: dict[str, str] = {}
        """Tune's id → what its worker group has reserved."""
        self._groups: set[str] = set()
        """What every group of this sweep has reserved."""
        self._silent: dict[str, tuple[float, float]] = {}
        """Tune's trial → when it was handed out and after how long it is told that it waits, until its first word."""
        self.stopping = Stopping()
        """Set by a signal: nothing new is handed out, and trials end without an outcome."""
        self.error: UserError | None = None
        """Ends the sweep; raised after ``fit``: from inside a callback Tune would bury it in a trace of its own."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that never happens here; the state is the ledger."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial as Tune's config; our own identity travels in it."""
        given = None
        if self.error is None and not self.stopping:
            with self._ending():
                given = self._search.next_trial()
        if given is None:
            # A live trial may have to be retried, and FINISHED can never be taken back.
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = given
        self._silent[trial_id] = (time.monotonic(), FIRST_REMINDER_SECONDS)
        trial, attempt = given
        varied = json.dumps(dict(trial.varied))
        return {"trial": trial.id, "attempt": attempt, "seed": trial.seeds.trial, "varied": varied}

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """A user's mistake or a full disk within the block ends the sweep; the first one is what the user is told."""
        try:
            with naming_full_disk(self._search.sweep.place.storage, self._search.again):
                yield
        except UserError as error:
            self.error = self.error or error

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass events on to whoever watches."""
        self._silent.pop(trial_id, None)
        if "event" in result:
            trial, event = self._live[trial_id][0], Event(**json.loads(result["event"]))
            if event.kind == "group":
                self._reserved[trial_id] = event.text
                self._groups.add(event.text)
                return
            self._losses[trial.id].heard(event)
            self._watcher.event(trial, event)

    def remind(self, free: Callable[[], str]) -> None:
        """Say which trials wait for a process, and what the cluster has ``free``; again when the wait has doubled."""
        now = time.monotonic()
        for trial_id, (since, tell_after) in self._silent.items():
            if now - since >= tell_after:
                self._silent[trial_id] = (since, 2 * tell_after)
                text = f"for a process of its own, {now - since:.0f} s so far; free in the cluster: {free()}"
                self._watcher.event(self._live[trial_id][0], Event("waiting", "start", text))

    def is_to_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the pruner, or what ended the whole sweep, ends a trial here."""
        if self.error is not None:
            return "event" in result
        if self._pruner is None or "event" not in result or trial_id not in self._live:
            return False
        trial, _ = self._live[trial_id]
        event = Event(**json.loads(result["event"]))
        step, steps = event.metrics.get("selection_step"), event.metrics.get("steps")
        if event.stage != trial.arm.train or trial.seeds.trial != self._search.sweep.seeds.trial:
            return False
        if step is None or step != event.metrics["step"] or step == steps:
            return False
        with self._ending():
            return not self._pruner.keeps(trial.config_hash, int(step), event.metrics["selection"])
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the outcome, or start the trial again where its process died."""
        trial, attempt = self._live.pop(trial_id)
        self._silent.pop(trial_id, None)
        broken, reserved = self._broken.pop(trial_id, None), self._reserved.pop(trial_id, None)
        if error and reserved:
            release(reserved)
        cut = self._pruner.cut(trial.config_hash) if self._pruner is not None else None
        if not error and result and "outcome" in result:
            outcome = Outcome(**json.loads(result["outcome"]))
        elif self.stopping or self.error is not None:
            return  # The ledger holds the attempt; the next start continues it from its checkpoint.
        elif not error and cut is not None:
            outcome = pruned(trial, *cut)
        else:
            ended = None
            with self._ending():
                ended = self._lost(trial, attempt, broken)
            if ended is None:
                return
            outcome = ended
        if outcome.failure_class == "disk_full":  # No outcome: the next start goes on from the checkpoint.
            full = disk_full(f"{trial.id}: {outcome.message}", trial.place.storage, self._search.again)
            self.error = self.error or full
            return
        with self._ending():
            # Ledger first, then the leaderboard, which can be rebuilt from it.
            outcome = keep_trace(self._search.ledger, trial, attempt, outcome)
            self._search.finish(trial, outcome, attempt)
            record(trial, outcome, sweep=self._search.ledger.name, attempt=attempt)
            self._watcher.ended(trial, outcome)

    def broke(self, trial_id: str, error: BaseException | None) -> None:
        """Hear why a trial broke, before ``on_trial_complete`` hears that it did."""
        if error is not None:
            self._broken[trial_id] = error

    def _lost(self, trial: Trial, attempt: int, error: BaseException | None) -> Outcome | None:
        """Start a trial whose process died again, or say how it ended; the ledger keeps the class of each loss."""
        kind = loss_class(error)
        if error is not None and kind == "bug":
            return failure(getattr(error, "cause", None) or error, trial.place.storage)
        self._search.ledger.write("losses", attempt_name(trial.id, attempt), {"failure_class": kind})
        losses = self._losses[trial.id]
        if losses.one_too_many():
            return lost(kind, losses.in_a_row)
        again = f"its process died ({kind}); it starts again from its last checkpoint"
        self._watcher.event(trial, Event("lost", "", again))
        self._search.retry(trial)
        return None

    def release_groups(self) -> None:
        """Give back what the groups of this sweep had reserved: their owners are gone, this process may live on."""
        for reservation in self._groups:
            release(reservation)

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; our state is the ledger."""
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """Never needed: a start rebuilds everything from the ledger."""


class Watchdog(Callback):
    """Looks after trials that Tune cannot start: it says nothing itself."""

    def __init__(self, searcher: LedgerSearcher) -> None:
        self._searcher = searcher

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop comes round."""
        self._searcher.remind(free_resources)


class NoTrialLines(TrialProgressCallback):
    """Stands in for Tune's own callback, which prints a line of a trial that ends without a result even at verbose=0.

    Tune adds its own wherever none of this class is given.
    """

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print nothing."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""


def free_resources() -> str:
    """Cores and GPUs of the cluster that nobody holds."""
    import ray

    free = ray.available_resources()
    return ", ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU"))


class LedgerScheduler(FIFOScheduler):
    """Asks the searcher, who knows the trial, whether it goes on."""

    def __init__(self, searcher: LedgerSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Pass on what the searcher is not told: why the trial broke."""
        self._searcher.broke(trial.trial_id, why_it_broke(trial.pickled_error_file))
        super().on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop or continue."""
        stop = self._searcher.is_to_stop(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


def pruned(trial: Trial, step: int, score: float) -> Outcome:
    """The outcome of a configuration that was stopped at a rung; its score there is what the sampler hears."""
    steps = trial.experiment.stages[trial.arm.train].config.model_dump()["loop"]["steps"]
    objective = trial.experiment.objective
    told = f"stopped at step {step} of {steps}"
    return Outcome("pruned", training={"steps": step}, objectives={objective: score}, message=told)


def why_it_broke(path: str | None) -> BaseException | None:
    """The error that Tune has just put down in Ray's session folder; ``None`` where it cannot be read.

    The trial then counts as one whose process died: it is tried again, ``losses.MAX_RETRIES`` times at most.

    The file is of this very process, a moment old, in Ray's session folder and not in the storage; Tune's own reader
    looks for the copy that comes later. Its text would not do: a user's mistake, a bug and a full disk are told apart
    by the exception.
    """
    if path is None or not Path(path).is_file():
        return None
    try:
        error = pickle.loads(Path(path).read_bytes())  # noqa: S301
    except Exception:  # Unpickling calls a foreign constructor, which may raise anything, and a class may not be here.
        return None
    return error if isinstance(error, BaseException) else None


def lost(kind: FailureClass, times: int) -> Outcome:
    """The outcome of a trial whose process died too often."""
    message = f"its process died {times} times in a row without getting further; out of memory is the commonest cause"
    return Outcome("failed", failure_class=kind, message=message)
