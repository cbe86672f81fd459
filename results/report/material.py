"""What a report shows beyond the rows, as plain data, from whoever can open artifacts and ledgers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """One picture of an artifact."""

    stage: str
    title: str
    kind: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Importance:
    """How much of the objective's variance a field explains."""

    name: str
    share: float
    """In [0, 1]; the shares of all fields sum to 1."""
    sd: float
    """Standard deviation over resampled configurations."""


@dataclass(frozen=True)
class Material:
    """One sweep's material; everything may be absent."""

    objective: str | None = None
    """Column that the search maximized; ``None`` ranks by the mIoU of the select split."""
    baseline: str | None = None
    """Arm that the experiment compares its others with."""
    planned_trials: int | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    """Stage → method."""
    links: Sequence[tuple[str, str]] = ()
    """(input, stage) pairs of the stage graph."""
    log_fields: frozenset[str] = frozenset()
    """Varied fields whose axis is logarithmic."""
    importances: Sequence[Importance] = ()
    importance_note: str = ""
    """How the importances were estimated, or why there are none."""
    pictures: Sequence[Picture] = ()
    pictures_of: str = ""
    """Which trial the pictures are of."""
