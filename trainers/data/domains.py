"""Batches of two domains: labeled source images beside target images without labels.

Shape legend: n images of this rank (of a whole split for class_pixels), c classes, h height, w width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import DataSplit
from trainers.data.image_files import decode
from trainers.data.images import ImageAndLabel, SplitImages, count_classes
from trainers.data.label_files import LabelFiles
from trainers.data.label_spaces import IGNORE_LABEL
from trainers.data.loader import AugmentedSamples, Batch, training_batches
from trainers.errors import UserError


@dataclass(frozen=True)
class DomainBatch(Batch):
    """Labeled source images, and as many target images."""

    target_images: UInt8[Tensor, "n 3 h w"]
    target_labels: UInt8[Tensor, "n h w"]
    """Pseudo-labels that an earlier stage wrote; ``IGNORE_LABEL`` everywhere where there is none. Never the truth."""


class TargetImages(SplitImages):
    """A split whose labels nobody reads, even if it has some; pseudo-labels of an earlier stage take their place."""

    def __init__(
        self,
        roots: Mapping[str, Path],
        split: DataSplit,
        *,
        height: int,
        width: int,
        cache_bytes: int = 2 << 30,
        pseudo_labels: Path | None = None,
    ) -> None:
        """``pseudo_labels``: the folder of a ``pseudo_labels`` stage on this split."""
        super().__init__(roots, split, height=height, width=width, cache_bytes=cache_bytes)
        self.samples = [replace(sample, label=None) for sample in self.samples]
        self._labels: LabelFiles | None = None
        if pseudo_labels is not None:
            self._labels = LabelFiles.open(pseudo_labels, split, images=len(self), height=height, width=width)
            # The classes of the labels that are read; those that the split would have count for nothing.
            self.class_set = self._labels.class_set or self.class_set

    def class_pixels(self) -> Int64[np.ndarray, "n c"]:
        """Of the pseudo-labels; without any, no image shows any class."""
        return np.stack([count_classes(self[index][1].numpy()) for index in range(len(self))])

    def __getitem__(self, index: int) -> ImageAndLabel:
        image, label = super().__getitem__(index)
        if self._labels is None:
            return image, torch.full_like(label, IGNORE_LABEL)
        return image, torch.from_numpy(np.array(decode(self._labels.path(index))))


def check_taught(unlabeled: TargetImages, classes: str) -> None:
    """Refuse pseudo-labels of other classes than the labeled images have.

    Raises:
        UserError: with both class sets.
    """
    if unlabeled.class_set != classes:
        raise UserError(
            f"the teacher learned the classes {unlabeled.class_set}, and the labeled images have {classes}; take a "
            "teacher that was trained on the same classes"
        )


def check_label_source(source: BaseConfig, target: DataSplit, size: tuple[int, int]) -> None:
    """Refuse a stage that labels another split, or in another (height, width), before it runs.

    Raises:
        UserError: with both values.
    """
    made = dict(source)
    for name, ours in (("target", target), ("height", size[0]), ("width", size[1])):
        if name in made and made[name] != ours:
            raise UserError(
                f"the pseudo-labels are made with {name} {made[name]} and trained on with {ours}; give both the same"
            )


def domain_batches(
    source: AugmentedSamples,
    target: AugmentedSamples,
    *,
    steps: range,
    batch_size: int,
    workers: int | None,
    context: TrainContext,
) -> Iterator[DomainBatch]:
    """The batches of ``steps`` in order: each source image beside a target image drawn independently of it."""
    load = partial(training_batches, steps=steps, batch_size=batch_size, workers=workers, context=context)
    for labeled, unlabeled in zip(load(source), load(target), strict=True):
        yield DomainBatch(labeled.images, labeled.labels, unlabeled.images, unlabeled.labels)
