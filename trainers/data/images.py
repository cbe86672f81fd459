"""Decoded images of a split, resized once and kept in memory that loader workers share.

Shape legend: n images, c channels (RGB), h height, w width. Images are uint8 in 0…255, labels uint8 train ids.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from trainers.data.datasets import (
    DATASETS,
    DataSplit,
    Sample,
    check_sizes,
    decode,
    open_split,
    read_label,
)
from trainers.data.label_spaces import IGNORE_LABEL, lookup_table

ImageAndLabel = tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, " h w"]]


class SplitImages(torch.utils.data.Dataset[ImageAndLabel]):
    """The images and labels of one split at one size.

    Images are resized with antialiased bilinear filtering, labels (as train ids) by nearest neighbour. A split
    without labels yields ``IGNORE_LABEL`` everywhere. Where the whole split fits into ``cache_bytes``, each image
    is decoded once: the cache is one shared-memory tensor that every loader worker fills and reads.
    """

    def __init__(
        self,
        roots: Mapping[str, Path],
        split: DataSplit,
        *,
        height: int,
        width: int,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.split = split
        self.samples = open_split(roots, split)
        self.height, self.width = height, width
        self._label_map = DATASETS[split.dataset].label_map
        self._table = lookup_table(self._label_map)
        self._cache: Tensor | None = None
        if len(self.samples) * 4 * height * width <= cache_bytes:
            # Channels: red, green, blue, label. Two workers that fill one entry write the same bytes.
            self._cache = torch.empty((len(self.samples), 4, height, width), dtype=torch.uint8).share_memory_()
            self._filled = torch.zeros(len(self.samples), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> ImageAndLabel:
        if self._cache is None:
            stacked = self._read(self.samples[index])
        else:
            if not self._filled[index]:
                self._cache[index] = self._read(self.samples[index])
                self._filled[index] = True
            stacked = self._cache[index]
        return stacked[:3], stacked[3]

    def _read(self, sample: Sample) -> UInt8[Tensor, "4 h w"]:
        """Image channels and train ids of one sample."""
        size = (self.width, self.height)
        image = decode(sample.image).convert("RGB")
        if sample.label is None:
            train_ids = np.full((self.height, self.width), IGNORE_LABEL, dtype=np.uint8)
        else:
            label = self._table[read_label(sample.label, self._label_map)]
            check_sizes(sample, image.size, (label.shape[1], label.shape[0]))
            train_ids = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        return torch.from_numpy(np.concatenate([pixels.transpose(2, 0, 1), train_ids[None]]))
