"""Pictures that a stage leaves for people: ``pictures/*.png`` and ``pictures.json`` in its output folder.

``pictures.json`` is a list of ``{file, title, kind, caption}``; pictures of one title stand side by side, in order,
and the report shows them. A training that draws panels at intervals gives each step a title of its own. After a kill
the stage starts with an empty folder, so panels of steps before its last checkpoint are not drawn again: nothing may
be computed from pictures, and no key knows of them.

Shape legend: h height, w width.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

from trainers.data.label_spaces import CLASS_NAMES, COLORS, IGNORE_LABEL
from trainers.data.nearest import resize_ids

MAX_WIDTH = 384
"""Pixels; larger pictures are shrunk, so that a report with dozens of them stays small."""

WRONG, IGNORED = (213, 94, 0), (0, 0, 0)
"""RGB of wrong and of ignored pixels in an error picture; vermilion stands out from grey for everybody."""

BAR = (0, 114, 178)
"""RGB of the second bar of a class; blue beside grey is told apart by everybody."""

Photo = UInt8[np.ndarray, "h w 3"]
Labels = UInt8[np.ndarray, "h w"]


def write_panel(output: Path, name: str, tiles: Mapping[str, Photo | Labels], *, title: str, caption: str = "") -> None:
    """Add one panel to the stage's pictures; call it on rank 0 only.

    Args:
        output: the folder that the stage fills.
        name: beginning of the file names; a second panel of one name replaces the first.
        tiles: kind (``input``, ``truth``, ``prediction``, ``error``, ``mixed``, …) → RGB in 0…255, or train ids.
        title: what the tiles have in common, such as the image's name.
        caption: one sentence on what to look at.
    """
    listing = output / "pictures.json"
    known = json.loads(listing.read_text()) if listing.is_file() else []
    entries = []
    (output / "pictures").mkdir(parents=True, exist_ok=True)
    for kind, tile in tiles.items():
        file = f"pictures/{_plain(name)}-{_plain(kind)}.png"
        _shrunk(tile).save(output / file, optimize=True)
        entries.append({"file": file, "title": title, "kind": kind, "caption": caption})
    new = {entry["file"] for entry in entries}
    aside = output / ".pictures.json.aside"
    aside.write_text(json.dumps([one for one in known if one["file"] not in new] + entries, indent=1))
    aside.replace(listing)


def evenly_spaced(count: int, total: int) -> list[int]:
    """``count`` fixed indices below ``total``, from the middles of as many equal parts; all where there are fewer."""
    count = min(count, total)
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def error_picture(image: Photo, truth: Labels, prediction: Labels) -> Photo:
    """The image in pale grey, wrong pixels in ``WRONG``, ignored ones in ``IGNORED``."""
    grey = np.asarray(Image.fromarray(image).convert("L"))
    picture = np.repeat((grey // 3 + 150)[..., None], 3, axis=2).astype(np.uint8)
    ignored: Bool[np.ndarray, "h w"] = truth == IGNORE_LABEL
    picture[(truth != prediction) & ~ignored] = WRONG
    picture[ignored] = IGNORED
    return picture


def class_bars(before: Float[np.ndarray, " c"], after: Float[np.ndarray, " c"]) -> Photo:
    """Two shares (in [0, 1]) of each of the 19 classes as bars, the rarest first; logarithmic, from .01 % to all."""
    row, left, right = 18, 84, MAX_WIDTH - 78
    picture = Image.new("RGB", (MAX_WIDTH, row * len(CLASS_NAMES)), "white")
    pen = ImageDraw.Draw(picture)
    for line, train_id in enumerate(np.argsort(before, kind="stable").tolist()):
        top = line * row
        pen.text((2, top + 3), CLASS_NAMES[train_id].replace("_", " "), fill="black")
        for number, (share, color) in enumerate(((before[train_id], (150, 150, 150)), (after[train_id], BAR))):
            length = max(0.0, 1 + float(np.log10(max(share, 1e-4))) / 4)
            upper = top + 2 + 7 * number
            pen.rectangle((left, upper, left + (right - left) * length, upper + 6), fill=color)
        pen.text((right + 4, top + 3), f"{100 * before[train_id]:.2f} {100 * after[train_id]:.2f}", fill="black")
    return np.asarray(picture)


def label_picture(train_ids: Labels) -> Image.Image:
    """Train ids as a palette image in the colors of Cityscapes; everything that is no class is black."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(COLORS)] = COLORS
    picture = Image.fromarray(train_ids, mode="P")
    picture.putpalette(palette.flatten().tolist())
    return picture


def _shrunk(tile: Photo | Labels) -> Image.Image:
    is_label = tile.ndim == 2
    height, width = tile.shape[:2]
    if width > MAX_WIDTH:
        height, width = max(1, round(height * MAX_WIDTH / width)), MAX_WIDTH
    if is_label:
        return label_picture(resize_ids(tile, (height, width)))
    return Image.fromarray(tile).resize((width, height), Image.Resampling.BILINEAR)


def _plain(name: str) -> str:
    """``name`` with everything but letters, digits, ``_``, ``.`` and ``-`` replaced, no dot first."""
    return re.sub(r"[^A-Za-z0-9_.-]+|^\.+", "_", name)
