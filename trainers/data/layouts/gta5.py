"""GTA5 (Playing for Data): ``images/00001.png`` … and palette labels whose indices are Cityscapes label ids.

Source: vikolss/DACS, data/gta5_list (names, no split: all frames are training frames); bupt-ai-cz/IAST-ECCV2020 #2 (the
    frames whose label has another size).
"""

import logging
from pathlib import Path

from trainers.data.label_spaces import CITYSCAPES, IGNORE_LABEL
from trainers.data.samples import Dataset, Sample
from trainers.data.walker import Place, files_named

UNEQUAL = frozenset(
    (*range(2154, 2159), *range(4634, 4638), *range(7115, 7120), *range(9683, 9689), *range(12050, 12055))
)
"""The 25 frames whose image and label differ in size; they are left out."""

LABEL_MAP = CITYSCAPES | dict.fromkeys(range(34, 255), IGNORE_LABEL)
"""Palette index → train id: the ids of Cityscapes; what lies above them (34 is the license plate) is void."""


def list_gta5(root: Path, split: str) -> list[Sample]:
    """``images/<number>.png`` and ``labels/<number>.png``, without the frames of ``UNEQUAL``."""
    images = files_named(root / "images", ".png", depth=1)
    kept = [image for image in images if not (image.stem.isdigit() and int(image.stem) in UNEQUAL)]
    if len(kept) < len(images):
        logging.getLogger(__name__).info(
            "gta5: %d frames are left out, their labels have another size", len(images) - len(kept)
        )
    return [Sample(image, root / "labels" / image.name) for image in kept]


def gta5_places(root: Path, split: str) -> list[Place]:
    """Both folders; the frames of ``UNEQUAL`` are left out of both."""
    return [Place(root / "images"), Place(root / "labels", "labels", ".png")]


GTA5 = Dataset(
    splits=("train",),
    unlabeled=frozenset(),
    label_map=LABEL_MAP,
    class_set="cityscapes19",
    list_samples=list_gta5,
    places=gta5_places,
    layout="images/00001.png … and labels/ with the same names (palette PNGs as released)",
    images={"train": 24_966 - len(UNEQUAL)},
)
