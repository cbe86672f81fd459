"""Laws of class frequencies, and which classes a supplement has to add to come nearer to one.

Shape legend: c classes, n maps, k classes of a map. No torch here: configurations name these laws.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Shaped

Pixels = Shaped[np.ndarray, " c"]
Shares = Float[np.ndarray, " c"]


def natural(pixels: Pixels) -> Shares:
    """As they are."""
    return pixels.astype(np.float64)


def inverse_square_root(pixels: Pixels) -> Shares:
    """Each pixel weighed by one over the square root of how many its class has: shares like sqrt(f)."""
    return np.sqrt(pixels.astype(np.float64))


def uniform(pixels: Pixels) -> Shares:
    """All classes alike."""
    return np.ones(len(pixels))


def wanted_shares(pixels: Pixels, law: str) -> Shares:
    """Share of each class under ``law``, a key of ``LAWS``; of classes that all have pixels. Sums to 1."""
    weights = LAWS[law](pixels)
    shares: Shares = weights / weights.sum()
    return shares


def distance_to(pixels: Pixels, wanted: Shares) -> float:
    """Total variation between the shares of ``pixels`` and the ``wanted`` ones, in [0, 1]: what would have to move."""
    return float(np.abs(pixels / pixels.sum() - wanted).sum() / 2)


def least_filled(pixels: Pixels, wanted: Shares) -> float:
    """Share of a class over the ``wanted`` one, of the class where that is least: 1 where all have what is wanted.

    Unlike the distance it does not fall where frequent classes near the law while a rare one does not.
    """
    return float((pixels / pixels.sum() / wanted).min())


def plan_classes(
    pixels: Pixels, gains: Pixels, wanted: Shares, *, maps: int, classes_per_map: int
) -> Int[np.ndarray, "n k"]:
    """The classes that each map adds: always those that are then the furthest below what is ``wanted``.

    Args:
        pixels: of each class before anything is added.
        gains: expected pixels of each class from adding it once; at least 1.
        wanted: shares.
        maps: n.
        classes_per_map: k, different ones; at most c.

    Returns:
        Positions in ``pixels``.
    """
    filled, steps = pixels / wanted, gains / wanted
    chosen = np.empty((maps, classes_per_map), dtype=np.int64)
    for row in chosen:
        row[:] = np.argsort(filled, kind="stable")[:classes_per_map]
        filled[row] += steps[row]
    return chosen


LAWS: dict[str, Callable[[Pixels], Shares]] = {
    "natural": natural,
    "inverse_square_root": inverse_square_root,
    "uniform": uniform,
}
"""Every law that a configuration may name: pixels of each class → weights."""
