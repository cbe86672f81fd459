"""Instance-level IoU (iIoU): small objects weigh as much as large ones.

Shape legend: c classes, h height, w width, k objects.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from trainers.data.images import SplitImages
from trainers.data.instances import PER_LABEL, read_instances
from trainers.data.label_spaces import CITYSCAPES, CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES, lookup_table
from trainers.data.nearest import resize_ids

TRAIN_IDS = torch.from_numpy(lookup_table(CITYSCAPES).astype(np.int64))

PUBLISHED_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Mean pixels of an object of Cityscapes at 1024×2048, of the classes that have objects. Source:
mcordts/cityscapesScripts, evalPixelLevelSemanticLabeling.py (``avgClassSize``)."""

PUBLISHED_PIXELS = 1024 * 2048

Sizes = Literal["cityscapes", "scored_images"]
"""Whose mean sizes of objects weigh them: the published ones of Cityscapes, or those of the images that are scored."""


def sizes_for(class_set: str) -> Sizes:
    """The published ones for the classes of Cityscapes."""
    return "cityscapes" if class_set == "cityscapes19" else "scored_images"


class InstanceTally:
    """What a pass over a split adds up of its objects, image by image in the order of this rank; ranks add up."""

    def __init__(self, split: SplitImages, *, rank: int, world_size: int) -> None:
        self._labels = iter([sample.label for sample in split.samples[rank::world_size]])
        self.sums = torch.zeros(5, NUM_CLASSES, dtype=torch.float64)
        """As of ``object_sums``."""

    def add(self, predictions: Int64[Tensor, "n h w"]) -> None:
        """Count the objects of the next images, at the size of their predictions.

        Raises:
            UserError: an instance map is missing or cannot be read.
        """
        for prediction in predictions.cpu():
            label = next(self._labels)
            assert label is not None
            instances = torch.from_numpy(read_instances(label))
            self.sums += object_sums(prediction, resize_ids(instances, tuple(prediction.shape)))


def object_sums(prediction: Int64[Tensor, "h w"], instances: Integer[Tensor, "h w"]) -> Float[Tensor, "5 c"]:
    """Of each class in an image: its objects, their pixels, and the share of each that was found, summed.

    Then the first and the last once more, times the image's share of 1024×2048 pixels.
    """
    ids, place, pixels = instances.long().unique(return_inverse=True, return_counts=True)
    classes = torch.where(ids >= PER_LABEL, TRAIN_IDS[(ids // PER_LABEL).clamp_max(255)], IGNORE_LABEL)
    found = torch.bincount(place[prediction == classes[place]], minlength=len(ids)) / pixels
    objects, scale = classes != IGNORE_LABEL, instances.numel() / PUBLISHED_PIXELS
    ones = torch.ones_like(pixels)
    counted = torch.stack([ones, pixels, found, ones * scale, found * scale]).double()[:, objects]
    return torch.zeros(5, NUM_CLASSES, dtype=torch.float64).index_add_(1, classes[objects], counted)


def instance_miou(
    sums: Float[np.ndarray, "5 c"], confusion: Int64[np.ndarray, "c c"], sizes: Sizes = "scored_images"
) -> float | None:
    """Mean iIoU in [0, 1] of the classes that have objects; ``None`` where there are none.

    iIoU = iTP / (iTP + FP + iFN): pixels of an object count (mean size of its class) / (its own size) times, false
    positives once. With ``cityscapes`` a class without objects that is predicted counts too, as 0.

    Source: Cordts et al., Cityscapes, section 4.1; mcordts/cityscapesScripts, evalPixelLevelSemanticLabeling.py.
    Differs: ``cityscapes`` scales the published mean sizes, which are of 1024×2048, by the pixels of each scored image,
        so that false positives, which are counted in pixels, weigh the same at every size; at 1024×2048 nothing
        differs. ``scored_images`` takes the mean sizes of the scored objects, for classes that have no published ones.
    """
    objects, pixels, found, scaled_objects, scaled_found = sums
    false_positives = confusion.sum(axis=0) - confusion.diagonal()
    if sizes == "cityscapes":
        mean_size = np.array([PUBLISHED_SIZES.get(name, 0.0) for name in CLASS_NAMES])
        weighed, right = mean_size * scaled_objects, mean_size * scaled_found
        is_counted = (mean_size > 0) & (weighed + false_positives > 0)
    else:
        mean_size = pixels / np.maximum(objects, 1)
        weighed, right = mean_size * objects, mean_size * found
        is_counted = objects > 0
    values = right[is_counted] / (weighed + false_positives)[is_counted]
    return float(values.mean()) if is_counted.any() else None
