"""Files that a stage makes one by one: each whole or absent, and kept in checkpoints while the stage runs."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def save_png(image: np.ndarray | Image.Image, path: Path) -> None:
    """Under its name only once it is whole."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    aside = path.with_suffix(".aside")
    picture.save(aside, format="PNG")
    aside.replace(path)


def keep_files(output: Path, folder: Path) -> None:
    """Every PNG made so far, into a checkpoint: a second name for the same bytes where the storage can."""
    for path in sorted(output.rglob("*.png")):
        link(path, folder / path.relative_to(output))


def take_back_files(checkpoint: Path | None, output: Path) -> None:
    """The inverse, for folders that are empty again."""
    if checkpoint is not None:
        keep_files(checkpoint, output)


def link(path: Path, place: Path) -> None:
    """A second name for the same bytes, or a copy where the storage cannot; what is there already stays."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    try:
        os.link(path, place)
    except OSError:
        shutil.copyfile(path, place)
