"""Losses and layers of translators, written from the papers with Python's loops."""

import math
from collections.abc import Sequence

Plane = Sequence[Sequence[float]]
Maps = Sequence[Plane]
"""One map after the other."""


def flat(maps: object) -> list[float]:
    """Every number in nested lists."""
    return [maps] if isinstance(maps, int | float) else [one for part in maps for one in flat(part)]  # type: ignore[attr-defined]


def mean(values: object) -> float:
    numbers = flat(values)
    return math.fsum(numbers) / len(numbers)


def absolute(first: object, second: object) -> float:
    """Mean of |a - b|."""
    return mean([abs(a - b) for a, b in zip(flat(first), flat(second), strict=True)])


def mean_square(codes: object) -> float:
    return mean([one * one for one in flat(codes)])


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def discriminator_loss(real: Sequence[object], fake: Sequence[object], kind: str) -> float:
    """Sum over scales of E[(D(x) - 1)²] + E[D(G(z))²], or of -E[log D(x)] - E[log(1 - D(G(z)))]."""
    total = 0.0
    for one, other in zip(real, fake, strict=True):
        if kind == "lsgan":
            total += mean([(value - 1) ** 2 for value in flat(one)]) + mean([value**2 for value in flat(other)])
        else:
            total -= mean([math.log(sigmoid(value)) for value in flat(one)])
            total -= mean([math.log(1 - sigmoid(value)) for value in flat(other)])
    return total


def generator_loss(fake: Sequence[object], kind: str) -> float:
    """Sum over scales of E[(D(G(z)) - 1)²], or of -E[log D(G(z))]."""
    if kind == "lsgan":
        return sum(mean([(value - 1) ** 2 for value in flat(one)]) for one in fake)
    return -sum(mean([math.log(sigmoid(value)) for value in flat(one)]) for one in fake)


def instance_normalized(channel: Plane) -> list[float]:
    """One channel of one image: less its mean, over its deviation (of the population, 1e-5 added to the variance)."""
    values = flat(channel)
    center = mean(values)
    variance = mean([(value - center) ** 2 for value in values])
    return [(value - center) / math.sqrt(variance + 1e-5) for value in values]


def perceptual(first: Sequence[Sequence[Plane]], second: Sequence[Sequence[Plane]]) -> float:
    """Mean squared difference of instance-normalized maps: images, channels, rows, columns."""
    squares = []
    for one, other in zip(first, second, strict=True):
        for channel, partner in zip(one, other, strict=True):
            pairs = zip(instance_normalized(channel), instance_normalized(partner), strict=True)
            squares += [(a - b) ** 2 for a, b in pairs]
    return mean(squares)


def layer_normalized(image: Sequence[Plane], gamma: Sequence[float], beta: Sequence[float]) -> list[float]:
    """One image: less the mean of all its numbers, over their sample deviation plus 1e-5, scaled by channel."""
    values = flat(image)
    center = mean(values)
    deviation = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))
    return [
        (value - center) / (deviation + 1e-5) * gamma[number] + beta[number]
        for number, channel in enumerate(image)
        for value in flat(channel)
    ]


def unit_objective(terms: dict[str, float], weights: dict[str, float], *, twice: bool) -> float:
    """Eqs. 3.1 to 3.5 of the night thesis: VAE, GAN and cycle terms; ``twice``: codes of images in both."""
    vae = weights["kl"] * terms["kl"] + weights["reconstruction"] * terms["reconstruction"]
    cycle = (
        weights["cycle_kl"] * ((terms["kl"] if twice else 0) + terms["cycle_kl"]) + weights["cycle"] * terms["cycle"]
    )
    perceptual_term = weights["perceptual"] * terms.get("perceptual", 0.0)
    return vae + weights["gan"] * terms["adversarial"] + cycle + perceptual_term


def halved(plane: Plane) -> list[list[float]]:
    """Average pooling over 3×3 at every second pixel; what lies beyond the border does not count."""
    height, width = len(plane), len(plane[0])
    rows = []
    for y in range(0, height, 2):
        row = []
        for x in range(0, width, 2):
            seen = [plane[b][a] for b in range(max(0, y - 1), min(height, y + 2))
                    for a in range(max(0, x - 1), min(width, x + 2))]  # fmt: skip
            row.append(sum(seen) / len(seen))
        rows.append(row)
    return rows
