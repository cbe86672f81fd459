"""Files that a stage makes one by one: each whole or absent, and kept in checkpoints while the stage runs."""

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from trainers.errors import UserError

DISK_MARGIN = 1.1
"""Of what a few files take, to what all of them may."""


def save_png(image: np.ndarray | Image.Image, path: Path) -> None:
    """Under its name only once it is whole."""
    aside = path.with_suffix(".aside")
    _picture(image).save(aside, format="PNG")
    aside.replace(path)


def encoded_bytes(image: np.ndarray | Image.Image) -> int:
    """What ``save_png`` would write."""
    file = io.BytesIO()
    _picture(image).save(file, format="PNG")
    return len(file.getvalue())


def _picture(image: np.ndarray | Image.Image) -> Image.Image:
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def check_room(output: Path, sizes: Sequence[int], count: int, *, what: str, remedy: str) -> None:
    """Refuse to write what would not fit.

    Args:
        output: where it would be.
        sizes: bytes of a few of those that are to be written.
        count: how many are.
        what: all of them in the message, such as "a supplement of 7 maps".
        remedy: what the user can do.

    Raises:
        UserError: with both sizes.
    """
    needed = DISK_MARGIN * float(np.mean(sizes)) * count if count else 0.0
    free = shutil.disk_usage(output).free
    if needed > free:
        raise UserError(
            f"{what} would take about {needed / 1e9:.3g} GB, and {output} has {free / 1e9:.3g} GB free; {remedy}"
        )


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
