"""When a trial whose process died has had enough chances."""

MAX_RETRIES = 3
"""How often in a row a trial whose process died starts again without having got further than the time before."""


class Losses:
    """Those of one trial."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.reached = 0.0
        """Last step that it reported."""
        self._reached_at_loss = -1.0

    def one_too_many(self) -> bool:
        """Count one more; whether the trial has to be given up."""
        got_further = self.reached > self._reached_at_loss
        self._reached_at_loss = self.reached
        self.in_a_row = 1 if got_further else self.in_a_row + 1
        return self.in_a_row > MAX_RETRIES

    def forgive(self) -> None:
        """The next loss was announced, and is nobody's fault."""
        self._reached_at_loss = -1.0
