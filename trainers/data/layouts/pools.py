"""Pools of images to adapt to: NEXET by light, BDD100K, and any folder of images.

The folders of NEXET and BDD100K are those that several public users of either read from, not checked against a copy;
any other arrangement can be read as ``images``.
"""

import csv
from io import StringIO
from pathlib import Path

from trainers.data.label_spaces import TRAIN_IDS
from trainers.data.samples import Absent, Dataset, Sample, first_folder, inside
from trainers.data.walker import Place, images_below, read_text
from trainers.errors import UserError

LIGHTS = ("day", "twilight", "night")
LIGHTS_FILE = "train.csv"


def list_images(root: Path, split: str) -> list[Sample]:
    """Every PNG and JPEG below the root."""
    return [Sample(image, None) for image in images_below(root)]


def list_nexet(root: Path, split: str) -> list[Sample]:
    """``nexet_2017_1/*.jpg``; ``train.csv`` (``image_filename,lighting,city``) tells day, twilight and night."""
    folder = first_folder(root, "nexet_2017_1", "images", "train")
    if split == "all":
        return [Sample(image, None) for image in images_below(folder)]
    listing = root / LIGHTS_FILE
    if not listing.is_file():
        raise Absent(f"{listing} is missing; it tells the light of NEXET's images (image_filename,lighting,city)")
    reader = csv.DictReader(StringIO(read_text(listing), newline=""))
    if not {"image_filename", "lighting"} <= set(reader.fieldnames or ()):
        raise UserError(f"{listing} needs the columns image_filename and lighting, it has {reader.fieldnames}")
    names = {row["image_filename"] for row in reader if row["lighting"].strip().lower() == split}
    return [Sample(inside(folder, name), None) for name in sorted(names)]


def list_bdd100k(root: Path, split: str) -> list[Sample]:
    """``images/100k/<split>/*.jpg``; ``seg_<split>`` is ``images/10k`` with ``labels/sem_seg/masks`` (train ids)."""
    part = split.removeprefix("seg_")
    size = "10k" if split.startswith("seg_") else "100k"
    images = images_below(root / "images" / size / part)
    if size == "100k":
        return [Sample(image, None) for image in images]
    labels = root / "labels" / "sem_seg" / "masks" / part
    return [Sample(image, labels / f"{image.stem}.png") for image in images]


def image_places(root: Path, split: str) -> list[Place]:
    """The whole root."""
    return [Place(root)]


def nexet_places(root: Path, split: str) -> list[Place]:
    """The folder of all; a list says which images are of one light."""
    return [Place(first_folder(root, "nexet_2017_1", "images", "train"))] if split == "all" else []


def bdd100k_places(root: Path, split: str) -> list[Place]:
    """Images, and for ``seg_<split>`` the masks."""
    part = split.removeprefix("seg_")
    if part == split:
        return [Place(root / "images" / "100k" / part)]
    masks = root / "labels" / "sem_seg" / "masks" / part
    return [Place(root / "images" / "10k" / part), Place(masks, "labels", ".png")]


IMAGES = Dataset(
    splits=("all",),
    unlabeled=frozenset({"all"}),
    label_map={},
    class_set="cityscapes19",
    list_samples=list_images,
    places=image_places,
    layout="PNG or JPEG files at any depth",
)

NEXET = Dataset(
    splits=("all", *LIGHTS),
    unlabeled=frozenset({"all", *LIGHTS}),
    label_map={},
    class_set="cityscapes19",
    list_samples=list_nexet,
    places=nexet_places,
    layout="nexet_2017_1/*.jpg and train.csv (image_filename,lighting,city)",
    side_files=dict.fromkeys(LIGHTS, LIGHTS_FILE),
)

BDD100K = Dataset(
    splits=("train", "val", "test", "seg_train", "seg_val"),
    unlabeled=frozenset({"train", "val", "test"}),
    label_map=TRAIN_IDS,
    class_set="cityscapes19",
    list_samples=list_bdd100k,
    places=bdd100k_places,
    layout="images/100k/<split>/*.jpg; for seg_* images/10k/<split>/*.jpg and labels/sem_seg/masks/<split>/*.png",
    images={"train": 70_000, "val": 10_000, "test": 20_000, "seg_train": 7_000, "seg_val": 1_000},
)
