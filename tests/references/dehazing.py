"""Losses of DFS, pixel by pixel, written from its release and from Rahman and Wang."""

import math
from collections.abc import Sequence

from tests.references.translation import flat, mean
from trainers.data.label_spaces import COLORS, IGNORE_LABEL

Logits = Sequence[Sequence[Sequence[Sequence[float]]]]
"""Images, classes, rows, columns."""
Labels = Sequence[Sequence[Sequence[int]]]


def pixels(logits: Logits, labels: Labels) -> list[tuple[list[float], int]]:
    """(probabilities, train id) of every pixel that counts."""
    found = []
    for image, truth in zip(logits, labels, strict=True):
        for y, row in enumerate(truth):
            for x, label in enumerate(row):
                if label != IGNORE_LABEL:
                    powers = [math.exp(plane[y][x]) for plane in image]
                    found.append(([power / math.fsum(powers) for power in powers], label))
    return found


def cross_entropy(logits: Logits, labels: Labels) -> float:
    return mean([-math.log(p[label]) for p, label in pixels(logits, labels)])


def color_distance(logits: Logits, labels: Labels) -> float:
    """Colors in [-1, 1]: what is expected against what the mask would show."""
    squares = []
    for p, label in pixels(logits, labels):
        for channel in range(3):
            expected = math.fsum(share * (color[channel] / 127.5 - 1) for share, color in zip(p, COLORS, strict=True))
            squares.append((expected - (COLORS[label][channel] / 127.5 - 1)) ** 2)
    return mean(squares)


def soft_iou(logits: Logits, labels: Labels) -> float:
    """1 - mean over the classes that occur of Σ p·y / Σ (p + y - p·y)."""
    counted = pixels(logits, labels)
    found = []
    for train_id in sorted({label for _, label in counted}):
        both = math.fsum(p[train_id] for p, label in counted if label == train_id)
        either = math.fsum(1.0 if label == train_id else p[train_id] for p, label in counted)
        found.append(both / either)
    return 1 - mean(found)


def squared(first: object, second: object) -> float:
    return mean([(a - b) ** 2 for a, b in zip(flat(first), flat(second), strict=True)])
