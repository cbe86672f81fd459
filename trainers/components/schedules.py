"""Learning-rate schedules: the factor on the base rate at a step."""

import math
from collections.abc import Callable


def poly(step: int, steps: int, power: float) -> float:
    """(1 - i / steps)^power for i = steps done before this one. Source: DeepLab; power .9 in its descendants."""
    return (1 - (step - 1) / steps) ** power


def cosine(step: int, steps: int, power: float) -> float:
    """Half a cosine from 1 to 0. Source: Loshchilov and Hutter, SGDR (no restarts)."""
    return 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def constant(step: int, steps: int, power: float) -> float:
    """1 throughout."""
    return 1.0


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "poly": poly,
    "cosine": cosine,
    "constant": constant,
}
"""Every schedule that a config may name; arguments: step (from 1), steps in all, power (poly only)."""


def learning_rate_factor(name: str, step: int, *, steps: int, power: float, warmup_steps: int) -> float:
    """The factor at ``step`` (1 … steps); the first ``warmup_steps`` rise linearly to the schedule's value."""
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return warmup * SCHEDULES[name](step, steps, power)
