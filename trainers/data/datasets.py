"""Data sets by name: where their images and labels lie, and what their label indices mean.

Nothing here reads pixels: ``image_files`` decodes, ``images`` loads, ``checks`` looks at whole splits.
To add a data set, write its ``list_*`` function into a file of ``layouts/`` and one entry in ``DATASETS``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_serializer, model_validator

from trainers.config import Config
from trainers.data.label_spaces import class_set_of
from trainers.data.layouts.adverse import ACDC, DARK_ZURICH
from trainers.data.layouts.camvid import CAMVID_DATASET
from trainers.data.layouts.cityscapes import (
    CITYSCAPES_DATASET,
    FOGGY_CITYSCAPES,
    NIGHTTIME_DRIVING,
    RECOMBINED,
    TOY_CITY,
)
from trainers.data.layouts.folders import DEHAZING, LABELED_FOLDER
from trainers.data.layouts.gta5 import GTA5
from trainers.data.layouts.made import AGREED, LIGHT_POOL, SELECTED, TRANSLATED
from trainers.data.layouts.pools import BDD100K, IMAGES, NEXET
from trainers.data.packed import INDEX_FILE, is_packed, packed_samples, read_index, shard_files
from trainers.data.references import read_reference
from trainers.data.samples import Absent, Sample, choose_listed, inside, listed
from trainers.data.sampling import derive_seed
from trainers.errors import UserError, nearest

DATASETS = {
    "cityscapes": CITYSCAPES_DATASET,
    "foggy_cityscapes": FOGGY_CITYSCAPES,
    "gta5": GTA5,
    "dark_zurich": DARK_ZURICH,
    "nighttime_driving": NIGHTTIME_DRIVING,
    "acdc": ACDC,
    "camvid": CAMVID_DATASET,
    "toy_city": TOY_CITY,
    "nexet": NEXET,
    "bdd100k": BDD100K,
    "images": IMAGES,
    "dehazing": DEHAZING,
    "labeled_folder": LABELED_FOLDER,
    "translated": TRANSLATED,
    "light_pool": LIGHT_POOL,
    "recombined": RECOMBINED,
    "selected": SELECTED,
    "agreed": AGREED,
}
"""Every data set that a split may name."""


class DataSplit(Config):
    """A split of a data set, or a part of one; written ``DATASET/SPLIT[:PART]``.

    ``PART`` is a number of images drawn at random, ``1572`` or with a seed ``1572@7``; negative counts from the other
    end of the same permutation, so ``train:1572`` and ``train:-200`` share no image; or the name of a text file in the
    data set's folder that lists images, one per line.
    """

    dataset: str
    split: str
    count: int | None = None
    """Images to draw; unset takes all."""
    seed: int = Field(0, ge=0)
    """Which permutation ``count`` draws from: no trial's seed, the subset is the same in every trial."""
    listing: str | None = None
    """File in the data set's folder that lists the images to take."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        where, _, part = value.partition(":")
        dataset, separator, split = where.partition("/")
        if not separator:
            raise ValueError(f"a split is written DATASET/SPLIT, got {value!r}")
        fields: dict[str, Any] = {"dataset": dataset, "split": split}
        count, _, seed = part.partition("@")
        if count.removeprefix("-").isdecimal() and (not seed or seed.isdecimal()):
            return {**fields, "count": int(count), "seed": int(seed or 0)}
        return {**fields, "listing": part} if part else fields

    @model_validator(mode="after")
    def _known(self) -> "DataSplit":
        if self.dataset not in DATASETS:
            raise ValueError(f"unknown data set {self.dataset!r}: {nearest(self.dataset, DATASETS)}")
        splits = DATASETS[self.dataset].splits
        if self.split not in splits:
            raise ValueError(f"{self.dataset} has no split {self.split!r}: {nearest(self.split, splits)}")
        if self.count == 0:
            raise ValueError(f"{self} takes no image; a count is 1 or more, or -1 or less")
        if self.count is not None and self.listing is not None:
            raise ValueError(f"{self} has a count and a list; give one of them")
        return self

    @property
    def part(self) -> str:
        """The split and what is taken of it, without the data set."""
        if self.listing is not None:
            return f"{self.split}:{self.listing}"
        if self.count is None:
            return self.split
        return f"{self.split}:{self.count}" + (f"@{self.seed}" if self.seed else "")

    @model_serializer
    def _written(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.dataset}/{self.part}"


def label_map_of(dataset: str, root: Path) -> Mapping[int, int]:
    """Index in a label PNG → train id, of the data set in ``root``."""
    known = DATASETS[dataset]
    return known.label_map if known.read_label_map is None else known.read_label_map(root)


def class_set_at(dataset: str, root: Path) -> str:
    """Name of the classes that the labels of the data set in ``root`` can hold."""
    known = DATASETS[dataset]
    if is_packed(root):
        return str(read_index(root, dataset)["class_set"])
    return known.class_set if known.read_label_map is None else class_set_of(known.read_label_map(root).values())


def choose(names: Sequence[str], split: DataSplit, root: Path) -> list[int]:
    """Positions in ``names`` (sorted paths relative to ``root``) of the images that ``split`` takes, in order.

    Raises:
        UserError: the split has too few images, or a list names others than its own.
    """
    if split.listing is not None:
        entries = listed(root, split.listing, f"the list that {split} names")
        return choose_listed(names, entries, where=root / split.listing, root=root)
    if split.count is None:
        return list(range(len(names)))
    if abs(split.count) > len(names):
        raise UserError(f"{split} asks for {abs(split.count)} images, and {root} has {len(names)} of {split.split}")
    order = np.random.default_rng(derive_seed(split.seed, "subset")).permutation(len(names))
    return sorted((order[: split.count] if split.count > 0 else order[split.count :]).tolist())


def take(samples: Sequence[Sample], split: DataSplit, root: Path) -> list[Sample]:
    """The samples of the whole split that ``split`` takes."""
    if not samples:
        return []
    names = [sample.image.relative_to(root).as_posix() for sample in samples]
    return [samples[position] for position in choose(names, split, root)]


def open_split(roots: Mapping[str, Path], split: DataSplit) -> list[Sample]:
    """The samples of a split, sorted; every file exists, unless the data set is packed.

    Raises:
        UserError: no root is known, the root is missing or empty, or an image, label or partner is missing.
    """
    dataset = DATASETS[split.dataset]
    if split.dataset not in roots:
        fix = f"give --set data.{split.dataset}.root=DIR or --data-root with a folder {split.dataset}/ in it"
        raise UserError(f"no folder is known for the data set {split.dataset}: {fix}")
    root = roots[split.dataset]
    if not root.is_dir():
        raise UserError(f"the folder of {split.dataset}, {root}, does not exist; it needs {dataset.layout}")
    if is_packed(root):
        return take_packed(root, split)
    samples = open_referring(roots, split) if dataset.refers else dataset.list_samples(root, split.split)
    if not samples:
        raise UserError(f"{root} has no image of {split}; it needs {dataset.layout}")
    samples = samples if dataset.refers else take(samples, split, root)
    if missing := [path for sample in samples for path in sample.files() if not path.is_file()]:
        more = f" (and {len(missing) - 1} more; `nightshift data check` lists them)" if len(missing) > 1 else ""
        told = f"a broken link to {missing[0].readlink()}" if missing[0].is_symlink() else "which does not exist"
        raise UserError(f"{split} names {missing[0]}, {told}{more}")
    return samples


def open_referring(roots: Mapping[str, Path], split: DataSplit) -> list[Sample]:
    """The samples of a split that was made of another data set's images: its own images, and the other's labels.

    Raises:
        UserError: the other's folder is not known or lacks an image, or a split that promises labels has none.
    """
    root = roots[split.dataset]
    reference = read_reference(root, split.split)
    if reference is None:
        return []
    source = DataSplit.model_validate(reference.source)
    known = {name_of(sample, roots, source): sample for sample in open_split(roots, source)}
    if absent := [name for name in reference.names if name not in known]:
        raise UserError(f"{root} was made of {source} with {absent[0]}, which that split has no longer; make it again")
    origins = [known[name] for name in reference.names]
    has_labels = split.split not in DATASETS[split.dataset].unlabeled
    if has_labels and any(origin.label is None for origin in origins):
        raise UserError(f"{split} was made of {source}, which has no labels; translate it as `unlabeled`")
    names = reference.names if reference.images is None else reference.images
    images = [origin.image for origin in origins]
    if reference.images is not None:
        images = [inside(root, name) for name in reference.images]
    samples = [
        Sample(image, origin.label if has_labels else None) for image, origin in zip(images, origins, strict=True)
    ]
    return [samples[position] for position in choose(names, split, root)]


def name_of(sample: Sample, roots: Mapping[str, Path], split: DataSplit) -> str:
    """What a reference to a sample of ``split`` calls it: its path in the data set that has the file."""
    root = roots[split.dataset]
    reference = read_reference(root, split.split) if DATASETS[split.dataset].refers else None
    if reference is not None and reference.images is None:
        return name_of(sample, roots, DataSplit.model_validate(reference.source))
    return sample.image.relative_to(root).as_posix()


def take_packed(root: Path, split: DataSplit) -> list[Sample]:
    """The samples of a split that is packed whole or as this part; their files need not exist any more."""
    samples = packed_samples(root, split.dataset, split.part)
    if samples is None:
        samples = packed_samples(root, split.dataset, split.split)
        samples = None if samples is None else take(samples, split, root)
    if samples is None:
        raise UserError(f"the packed data set {root} holds no {split}; pack it with `nightshift data pack`")
    return samples


def content_files(root: Path, split: DataSplit, samples: Sequence[Sample]) -> list[Path]:
    """The files that a split's content is in, sorted: those of its samples, or its shards."""
    if is_packed(root):
        return sorted([root / INDEX_FILE, *shard_files(root)])
    beside = DATASETS[split.dataset].side_files.get(split.split)
    files = {path for sample in samples for path in sample.files() if path.is_relative_to(root)}
    return sorted(files | ({root / beside} if beside else set()))


def open_listing(root: Path, split: DataSplit, *, must_exist: bool) -> list[Sample]:
    """The samples of a split whether or not their files are whole; an absent split has none.

    Raises:
        UserError: the root does not exist, a list cannot be read, or the split does not exist and ``must_exist``.
    """
    dataset = DATASETS[split.dataset]
    if not root.is_dir():
        raise UserError(f"the folder of {split.dataset}, {root}, does not exist; it needs {dataset.layout}")
    try:
        return (
            take_packed(root, split) if is_packed(root) else take(dataset.list_samples(root, split.split), split, root)
        )
    except Absent:
        if must_exist:
            raise
        return []
