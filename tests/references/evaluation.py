"""Scores by counting sets of pixels, without a confusion matrix.

``truth`` and ``predicted`` are flat lists with one entry per pixel; truth 255 is ignored.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassSets:
    """The pixels that show a class and those that were called it, ignored pixels left out."""

    shown: frozenset[int]
    called: frozenset[int]

    @property
    def iou(self) -> float | None:
        """Intersection over union; ``None`` where neither has a pixel."""
        union = self.shown | self.called
        return len(self.shown & self.called) / len(union) if union else None

    @property
    def recall(self) -> float | None:
        """Share of the shown pixels that were called so."""
        return len(self.shown & self.called) / len(self.shown) if self.shown else None


def class_sets(truth: Sequence[int], predicted: Sequence[int], num_classes: int) -> list[ClassSets]:
    """One entry per class."""
    valid = [index for index, label in enumerate(truth) if label != 255]
    return [
        ClassSets(
            frozenset(index for index in valid if truth[index] == one),
            frozenset(index for index in valid if predicted[index] == one),
        )
        for one in range(num_classes)
    ]


def mean(values: Iterable[float | None]) -> float | None:
    """Over the values that exist."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def pixel_accuracy(sets: list[ClassSets]) -> float | None:
    """Share of the valid pixels that are right."""
    shown = sum(len(one.shown) for one in sets)
    return sum(len(one.shown & one.called) for one in sets) / shown if shown else None


def class_accuracy(sets: list[ClassSets]) -> float | None:
    """Mean recall over the classes that are shown."""
    return mean(one.recall for one in sets)


def miou(sets: list[ClassSets], class_set: Sequence[int]) -> float | None:
    """Mean IoU over the classes of the set that are shown or called."""
    return mean(sets[one].iou for one in class_set)


def miou_zeros(sets: list[ClassSets], class_set: Sequence[int]) -> float:
    """Mean IoU over the whole set, absent classes counted 0."""
    return sum(sets[one].iou or 0.0 for one in class_set) / len(class_set)


def frequency_weighted_iou(sets: list[ClassSets]) -> float | None:
    """Mean IoU, each class weighed by its share of the valid pixels."""
    shown = sum(len(one.shown) for one in sets)
    return sum(len(one.shown) / shown * (one.iou or 0.0) for one in sets) if shown else None


def infomax(probabilities: Sequence[Sequence[float]]) -> float:
    """(entropy of the mean distribution - mean entropy) / ln C, over one distribution per pixel."""
    num_classes = len(probabilities[0])
    average = [sum(one[c] for one in probabilities) / len(probabilities) for c in range(num_classes)]
    mean_entropy = sum(map(_entropy, probabilities)) / len(probabilities)
    return (_entropy(average) - mean_entropy) / math.log(num_classes)


def _entropy(distribution: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)


def instance_ious(
    instances: Sequence[int], truth: Sequence[int], predicted: Sequence[int], train_ids: Mapping[int, int]
) -> dict[int, float]:
    """iIoU of each class with objects, from section 4.1 of the Cityscapes paper; ``instances`` has an id per pixel.

    An object's pixels count (mean size of its class's objects) / (its size) times; false positives count once. Ids from
    1000 on are label id · 1000 + number; ``train_ids`` is label id → train id.
    """
    objects: dict[int, list[int]] = {}
    for pixel, instance in enumerate(instances):
        if instance >= 1000 and train_ids.get(instance // 1000, 255) != 255:
            objects.setdefault(instance, []).append(pixel)
    found = {}
    for one in {train_ids[instance // 1000] for instance in objects}:
        mine = [pixels for instance, pixels in objects.items() if train_ids[instance // 1000] == one]
        mean_size = sum(len(pixels) for pixels in mine) / len(mine)
        right = wrong = 0.0
        for pixels in mine:
            for pixel in pixels:
                weight = mean_size / len(pixels)
                right += weight * (predicted[pixel] == one)
                wrong += weight * (predicted[pixel] != one)
        false = sum(1 for t, p in zip(truth, predicted, strict=True) if t not in (255, one) and p == one)
        found[one] = right / (right + false + wrong)
    return found


def enlarged(planes: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> list[list[list[float]]]:
    """Planes [c][h][w] at another size, bilinear between the middles of pixels, the edge repeated beyond it."""

    def at(line: Sequence[float], place: float) -> float:
        place = min(max(place, 0.0), len(line) - 1.0)
        low = min(int(place), len(line) - 2) if len(line) > 1 else 0
        high = min(low + 1, len(line) - 1)
        return line[low] + (line[high] - line[low]) * (place - low)

    found = []
    for plane in planes:
        tall = [[at([row[x] for row in plane], (y + 0.5) * len(plane) / height - 0.5) for x in range(len(plane[0]))]
                for y in range(height)]  # fmt: skip
        found.append([[at(row, (x + 0.5) * len(row) / width - 0.5) for x in range(width)] for row in tall])
    return found


def best_classes(planes: Sequence[Sequence[Sequence[float]]]) -> list[list[int]]:
    """The first of the largest planes [c][h][w] at each pixel."""
    return [
        [max(range(len(planes)), key=lambda c, y=y, x=x: planes[c][y][x]) for x in range(len(planes[0][0]))]
        for y in range(len(planes[0]))
    ]


def cityscapes_iiou(
    images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    sizes: Mapping[int, float],
    train_ids: Mapping[int, int],
    ignored: int = 255,
) -> float:
    """The mean iIoU as the released script has it: objects one after the other, weighed by ``sizes`` of their class.

    ``images`` are (instance ids, truth, prediction), both of train ids; ``sizes`` by train id. A class is in the mean
    where an object or a false positive gives it a denominator.
    """
    values = []
    for one, size in sizes.items():
        right = wrong = false = 0.0
        for instances, truth, predicted in images:
            false += ((predicted == one) & (truth != one) & (truth != ignored)).sum()
            for instance in np.unique(instances[instances > 1000]):
                if train_ids.get(int(instance) // 1000, ignored) != one:
                    continue
                mask = instances == instance
                weight = size / mask.sum()
                right += weight * (predicted[mask] == one).sum()
                wrong += weight * (predicted[mask] != one).sum()
        if right + wrong + false > 0:
            values.append(right / (right + wrong + false))
    return float(np.mean(values))
