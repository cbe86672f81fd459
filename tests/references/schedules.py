"""Learning-rate schedules from their papers; ``done`` optimizer steps of ``total`` lie behind."""

import math


def poly(done: int, total: int, power: float) -> float:
    """(1 - i / N)^power. Source: DeepLab."""
    return math.exp(power * math.log((total - done) / total))


def cosine(done: int, total: int) -> float:
    """(1 + cos(pi i / N)) / 2, written with the half angle. Source: SGDR."""
    return math.cos(math.pi * done / total / 2) ** 2
