"""Segmentation losses as plain loops over pixels, in Python's float64, written from the definitions.

``logits[n][c][h][w]`` and ``labels[n][h][w]`` are nested lists; 255 is ignored.
"""

import math
from collections.abc import Iterator

Logits = list[list[list[list[float]]]]
Labels = list[list[list[int]]]


def true_class_probabilities(logits: Logits, labels: Labels) -> Iterator[tuple[float, int]]:
    """(softmax probability of the true class, true class) of each pixel that is not ignored."""
    for image, image_labels in zip(logits, labels, strict=True):
        for y, row in enumerate(image_labels):
            for x, label in enumerate(row):
                if label == 255:
                    continue
                scores = [channel[y][x] for channel in image]
                highest = max(scores)
                exponentials = [math.exp(score - highest) for score in scores]
                yield exponentials[label] / sum(exponentials), label


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Mean of -log p over the valid pixels."""
    terms = [-math.log(p) for p, _ in true_class_probabilities(logits, labels)]
    return sum(terms) / len(terms) if terms else 0.0


def focal(
    logits: Logits, labels: Labels, *, gamma: float, weights: list[float] | None = None, normalise: bool = False
) -> float:
    """Mean of -w (1 - p)^gamma log p over the valid pixels; ``normalise`` divides by the mean of (1 - p)^gamma."""
    loss = modulation = 0.0
    pixels = 0
    for p, label in true_class_probabilities(logits, labels):
        weight = 1.0 if weights is None else weights[label]
        loss -= weight * (1 - p) ** gamma * math.log(p)
        modulation += (1 - p) ** gamma
        pixels += 1
    if not pixels:
        return 0.0
    return loss / modulation if normalise else loss / pixels


def combined(logits: Logits, labels: Labels, *, alpha: float, **focal_options: object) -> float:
    """alpha · cross-entropy + (1 - alpha) · focal."""
    return alpha * cross_entropy(logits, labels) + (1 - alpha) * focal(logits, labels, **focal_options)  # type: ignore[arg-type]


def batch_mean_legacy(logits: Logits, labels: Labels, *, alpha: float, gamma: float) -> tuple[float, float, float]:
    """(cross-entropy, focal, both): of the batch's one mean loss L with p = e^-L, divided by the images once more."""
    mean = cross_entropy(logits, labels)
    focal_loss = -0.5 * (1 - math.exp(-mean)) ** gamma * math.log(math.exp(-mean))
    first, second = mean / len(labels), focal_loss / len(labels)
    return first, second, alpha * first + (1 - alpha) * second
