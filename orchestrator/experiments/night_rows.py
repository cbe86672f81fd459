"""The trainings of the night thesis's tables, as data; ``night_self_training`` makes a graph of them.

Source: the night thesis, section 4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOSSES: Mapping[str, Mapping[str, Any]] = {
    "ce": {"alpha": 1.0},
    "focal": {"alpha": 0.0},
    "focal_legacy": {"alpha": 0.0, "focal_form": "batch_mean_legacy"},
    "combined": {"alpha": 0.5},
}
"""Loss → fields of ``LossConfig``."""


@dataclass(frozen=True)
class Row:
    """A training of the thesis's tables. A further round is a row that begins at, or is taught by, an earlier one."""

    labeled: str
    """``day``, ``night`` (translated) or ``both``."""
    translator: str | None = None
    initial: str | None = None
    """Arm to begin at; unset: the network's own weights."""
    unlabeled: str | None = None
    teacher: str | None = None
    """Arm that labels; unset: ``initial``."""
    loss: str = "ce"


PLAIN, BETTER = "no_perceptual", "perceptual"
ROWS = {
    "1.1": Row("day"),
    "1.2": Row("day", unlabeled="camvid", teacher="1.1"),
    "1.3": Row("day", initial="1.1", unlabeled="camvid"),
    "2.1": Row("both", PLAIN),
    "2.2": Row("both", PLAIN, "2.1", "all"),
    "3.1": Row("both", BETTER),
    "3.2": Row("both", BETTER, "3.1", "all"),
    "4.1": Row("both", BETTER, "3.1", "his"),
    "5.1": Row("night", BETTER),
    "5.2": Row("night", BETTER, "3.1"),
    "5.3": Row("night", BETTER, "5.1", "his"),
    "5.4": Row("night", BETTER, "5.2", "his"),
    "6.1": Row("both", BETTER, loss="focal"),
    "6.2": Row("both", BETTER, "6.1", "his", loss="focal"),
    "7.1": Row("both", BETTER, "3.1", "fid"),
    "7.2": Row("both", BETTER, "3.1", "fid", loss="combined"),
    "7.3": Row("both", BETTER, "3.1", "his", loss="combined"),
    "8.1": Row("both", BETTER, "5.2", "his"),
    "8.2": Row("both", BETTER, "8.1", "fid"),
    "8.3": Row("both", BETTER, "8.1", "fid", loss="combined"),
}
"""Arm → its training."""

CONVERTED = {"2.3": "2.1", "2.4": "2.2", "3.3": "3.1", "3.4": "3.2", "4.2": "4.1"}
"""Arm → the one whose network is scored on the night test translated to day."""

VARIANTS = {
    "3.1_longer": Row("both", BETTER, "3.1"),
    "6.1_legacy": Row("both", BETTER, loss="focal_legacy"),
}
"""Arms beside the thesis's: 3.1 for as many steps as what goes on from it, and 6.1 with the focal loss as code of its
family computes it."""
