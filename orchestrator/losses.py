"""Trials whose process ended without a word: why, and whether another attempt is worth it."""

from orchestrator.execute import Event
from orchestrator.trial import FailureClass

MAX_RETRIES = 3
"""How often in a row a trial whose process died starts again without having got further than ever before."""


class Losses:
    """Those of one trial."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._furthest: dict[str, float] = {}
        """Stage → highest step that any attempt reported."""

    def heard(self, event: Event) -> None:
        """A finished stage, or a step beyond every earlier attempt's, starts the count anew."""
        step, furthest = event.metrics.get("step", 0.0), self._furthest.get(event.stage, 0.0)
        if event.kind == "done" or step > furthest:
            self._furthest[event.stage] = max(step, furthest)
            self.in_a_row = 0

    def one_too_many(self) -> bool:
        """Count one more; whether the trial has to be given up."""
        self.in_a_row += 1
        return self.in_a_row > MAX_RETRIES

    def forgive(self) -> None:
        """The next loss was announced, and is nobody's fault."""
        self.in_a_row = 0


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
