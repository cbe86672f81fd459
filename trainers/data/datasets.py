"""Data sets by name: where their images and labels lie, and what their label indices mean.

Shape legend: nothing here reads pixels except ``check_split``; the loaders do (``images.py``).
To add a data set, write its ``list_*`` function and one entry in ``DATASETS``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import model_serializer, model_validator

from trainers.config import Config
from trainers.data.label_spaces import CAMVID, CITYSCAPES
from trainers.errors import UserError, nearest


@dataclass(frozen=True)
class Sample:
    """One image of a split; ``label`` is ``None`` where the split has no labels."""

    image: Path
    label: Path | None


@dataclass(frozen=True)
class Dataset:
    """What a benchmark's folder looks like."""

    splits: tuple[str, ...]
    unlabeled: frozenset[str]
    label_map: Mapping[int, int]
    """Index in a label PNG → train id; an index that is not a key is an error in the data."""
    class_set: str
    """Name in ``label_spaces.CLASS_SETS`` of the classes that its labels can hold."""
    list_samples: Callable[[Path, str], list[Sample]]
    layout: str
    """One line for error messages: what the folder must hold."""


class DataSplit(Config):
    """A split of a data set; written ``camvid/day_train``."""

    dataset: str
    split: str

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if isinstance(value, str):
            dataset, separator, split = value.partition("/")
            if not separator:
                raise ValueError(f"a split is written DATASET/SPLIT, got {value!r}")
            return {"dataset": dataset, "split": split}
        return value

    @model_validator(mode="after")
    def _known(self) -> "DataSplit":
        if self.dataset not in DATASETS:
            raise ValueError(f"unknown data set {self.dataset!r}: {nearest(self.dataset, DATASETS)}")
        splits = DATASETS[self.dataset].splits
        if self.split not in splits:
            raise ValueError(f"{self.dataset} has no split {self.split!r}: {nearest(self.split, splits)}")
        return self

    @model_serializer
    def _written(self) -> str:
        return f"{self.dataset}/{self.split}"

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


def inside(root: Path, relative: str) -> Path:
    """``root / relative``; a list entry that leaves the root is refused."""
    path = root / relative
    if not Path(os.path.normpath(path)).is_relative_to(
        os.path.normpath(root)
    ):  # Links inside the root are its owner's.
        raise UserError(f"{relative!r} in a list of {root} lies outside of it; entries must stay inside the root")
    return path


def list_cityscapes(root: Path, split: str) -> list[Sample]:
    """``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and ``gtFine/…/*_gtFine_labelIds.png``."""
    images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    labels = root / "gtFine" / split
    return [
        Sample(image, labels / image.parent.name / image.name.replace("_leftImg8bit", "_gtFine_labelIds"))
        for image in images
    ]


def list_toy_city(root: Path, split: str) -> list[Sample]:
    """Toy City: one Cityscapes tree per domain, the split is ``<domain>_<split>``; pairs and pool have no labels."""
    if split == "night_pool":
        return [Sample(image, None) for image in sorted((root / "night_pool" / "images").glob("*.png"))]
    domain, _, part = split.partition("_")
    samples = list_cityscapes(root / domain, part)
    return [Sample(sample.image, None) for sample in samples] if part == "pairs" else samples


def list_camvid(root: Path, split: str) -> list[Sample]:
    """``<split>.txt`` names stems of ``images/*.jpg`` (or .png) and ``labels/*.png``."""
    listing = root / f"{split}.txt"
    if not listing.is_file():
        raise UserError(f"{listing} is missing: the CamVid folder needs {DATASETS['camvid'].layout}")
    unlabeled = split in DATASETS["camvid"].unlabeled
    samples = []
    for stem in sorted(set(listing.read_text().split())):  # The key knows which images, so no order may matter.
        image = inside(root, f"images/{stem}.jpg")
        if not image.exists() and (png := image.with_suffix(".png")).exists():
            image = png
        samples.append(Sample(image, None if unlabeled else inside(root, f"labels/{stem}.png")))
    return samples


DATASETS = {
    "cityscapes": Dataset(
        splits=("train", "val"),
        unlabeled=frozenset(),
        label_map=CITYSCAPES,
        class_set="cityscapes19",
        list_samples=list_cityscapes,
        layout="leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_labelIds.png",
    ),
    "toy_city": Dataset(
        splits=(
            *(f"{d}_{part}" for d in ("day", "night", "fog", "game") for part in ("train", "val", "test", "held_out")),
            "night_pairs",
            "day_pairs",
            "night_pool",
        ),
        unlabeled=frozenset({"night_pairs", "day_pairs", "night_pool"}),
        label_map=CITYSCAPES,
        class_set="cityscapes19",
        list_samples=list_toy_city,
        layout="<domain>/leftImg8bit/… and <domain>/gtFine/… as `nightshift data make toy_city` writes them",
    ),
    "camvid": Dataset(
        splits=("day_train", "day_val", "dusk_adapt", "dusk_val"),
        unlabeled=frozenset({"dusk_adapt"}),
        label_map=CAMVID,
        class_set="camvid11",
        list_samples=list_camvid,
        layout="images/, labels/ and day_train.txt, day_val.txt, dusk_adapt.txt, dusk_val.txt",
    ),
}
"""Every data set that a split may name."""


def open_split(roots: Mapping[str, Path], split: DataSplit) -> list[Sample]:
    """The samples of a split, sorted; every file exists.

    Raises:
        UserError: no root is known, the root is missing or empty, or a label is missing.
    """
    dataset = DATASETS[split.dataset]
    if split.dataset not in roots:
        fix = f"give --set data.{split.dataset}.root=DIR or --data-root with a folder {split.dataset}/ in it"
        raise UserError(f"no folder is known for the data set {split.dataset}: {fix}")
    root = roots[split.dataset]
    if not root.is_dir():
        raise UserError(f"the folder of {split.dataset}, {root}, does not exist; it needs {dataset.layout}")
    samples = dataset.list_samples(root, split.split)
    if not samples:
        raise UserError(f"{root} has no image of {split}; it needs {dataset.layout}")
    if missing := [path for sample in samples for path in (sample.image, sample.label) if path and not path.is_file()]:
        more = f" (and {len(missing) - 1} more; `nightshift data check` lists them)" if len(missing) > 1 else ""
        raise UserError(f"{split} names {missing[0]}, which does not exist{more}")
    return samples


def decode(path: Path) -> Image.Image:
    """The decoded image file; a file that cannot be decoded is named."""
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, ValueError) as error:  # What Pillow raises on torn and on garbled files.
        raise UserError(f"{path} cannot be decoded ({error}); replace the file") from error
    return image


def read_label(path: Path, label_map: Mapping[int, int]) -> np.ndarray:
    """Label indices of a PNG as stored, uint8 (h w); an index outside ``label_map`` is named with its file."""
    image = decode(path)
    if image.mode not in ("L", "P"):
        raise UserError(f"{path} has mode {image.mode}: a label PNG holds one 8-bit index per pixel (mode L or P)")
    label = np.asarray(image)
    unknown = sorted(set(np.unique(label).tolist()) - set(label_map))
    if unknown:
        raise UserError(
            f"{path} holds label ids {unknown}, which are not in the map ({min(label_map)}–{max(label_map)})"
        )
    return label


def open_listing(root: Path, split: DataSplit, *, must_exist: bool) -> list[Sample]:
    """The samples of a split whether or not their files are whole; an absent split has none.

    Raises:
        UserError: the root does not exist, or the split does not and ``must_exist``.
    """
    dataset = DATASETS[split.dataset]
    if not root.is_dir():
        raise UserError(f"the folder of {split.dataset}, {root}, does not exist; it needs {dataset.layout}")
    try:
        return dataset.list_samples(root, split.split)
    except UserError:
        if must_exist:
            raise
        return []


def check_split(samples: Sequence[Sample], split: DataSplit) -> Iterator[str | None]:
    """Read every file; yields one problem (or ``None``) per sample, so a caller can show progress."""
    label_map = DATASETS[split.dataset].label_map
    for sample in samples:
        try:
            check_sample(sample, label_map)
        except UserError as error:
            yield str(error)
        else:
            yield None


def check_sample(sample: Sample, label_map: Mapping[int, int]) -> None:
    """Image and label decode, have one size, and the label holds known indices only."""
    for path in (sample.image, sample.label):
        if path is not None and not path.is_file():
            raise UserError(f"{path} does not exist")
    image = decode(sample.image)
    if sample.label is None:
        return
    label = read_label(sample.label, label_map)
    check_sizes(sample, image.size, (label.shape[1], label.shape[0]))


def check_sizes(sample: Sample, image_size: Sequence[int], label_size: Sequence[int]) -> None:
    """Both (width, height); a pair that differs is named."""
    if tuple(image_size) != tuple(label_size):
        raise UserError(
            f"{sample.image} is {image_size[0]}×{image_size[1]} but its label {sample.label} is "
            f"{label_size[0]}×{label_size[1]}; both must have one size"
        )
