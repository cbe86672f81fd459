"""The label maps of a split, and where each of them shows which class: the bank that recombination draws from.

Shape legend: n images, c classes, h height, w width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from trainers.data.checks import check_sizes
from trainers.data.image_files import decode, read_label, to_rgb
from trainers.data.images import count_classes
from trainers.data.instances import PER_LABEL, instance_file, read_instances
from trainers.data.label_spaces import CITYSCAPES, NUM_CLASSES
from trainers.data.nearest import resize_ids
from trainers.data.recombination import TRAIN_IDS, Box, Donor, LabelMap
from trainers.data.samples import Sample
from trainers.errors import UserError


class SplitMaps:
    """The label maps of a split at one size, the latest ones kept in memory."""

    def __init__(
        self, samples: Sequence[Sample], *, size: tuple[int, int] | None, images: bool, cache_bytes: int
    ) -> None:
        """``size`` (height, width) to which they are resized; ``None`` keeps their own, which must be one."""
        self.samples, self._images = samples, images
        self._size = size
        self.size = size or self._read(samples[0]).labels.shape
        """Height and width of all maps."""
        bytes_each = (6 if images else 3) * self.size[0] * self.size[1]
        self._cached = lru_cache(max(1, cache_bytes // bytes_each))(lambda index: self._of_one_size(samples[index]))

    def __getitem__(self, index: int) -> LabelMap:
        """Never write into it."""
        return self._cached(index)

    def pixels(self, share: float) -> float:
        """Pixels of a ``share`` of a map."""
        return share * self.size[0] * self.size[1]

    def _of_one_size(self, sample: Sample) -> LabelMap:
        read = self._read(sample)
        if read.labels.shape != self.size:
            raise UserError(
                f"{sample.label} is {read.labels.shape[1]}×{read.labels.shape[0]}, others of the split are "
                f"{self.size[1]}×{self.size[0]}; set height and width"
            )
        return read

    def _read(self, sample: Sample) -> LabelMap:
        """Labels and instances by nearest neighbor, photographs antialiased.

        Raises:
            UserError: a file cannot be decoded, a label id is unknown, or the files are not of one scene.
        """
        assert sample.label is not None
        labels = read_label(sample.label, CITYSCAPES)
        instances = read_instances(sample.label, labels.shape)
        other = np.where(instances >= PER_LABEL, instances // PER_LABEL, instances) != labels
        if other.any():
            raise UserError(
                f"{instance_file(sample.label)} holds instance {instances[other][0]} where its label map has "
                f"{labels[other][0]}; "
                f"an instance id is the label id, or {PER_LABEL} times it and a number"
            )
        image = to_rgb(decode(sample.image), sample.image) if self._images else None
        if image is not None:
            check_sizes(sample, image.size, (labels.shape[1], labels.shape[0]))
            image = image if self._size is None else image.resize(self._size[::-1], resample=2)
        ids = instances.astype(np.uint16)
        return LabelMap(
            labels if self._size is None else resize_ids(labels, self._size),
            ids if self._size is None else resize_ids(ids, self._size),
            None if image is None else np.asarray(image),
        )


@dataclass(frozen=True)
class DonorBank:
    """Of each single-class map its area and its position."""

    pixels: Int64[np.ndarray, "n c"]
    """Area in pixels."""
    boxes: Int64[np.ndarray, "n c 4"]
    """Top, left, bottom, right around it; zeros where there is none."""

    def donors(self, train_id: int, min_pixels: float) -> Int64[np.ndarray, " k"]:
        """The images whose single-class map has ``min_pixels`` or more."""
        return np.flatnonzero(self.pixels[:, train_id] >= max(1.0, min_pixels))

    def donor(self, train_id: int, index: int, maps: SplitMaps) -> Donor:
        """One of them, read."""
        top, left, bottom, right = self.boxes[index, train_id].tolist()
        return Donor(maps[index], (top, left, bottom, right))


def areas_and_boxes(one: LabelMap) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, "c 4"]]:
    """The rows of a bank that a map makes."""
    train_ids = TRAIN_IDS[one.labels]
    pixels = count_classes(train_ids)
    boxes = [_box(train_ids == train_id) if pixels[train_id] else (0, 0, 0, 0) for train_id in range(NUM_CLASSES)]
    return pixels, np.array(boxes, dtype=np.int64)


def _box(mask: np.ndarray) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
