"""Labels that a stage writes for the images of a split: one PNG of train ids per image, and a list of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainers.data.datasets import DataSplit
from trainers.data.made_files import link
from trainers.described import read_described
from trainers.errors import UserError

INDEX_FILE = "labels.json"


@dataclass(frozen=True)
class LabelFiles:
    """The folder of such a stage, as far as its list tells."""

    folder: Path
    class_set: str | None = None
    """Name of the classes that they can hold, where that is known."""

    @classmethod
    def open(cls, folder: Path, split: DataSplit, *, images: int, height: int, width: int) -> "LabelFiles":
        """The labels in ``folder``, which must be those of ``split`` at this size.

        Raises:
            UserError: the folder has none, or they are of other images or another size.
        """
        index = folder / INDEX_FILE
        if not index.is_file():
            raise UserError(f"{folder} holds no labels of a stage: {INDEX_FILE} is missing")
        found = read_described(index, dict[str, Any])
        wanted = {"split": str(split), "images": images, "height": height, "width": width}
        if different := [name for name in wanted if found.get(name) != wanted[name]]:
            told = ", ".join(f"{name} {found.get(name)!r} there and {wanted[name]!r} here" for name in different)
            raise UserError(f"the pseudo-labels are of other images ({told}); make them on this split at this size")
        return cls(folder, found.get("class_set"))

    def path(self, index: int) -> Path:
        """The PNG of the image at ``index`` of the sorted split."""
        return label_path(self.folder, index)


def label_path(folder: Path, index: int) -> Path:
    """Where the labels of the image at ``index`` lie."""
    return folder / "labels" / f"{index:06d}.png"


def write_label(folder: Path, index: int, train_ids: np.ndarray) -> None:
    """Write the labels of one image: uint8 (h w)."""
    path = label_path(folder, index)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # A checkpoint may hold the same bytes by another name.
    Image.fromarray(train_ids).save(path)


def write_index(
    folder: Path, split: DataSplit, *, images: int, height: int, width: int, class_set: str | None = None
) -> None:
    """Write the list."""
    content: dict[str, str | int] = {"split": str(split), "images": images, "height": height, "width": width}
    if class_set is not None:
        content["class_set"] = class_set
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=1))


def link_labels(source: Path, folder: Path) -> None:
    """Give every label file of ``source`` a second name in ``folder``, or a copy where the storage cannot."""
    for path in sorted((source / "labels").glob("*.png")):
        link(path, folder / "labels" / path.name)
