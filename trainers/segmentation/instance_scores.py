"""Instance-level IoU (iIoU): small objects weigh as much as large ones.

Shape legend: c classes, h height, w width, k objects.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from trainers.data.images import SplitImages
from trainers.data.instances import PER_LABEL, read_instances
from trainers.data.label_spaces import CITYSCAPES, IGNORE_LABEL, NUM_CLASSES, lookup_table
from trainers.data.nearest import resize_ids

TRAIN_IDS = torch.from_numpy(lookup_table(CITYSCAPES).astype(np.int64))


class InstanceTally:
    """What a pass over a split adds up of its objects, image by image in the order of this rank; ranks add up."""

    def __init__(self, split: SplitImages, *, rank: int, world_size: int) -> None:
        self._size = (split.height, split.width)
        self._labels = iter([sample.label for sample in split.samples[rank::world_size]])
        self.sums = torch.zeros(3, NUM_CLASSES, dtype=torch.float64)
        """Of each class: objects, their pixels, and the share of each that was found, summed."""

    def add(self, predictions: Int64[Tensor, "n h w"]) -> None:
        """Count the objects of the next images.

        Raises:
            UserError: an instance map is missing or cannot be read.
        """
        for prediction in predictions.cpu():
            label = next(self._labels)
            assert label is not None
            instances = torch.from_numpy(read_instances(label))
            self.sums += object_sums(prediction, resize_ids(instances, self._size))


def object_sums(prediction: Int64[Tensor, "h w"], instances: Integer[Tensor, "h w"]) -> Float[Tensor, "3 c"]:
    """Of each class: the objects in an image, their pixels, and the share of each that was found, summed."""
    ids, place, pixels = instances.long().unique(return_inverse=True, return_counts=True)
    classes = torch.where(ids >= PER_LABEL, TRAIN_IDS[(ids // PER_LABEL).clamp_max(255)], IGNORE_LABEL)
    found = torch.bincount(place[prediction == classes[place]], minlength=len(ids))
    objects = classes != IGNORE_LABEL
    counted = torch.stack([torch.ones_like(pixels), pixels, found / pixels]).double()[:, objects]
    return torch.zeros(3, NUM_CLASSES, dtype=torch.float64).index_add_(1, classes[objects], counted)


def instance_miou(sums: Float[np.ndarray, "3 c"], confusion: Int64[np.ndarray, "c c"]) -> float | None:
    """Mean iIoU in [0, 1] of the classes that have objects; ``None`` where there are none.

    iIoU = iTP / (iTP + FP + iFN): pixels of an object count (mean size of its class) / (its own size) times, false
    positives once.

    Source: Cordts et al., Cityscapes, section 4.1; mcordts/cityscapesScripts, evalPixelLevelSemanticLabeling.py.
    Differs: the mean size of a class is that of the scored images, not a constant of Cityscapes' training images at
        1024×2048, so that other sizes and data sets have a score too.
    """
    objects, pixels, found = sums
    has_objects = objects > 0
    mean_size = pixels / np.maximum(objects, 1)
    false_positives = confusion.sum(axis=0) - confusion.diagonal()
    values = mean_size * found / np.maximum(mean_size * objects + false_positives, 1)
    return float(values[has_objects].mean()) if has_objects.any() else None
