"""Numbers of single images: size, light, and pixels per class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from trainers.data.checks import SplitNotes, read_checked
from trainers.data.datasets import Sample
from trainers.data.image_files import to_rgb
from trainers.data.images import count_classes
from trainers.data.label_spaces import lookup_table

GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness. Source: ITU-R BT.601."""


@dataclass(frozen=True)
class ImageStatistics:
    """Of one image and its label, at their own size."""

    height: int
    width: int
    brightness: float
    """Mean of the gray image, 0…255."""
    colors: tuple[float, ...]
    """Means of red, green and blue, 0…255."""
    class_pixels: Int64[np.ndarray, " c"] | None
    """Pixels of each class; ``None`` without a label."""
    ignored_pixels: int | None


def image_statistics(sample: Sample, label_map: Mapping[int, int], notes: SplitNotes) -> ImageStatistics:
    """Read one sample; what is surely not meant goes into ``notes``.

    Raises:
        UserError: a file cannot be decoded, sizes differ, or the label holds an index outside ``label_map``.
    """
    stored, label = read_checked(sample, label_map, notes)
    image = np.asarray(to_rgb(stored, sample.image))
    colors = image.mean(axis=(0, 1))
    classes = ignored = None
    if label is not None:
        classes = count_classes(lookup_table(label_map)[label])
        ignored = label.size - int(classes.sum())
    return ImageStatistics(
        height=image.shape[0],
        width=image.shape[1],
        brightness=float(colors @ GRAY),
        colors=tuple(colors.tolist()),
        class_pixels=classes,
        ignored_pixels=ignored,
    )
