"""Our searcher for Ray Tune: hands out the trials of a search and records how they end. Imports Ray."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from orchestrator.execute import Event
from orchestrator.record import record
from orchestrator.search import Search
from orchestrator.trial import Outcome, Trial, keep_trace
from trainers.errors import UserError

MAX_RETRIES = 3
"""How often a trial whose process died starts again; it continues from its last checkpoint."""


@dataclass(frozen=True)
class Watcher:
    """Who looks on."""

    event: Callable[[Trial, Event], None]
    ended: Callable[[Trial, Outcome], None]


class LedgerSearcher(Searcher):
    """Hands out trials, and records their outcomes before anything else happens."""

    def __init__(self, search: Search, watcher: Watcher) -> None:
        super().__init__()  # No metric: Tune judges nothing here.
        self._search, self._watcher = search, watcher
        self._live: dict[str, tuple[Trial, int]] = {}
        self._losses: dict[str, int] = {}
        self.error: UserError | None = None
        """To be raised after ``fit``; from inside a callback Tune would bury it in a trace of its own."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that never happens here; the state is the ledger."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial as Tune's config; our own identity travels in it."""
        given = None
        if self.error is None:
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
            self._watcher.event(self._live[trial_id][0], Event(**json.loads(result["event"])))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the outcome, or start the trial again where its process died."""
        trial, attempt = self._live.pop(trial_id)
        if not error and result and "outcome" in result:
            outcome = Outcome(**json.loads(result["outcome"]))
        else:
            self._losses[trial.id] = self._losses.get(trial.id, 0) + 1
            if self._losses[trial.id] <= MAX_RETRIES:
                again = "its process died; it starts again from its last checkpoint"
                self._watcher.event(trial, Event("lost", "", again))
                self._search.retry(trial)
                return
            outcome = lost(self._losses[trial.id])
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


def lost(times: int) -> Outcome:
    """The outcome of a trial whose process died too often."""
    message = f"its process died {times} times without a word; out of memory is the commonest cause"
    return Outcome("failed", failure_class="worker_lost", message=message)
