"""Our searcher and scheduler for Ray Tune: hand out the trials of a search, judge them, record how they end.

Imports Ray. Tune's own state is disposable: both read everything from the ledger when they start.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.execute import Event
from orchestrator.losses import Losses
from orchestrator.record import record
from orchestrator.schedulers import Pruner
from orchestrator.search import Search
from orchestrator.signals import Stopping
from orchestrator.trial import Outcome, Trial, keep_trace
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
        self.stopping = Stopping()
        """Set by a signal: nothing new is handed out, and trials end without an outcome."""
        self.error: UserError | None = None
        """To be raised after ``fit``; from inside a callback Tune would bury it in a trace of its own."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that never happens here; the state is the ledger."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial as Tune's config; our own identity travels in it."""
        given = None
        if self.error is None and not self.stopping:
            try:
                given = self._search.next_trial()
            except UserError as error:
                self.error = error
        if given is None:
            # A live trial may have to be retried, and FINISHED can never be taken back.
            return None if self._live else Searcher.FINISHED
        self._live[trial_id] = given
        trial, attempt = given
        varied = json.dumps(dict(trial.varied))
        return {"trial": trial.id, "attempt": attempt, "seed": trial.seeds.trial, "varied": varied}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass events on to whoever watches."""
        if "event" in result:
            trial, event = self._live[trial_id][0], Event(**json.loads(result["event"]))
            if event.stage == trial.arm.train and "step" in event.metrics:
                self._losses[trial.id].reached = event.metrics["step"]
            self._watcher.event(trial, event)

    def is_to_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the pruner ends a trial here."""
        if self._pruner is None or "event" not in result or trial_id not in self._live:
            return False
        trial, _ = self._live[trial_id]
        event = Event(**json.loads(result["event"]))
        step, steps = event.metrics.get("selection_step"), event.metrics.get("steps")
        if event.stage != trial.arm.train or trial.seeds.trial != self._search.sweep.seeds.trial:
            return False
        if step is None or step != event.metrics["step"] or step == steps:
            return False
        return not self._pruner.keeps(trial.config_hash, int(step), event.metrics["selection"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the outcome, or start the trial again where its process died."""
        trial, attempt = self._live.pop(trial_id)
        cut = self._pruner.cut(trial.config_hash) if self._pruner is not None else None
        if not error and result and "outcome" in result:
            outcome = Outcome(**json.loads(result["outcome"]))
        elif self.stopping:
            return  # The ledger holds the attempt; the next start continues it from its checkpoint.
        elif not error and cut is not None:
            outcome = pruned(trial, *cut)
        else:
            if not self._losses[trial.id].one_too_many():
                again = "its process died; it starts again from its last checkpoint"
                self._watcher.event(trial, Event("lost", "", again))
                self._search.retry(trial)
                return
            outcome = lost(self._losses[trial.id].in_a_row)
        # Ledger first, then the leaderboard, which can be rebuilt from it.
        outcome = keep_trace(self._search.ledger, trial, attempt, outcome)
        self._search.finish(trial, outcome, attempt)
        record(trial, outcome, sweep=self._search.ledger.name, attempt=attempt)
        self._watcher.ended(trial, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; our state is the ledger."""
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """Never needed: a start rebuilds everything from the ledger."""


class LedgerScheduler(FIFOScheduler):
    """Asks the searcher, who knows the trial, whether it goes on."""

    def __init__(self, searcher: LedgerSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop or continue."""
        stop = self._searcher.is_to_stop(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


def pruned(trial: Trial, step: int, score: float) -> Outcome:
    """The outcome of a configuration that was stopped at a rung; its score there is what the sampler hears."""
    steps = trial.experiment.stages[trial.arm.train].config.model_dump()["loop"]["steps"]
    objective = trial.experiment.objective
    return Outcome("pruned", objectives={objective: score}, message=f"stopped at step {step} of {steps}")


def lost(times: int) -> Outcome:
    """The outcome of a trial whose process died too often."""
    message = f"its process died {times} times without a word; out of memory is the commonest cause"
    return Outcome("failed", failure_class="worker_lost", message=message)
