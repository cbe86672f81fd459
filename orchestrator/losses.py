"""Trials whose process ended without a word: why, and whether another attempt is worth it."""

from orchestrator.execute import Event
from orchestrator.trial import FailureClass, Trial

MAX_RETRIES = 3
"""How often in a row a trial whose process died starts again without having got further than ever before."""


class Losses:
    """How often in a row each trial was lost without having got further."""

    def __init__(self) -> None:
        self._furthest: dict[tuple[str, str], float] = {}
        """(trial, stage) → highest step that was reported."""
        self._in_a_row: dict[str, int] = {}

    def heard(self, trial: Trial, event: Event) -> None:
        """A finished stage, or a step beyond every earlier attempt's, starts the count anew."""
        at = (trial.id, event.stage)
        step = event.metrics.get("step", 0.0)
        if event.kind == "done" or step > self._furthest.get(at, 0.0):
            self._furthest[at] = max(step, self._furthest.get(at, 0.0))
            self._in_a_row[trial.id] = 0

    def lose(self, trial: Trial) -> int:
        """Count a loss; how many there were in a row."""
        self._in_a_row[trial.id] = self._in_a_row.get(trial.id, 0) + 1
        return self._in_a_row[trial.id]


def loss_class(error: BaseException | None) -> FailureClass:
    """Why a Tune trial broke, from what Ray says: ``bug`` where our own code raised, else who took the process."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    if isinstance(error, RayTaskError):
        return "bug"
    if isinstance(error, OutOfMemoryError):  # Ray's own monitor; the kernel's leaves no more than a dead process.
        return "out_of_memory"
    if isinstance(error, RayActorError) and error.preempted:
        return "preempted"
    if isinstance(error, RayActorError) and "node has died" in str(error):
        return "node_lost"
    return "worker_lost"
