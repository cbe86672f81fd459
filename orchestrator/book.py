"""The ledger and the leaderboard of ``nightshift run``: trials that nobody searches."""

from collections.abc import Callable
from dataclasses import asdict

from orchestrator.execute import Event
from orchestrator.ledger import Ledger
from orchestrator.record import record, recorded_trials
from orchestrator.trial import Outcome, Trial, attempt_record, keep_trace


class Book:
    """Enters the trials of a run: their attempt when the first stage starts, their outcome and rows when they end."""

    def __init__(self, ledger: Ledger, watch: Callable[[Trial, Event], None]) -> None:
        self._ledger, self._watch = ledger, watch
        self._attempts: dict[str, int] = {}
        self._finished: set[str] | None = None

    def event(self, trial: Trial, event: Event) -> None:
        """Something happened in a trial; told to whoever watches."""
        if event.kind == "start":
            self._begin(trial)
        self._watch(trial, event)

    def enter(self, trial: Trial, outcome: Outcome) -> Outcome:
        """Write an outcome, unless nothing was made and the rows of an earlier one stand there already."""
        if outcome.status == "finished" and trial.id not in self._attempts and trial.id in self._known(trial):
            return outcome
        attempt = self._begin(trial)
        outcome = keep_trace(self._ledger, trial, attempt, outcome)
        self._ledger.finish(trial.id, attempt, asdict(outcome))
        record(trial, outcome, sweep=self._ledger.name, attempt=attempt)
        return outcome

    def _begin(self, trial: Trial) -> int:
        if trial.id not in self._attempts:
            self._attempts[trial.id] = self._ledger.begin(trial.id, attempt_record(trial))
        return self._attempts[trial.id]

    def _known(self, trial: Trial) -> set[str]:
        """The trials of this run that have finished rows; read once, since a run has each trial once."""
        if self._finished is None:
            rows = recorded_trials(trial.place.storage, self._ledger.name)
            self._finished = {name for name, (_, status) in rows.items() if status == "finished"}
        return self._finished
