"""Scores by counting sets of pixels, without a confusion matrix.

``truth`` and ``predicted`` are flat lists with one entry per pixel; truth 255 is ignored.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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
