"""Seeded draws whose stream depends on nothing but the key."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Number = int | float
"""Where a whole number may be written for a float: the type checks of the test run take ``float`` by its word."""


class Dice:
    """Random draws named by a key, such as ``Dice(seed, street, "lots")``.

    Every draw is made from ``random.Random.random`` alone: its stream is promised to stay the same in later
    releases of Python, which ``choice``, ``gauss`` and NumPy's ``Generator`` do not promise.
    """

    def __init__(self, *key: int | str) -> None:
        self._random = random.Random("/".join(map(str, key)))  # noqa: S311 (pictures, not secrets)

    def uniform(self, low: Number, high: Number) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random.random()

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high], both ends included."""
        return low + int((high - low + 1) * self._random.random())

    def chance(self, probability: Number) -> bool:
        """Whether an event of this probability happens."""
        return self._random.random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of ``items``, all equally likely."""
        return items[int(len(items) * self._random.random())]

    def weighted(self, weights: Mapping[Item, Number]) -> Item:
        """One of the keys of ``weights``, as likely as its share of the total."""
        threshold = sum(weights.values()) * self._random.random()
        for item, weight in weights.items():
            threshold -= weight
            if threshold < 0:
                return item
        return next(reversed(list(weights)))

    def color(self, base: tuple[float, float, float], spread: Number) -> tuple[float, float, float]:
        """``base`` (RGB in [0, 1]) made lighter or darker, and each channel moved a little."""
        tone = self.uniform(-spread, spread)
        red, green, blue = (min(max(c + tone + self.uniform(-0.02, 0.02), 0.02), 0.98) for c in base)
        return red, green, blue
