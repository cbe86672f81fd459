"""Mixing, weights, thresholds, teacher and entropy as loops over pixels and numbers, written from the papers."""

import math
from collections.abc import Sequence

Label = list[list[int]]
Map = list[list[float]]


def classes_of(label: Label) -> list[int]:
    """The classes of a label map, in order, the ignored ones left out."""
    return sorted({value for row in label for value in row if value != 255})


def class_mask(label: Label, share: float, draws: Sequence[float]) -> list[list[bool]]:
    """ClassMix: the classes with the smallest numbers, ceil(share · classes) of them."""
    present = classes_of(label)
    chosen = sorted(present, key=lambda train_id: draws[train_id])[: math.ceil(round(share * len(present), 9))]
    return [[value in chosen for value in row] for row in label]


def weights(confidences: Sequence[Map], threshold: float, kind: str) -> list[Map]:
    """The weight of every target pixel of a batch."""

    def share(maps: Sequence[Map]) -> float:
        values = [value for one in maps for row in one for value in row]
        return sum(value >= threshold for value in values) / len(values)

    result = []
    for one in confidences:
        weight = {"batch": share(confidences), "image": share([one]), "none": 1.0}.get(kind)
        result.append([[float(v >= threshold) if weight is None else weight for v in row] for row in one])
    return result


def weighted_cross_entropy(logits: list[list[Map]], labels: Sequence[Label], weight: Sequence[Map]) -> float:
    """Sum of weight · -log p over the valid pixels, divided by the number of all pixels."""
    total, pixels = 0.0, 0
    for image, label, image_weight in zip(logits, labels, weight, strict=True):
        for y, row in enumerate(label):
            for x, train_id in enumerate(row):
                pixels += 1
                if train_id == 255:
                    continue
                exponentials = [math.exp(channel[y][x]) for channel in image]
                total -= image_weight[y][x] * math.log(exponentials[train_id] / sum(exponentials))
    return total / pixels


def class_threshold(confidences: Sequence[float], quantile: float, cap: float) -> float:
    """The value at index round(quantile · n) of the sorted confidences of one class, at most ``cap``."""
    if not confidences:
        return 0.0
    index = min(round(quantile * len(confidences)), len(confidences) - 1)
    return min(sorted(confidences)[index], cap)


def teacher_decays(steps: int, alpha: float) -> list[float]:
    """min(1 - 1 / (i + 1), alpha) for iterations i = 0, 1, …"""
    return [min(1 - 1 / (i + 1), alpha) for i in range(steps)]


def robust_entropy(probabilities: Sequence[Sequence[float]], eta: float) -> float:
    """Mean over pixels of (h² + 1e-8)^eta, h the entropy divided by that of the uniform distribution."""
    total = 0.0
    for pixel in probabilities:
        entropy = -sum(p * math.log(p) for p in pixel if p > 0) / math.log(len(pixel))
        total += (entropy**2 + 1e-8) ** eta
    return total / len(probabilities)


def thing_cells(label: Label, rows: int, columns: int, things: Sequence[int]) -> list[list[bool]]:
    """Cells of which one thing class fills three quarters or more."""
    height, width = len(label) // rows, len(label[0]) // columns
    cells = []
    for row in range(rows):
        cells.append([])
        for column in range(columns):
            values = [
                label[y][x]
                for y in range(row * height, (row + 1) * height)
                for x in range(column * width, (column + 1) * width)
            ]
            cells[-1].append(any(values.count(thing) >= 0.75 * len(values) for thing in things))
    return cells
