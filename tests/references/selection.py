"""Scores of single images and choices among them, one number at a time, written from the definitions."""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyarrow import parquet

Vectors = Sequence[Sequence[float]]


def mean_and_covariance(vectors: Vectors) -> tuple[list[float], list[list[float]]]:
    """Of a sample: divided by n - 1."""
    n, d = len(vectors), len(vectors[0])
    mean = [sum(vector[i] for vector in vectors) / n for i in range(d)]
    covariance = [
        [sum((v[i] - mean[i]) * (v[j] - mean[j]) for v in vectors) / (n - 1) for j in range(d)] for i in range(d)
    ]
    return mean, covariance


def frechet_dirac(vector: Sequence[float], reference: Vectors) -> float:
    """Squared distance to the mean, plus the variances."""
    mean, covariance = mean_and_covariance(reference)
    return sum((f - m) ** 2 for f, m in zip(vector, mean, strict=True)) + sum(
        covariance[i][i] for i in range(len(mean))
    )


def mahalanobis(vector: Sequence[float], reference: Vectors, shrinkage: float) -> float:
    """With the explicit inverse of the shrunk covariance."""
    mean, covariance = mean_and_covariance(reference)
    d = len(mean)
    scale = sum(covariance[i][i] for i in range(d)) / d
    shrunk = [
        [(1 - shrinkage) * covariance[i][j] + (shrinkage * scale if i == j else 0.0) for j in range(d)]
        for i in range(d)
    ]
    inverse = np.linalg.inv(np.array(shrunk)).tolist()
    difference = [f - m for f, m in zip(vector, mean, strict=True)]
    return sum(difference[i] * inverse[i][j] * difference[j] for i in range(d) for j in range(d))


def is_in_a_ball(vector: Sequence[float], reference: Vectors, neighbors: int) -> bool:
    """Whether some image of the reference is as near as its k-th neighbor is to it."""
    for one in reference:
        others = sorted(math.dist(one, other) for other in reference if other is not one)
        if math.dist(vector, one) <= others[neighbors - 1]:
            return True
    return False


def nearest_choice(values: Sequence[float], goals: Sequence[float]) -> float:
    """The smallest sum of |value - goal| over all choices of as many values as goals, in all orders."""
    return min(
        sum(abs(value - goal) for value, goal in zip(chosen, goals, strict=True))
        for chosen in itertools.permutations(values, len(goals))
    )


def precision_by_provenance(scores: Path, provenance: Path, look: str = "night") -> tuple[float, float]:
    """Share of truly ``look`` images among the chosen ones, and in the whole pool.

    Toy City's ``provenance.csv`` says what each image of the night pool is; nothing but this check reads it.
    """
    with provenance.open(newline="") as file:
        looks = {row["name"]: row["look"] for row in csv.DictReader(file)}
    table = parquet.read_table(scores).to_pylist()
    pool = [looks[Path(row["image"]).name] == look for row in table]
    chosen = [is_one for is_one, row in zip(pool, table, strict=True) if row["chosen"]]
    return sum(chosen) / len(chosen), sum(pool) / len(pool)


def mean_and_agreement(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best class, its mean probability, and whether all maps (n c h w) name one class, pixel by pixel."""
    n, _, height, width = maps[0].shape
    labels, confidence = np.zeros((n, height, width), dtype=int), np.zeros((n, height, width))
    agree = np.zeros((n, height, width), dtype=bool)
    for place in itertools.product(range(n), range(height), range(width)):
        image, y, x = place
        pixels = [one[image, :, y, x].tolist() for one in maps]
        mean = [sum(values) / len(pixels) for values in zip(*pixels, strict=True)]
        labels[place], confidence[place] = mean.index(max(mean)), max(mean)
        agree[place] = len({pixel.index(max(pixel)) for pixel in pixels}) == 1
    return labels, confidence, agree
