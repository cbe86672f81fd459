"""Decoded images of a split, resized once and kept in memory that loader workers share.

Shape legend: n images, k planes, h height, w width, c classes. Images are uint8 RGB in 0…255, labels uint8 train ids.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from trainers.data.checks import check_pair_sizes, check_sizes
from trainers.data.datasets import DATASETS, DataSplit, Sample, class_set_at, label_map_of, open_split
from trainers.data.image_files import decode, read_label, to_rgb
from trainers.data.label_spaces import IGNORE_LABEL, NUM_CLASSES, lookup_table
from trainers.data.nearest import resize_ids
from trainers.data.packed import PackedSplit, is_packed
from trainers.errors import UserError

ImageAndLabel = tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, " h w"]]

PLANES = 4
"""Red, green, blue, train id."""
PLANES_WITH_PARTNER = 7
"""The same, and the partner's red, green and blue."""


class SplitImages(torch.utils.data.Dataset[ImageAndLabel]):
    """The images and labels of one split at one size.

    Images are resized with antialiased bilinear filtering, labels (as train ids) by nearest neighbor. A split
    without labels yields ``IGNORE_LABEL`` everywhere. Where the whole split fits into ``cache_bytes``, each image
    is decoded once: the cache is one shared-memory tensor that every loader worker fills and reads. A packed data set
    is mapped into memory instead.
    """

    def __init__(
        self,
        roots: Mapping[str, Path],
        split: DataSplit,
        *,
        height: int,
        width: int,
        cache_bytes: int = 2 << 30,
        partners: bool = False,
    ) -> None:
        """``partners`` also reads each sample's partner: a paired split is needed."""
        if split.split in DATASETS[split.dataset].without_photographs:
            raise UserError(f"{split} is label maps alone; take images that a translator makes of them")
        if partners and split.split not in DATASETS[split.dataset].paired:
            raise UserError(f"{split} has no pairs; those of {split.dataset} are {_paired(split)}")
        self.split, self.partners = split, partners
        self.samples = open_split(roots, split)
        self.height, self.width = height, width
        root = roots[split.dataset]
        self.class_set = class_set_at(split.dataset, root)
        """Name of the classes that the labels can hold."""
        self._packed: PackedSplit | None = None
        self._cache: Tensor | None = None
        if is_packed(root):
            parts = (split.part, split.split)
            self._packed = PackedSplit(root, parts, self.samples, size=(height, width), partners=partners)
            return
        self._label_map = label_map_of(split.dataset, root)
        self._table = lookup_table(self._label_map)
        shape = (len(self.samples), self.num_planes(), height, width)
        if np.prod(shape) <= cache_bytes:
            # Two workers that fill one entry write the same bytes.
            self._cache = torch.empty(shape, dtype=torch.uint8).share_memory_()
            self._filled = torch.zeros(len(self.samples), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.samples)

    def num_planes(self) -> int:
        """Of each sample."""
        return PLANES_WITH_PARTNER if self.partners else PLANES

    def __getitem__(self, index: int) -> ImageAndLabel:
        planes = self.planes(index)
        return planes[:3], planes[3]

    def planes(self, index: int) -> UInt8[Tensor, "k h w"]:
        """Everything that is known of one sample. Never write into it."""
        if self._packed is not None:
            return torch.from_numpy(self._packed[index])
        if self._cache is None:
            return self._read(self.samples[index])
        if not self._filled[index]:
            self._cache[index] = self._read(self.samples[index])
            self._filled[index] = True
        return self._cache[index]

    def own_label(self, index: int) -> UInt8[Tensor, "h2 w2"]:
        """The train ids of one sample at the size of its file.

        Raises:
            UserError: the data set is packed, or the split has no labels.
        """
        path = self.samples[index].label
        if self._packed is not None or path is None:
            raise UserError(f"{self.split} has no labels at their own size: it is {'packed' if path else 'unlabeled'}")
        return torch.from_numpy(self._table[read_label(path, self._label_map)])

    def class_pixels(self) -> Int64[np.ndarray, "n c"]:
        """Pixels of each class in each image; reads every label once, unless the data set is packed."""
        if self._packed is not None:
            return self._packed.class_pixels
        return np.stack([count_classes(self.planes(index)[3].numpy()) for index in range(len(self))])

    def _read(self, sample: Sample) -> UInt8[Tensor, "k h w"]:
        """The planes of one sample."""
        size = (self.width, self.height)
        image = to_rgb(decode(sample.image), sample.image)
        if sample.label is None:
            train_ids = np.full((self.height, self.width), IGNORE_LABEL, dtype=np.uint8)
        else:
            label = self._table[read_label(sample.label, self._label_map)]
            check_sizes(sample, image.size, (label.shape[1], label.shape[0]))
            train_ids = resize_ids(label, (self.height, self.width))
        planes = [resized(image, size), train_ids[None]]
        if self.partners:
            assert sample.partner is not None
            partner = to_rgb(decode(sample.partner), sample.partner)
            check_pair_sizes(sample, image.size, partner.size)
            planes.append(resized(partner, size))
        return torch.from_numpy(np.concatenate(planes))


class JoinedImages(torch.utils.data.ConcatDataset[ImageAndLabel]):
    """Several splits one behind the other, scored as one.

    Raises:
        UserError: their labels hold different classes.
    """

    def __init__(self, splits: Sequence[SplitImages]) -> None:
        super().__init__(splits)
        first = splits[0]
        for other in splits[1:]:
            if other.class_set != first.class_set:
                raise UserError(
                    f"{first.split} has the classes {first.class_set} and {other.split} {other.class_set}; one "
                    "score of both needs the same"
                )
        self.class_set = first.class_set


class PairImages(SplitImages):
    """The images of a paired split with their partners: both uint8 RGB of one size."""

    def __init__(
        self, roots: Mapping[str, Path], split: DataSplit, *, height: int, width: int, cache_bytes: int = 2 << 30
    ) -> None:
        super().__init__(roots, split, height=height, width=width, cache_bytes=cache_bytes, partners=True)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "3 h w"]]:
        planes = self.planes(index)
        return planes[:3], planes[4:]


def count_classes(train_ids: UInt8[np.ndarray, "h w"]) -> Int64[np.ndarray, " c"]:
    """Pixels of each class; ignored ones are left out."""
    return np.bincount(train_ids.ravel(), minlength=IGNORE_LABEL + 1)[:NUM_CLASSES].astype(np.int64)


def resized(image: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, "3 h w"]:
    """An RGB image at ``size`` (width, height), antialiased bilinear."""
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def _paired(split: DataSplit) -> str:
    return ", ".join(sorted(DATASETS[split.dataset].paired)) or "none"
