"""Data sets that a stage makes of another one's images: translations, and parts of a pool. Labels stay where they are.

``references.json`` says for each split of such a folder which split it was made from, which of its images it holds, and
what takes their place; a reader finds the rest through the roots that it is given, so both folders have to be known.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.data.samples import Absent
from trainers.errors import UserError

INDEX_FILE = "references.json"


@dataclass(frozen=True)
class Reference:
    """What one split of such a data set is made of."""

    source: str
    """The split that it was made from, as ``DATASET/SPLIT[:PART]``."""
    names: tuple[str, ...]
    """Images of that split, relative to its data set's folder, in order."""
    images: tuple[str, ...] | None
    """What takes their place, relative to this folder; ``None``: they are taken as they are."""


def read_references(root: Path) -> dict[str, Any]:
    """The content of ``references.json``.

    Raises:
        Absent: it is missing.
        UserError: it cannot be read.
    """
    path = root / INDEX_FILE
    if not path.is_file():
        raise Absent(f"{path} is missing: the folder is none that a stage made of images")
    try:
        content: Any = json.loads(path.read_text())
        content["splits"], content["label_map"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}): the folder is none that a stage made of images") from error
    return dict(content)


def read_reference(root: Path, split: str) -> Reference | None:
    """One split; ``None`` where the folder does not have it."""
    found = read_references(root)["splits"].get(split)
    if found is None:
        return None
    images = found["images"]
    return Reference(found["source"], tuple(found["names"]), None if images is None else tuple(images))


def read_label_map(root: Path) -> Mapping[int, int]:
    """Label index → train id, of the data set that the labels are of."""
    return {int(index): int(train_id) for index, train_id in read_references(root)["label_map"].items()}


def write_references(
    root: Path, references: Mapping[str, Reference], *, label_map: Mapping[int, int], fingerprints: Mapping[str, str]
) -> None:
    """Write ``references.json``.

    Args:
        root: the folder.
        references: by split.
        label_map: of the data set that the labels are of.
        fingerprints: of the labels (or the images) that lie elsewhere, by split: whoever fingerprints this folder
            alone sees them change.
    """
    splits = {name: _content(reference) for name, reference in references.items()}
    content = {"splits": splits, "label_map": dict(label_map), "fingerprints": dict(fingerprints)}
    (root / INDEX_FILE).write_text(json.dumps(content, indent=1))


def _content(reference: Reference) -> dict[str, str | Sequence[str] | None]:
    return {"source": reference.source, "names": reference.names, "images": reference.images}
