"""What the layouts of all data sets share: a sample, a data set, and paths that stay inside their root."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainers.data.walker import Place, read_text
from trainers.errors import UserError

_FRAME = re.compile(r"(.+_\d{6}_\d{6})_")
"""City, sequence and frame at the beginning of a Cityscapes file name."""


@dataclass(frozen=True)
class Sample:
    """One image of a split; ``label`` is ``None`` where the split has no labels."""

    image: Path
    label: Path | None
    partner: Path | None = None
    """The same place in the other light or weather: the day image of a pair, the reference of an adverse image."""

    def files(self) -> tuple[Path, ...]:
        """Everything that the sample is read from."""
        return tuple(path for path in (self.image, self.label, self.partner) if path is not None)


@dataclass(frozen=True)
class Dataset:
    """What a benchmark's folder looks like."""

    splits: tuple[str, ...]
    unlabeled: frozenset[str]
    label_map: Mapping[int, int]
    """Index in a label PNG → train id; an index that is not a key is an error in the data. Empty where each folder
    brings its own (``read_label_map``)."""
    class_set: str
    """Name in ``label_spaces.CLASS_SETS`` of the classes that its labels can hold."""
    list_samples: Callable[[Path, str], list[Sample]]
    layout: str
    """One line for error messages: what the folder must hold."""
    paired: frozenset[str] = frozenset()
    """Splits whose samples have a partner."""
    images: Mapping[str, int] = field(default_factory=dict)
    """Images of each split as released, where that is known."""
    side_files: Mapping[str, str] = field(default_factory=dict)
    """Split → the file of the root that decides what its samples are; it counts for the fingerprint."""
    read_label_map: Callable[[Path], Mapping[int, int]] | None = None
    """Reads the map from the data set's folder."""
    without_photographs: frozenset[str] = frozenset()
    """Splits of label maps alone; in the place of images they have pictures of the maps."""
    places: Callable[[Path, str], list[Place]] = lambda root, split: []
    """The folders below the root that a split is read from, whole; none where a list says what it holds."""
    refers: bool = False
    """Whether a stage made it of another data set's images (``references``), whose folder has to be known too."""


class Absent(UserError):
    """A list or an index that a split needs is not there: this folder does not have the split."""


def inside(root: Path, relative: str) -> Path:
    """``root / relative``; a list entry that leaves the root is refused."""
    path = root / relative
    if not Path(os.path.normpath(path)).is_relative_to(
        os.path.normpath(root)
    ):  # Links inside the root are its owner's.
        raise UserError(f"{relative!r} in a list of {root} lies outside of it; entries must stay inside the root")
    return path


def first_folder(root: Path, *candidates: str) -> Path:
    """The first of ``candidates`` below ``root`` that exists, else the first: archives unpack in several ways."""
    return next((root / name for name in candidates if (root / name).is_dir()), root / candidates[0])


def frame_of(name: str) -> str:
    """What a file's name says that it shows: ``<city>_<sequence>_<frame>``, else the name without its suffix."""
    match = _FRAME.match(Path(name).name)
    return match.group(1) if match else Path(name).stem


def listed(root: Path, name: str, layout: str) -> list[str]:
    """The lines of the list ``name`` in ``root`` that hold anything.

    Raises:
        Absent: the list is missing.
        UserError: it is no text.
    """
    path = inside(root, name)
    if not path.is_file():
        raise Absent(f"{path} is missing: the folder needs {layout}")
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def known_names(names: Sequence[str]) -> dict[str, int]:
    """Everything by which a list may name one of ``names`` (paths relative to the root) → its position."""
    known: dict[str, int] = {}
    for position, name in enumerate(names):
        parts = Path(name).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        for end in (*ends, Path(name).stem):
            known.setdefault(end, position)
    return known


def choose_listed(names: Sequence[str], entries: Sequence[str], *, where: Path, root: Path) -> list[int]:
    """Positions in ``names`` (paths relative to ``root``) of the images that ``entries`` name.

    An entry is a path relative to the root, the end of one, or a file's name with or without its suffix.

    Raises:
        UserError: an entry leaves the root, or names no image of the split.
    """
    known = known_names(names)
    for entry in entries:
        inside(root, entry)
    if absent := [entry for entry in entries if entry.removeprefix("./") not in known]:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise UserError(f"{where} names {absent[0]!r}{more}, which the split has no image of")
    return sorted({known[entry.removeprefix("./")] for entry in entries})
