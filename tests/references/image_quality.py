"""PSNR, and SSIM of Wang et al. (2004), window by window."""

import math
from collections.abc import Sequence

Plane = Sequence[Sequence[float]]


def psnr(image: Sequence[Plane], other: Sequence[Plane]) -> float:
    """10 log10(255² / MSE) over channels, rows and columns."""
    squares = [
        (a - b) ** 2
        for one, two in zip(image, other, strict=True)
        for row, partner in zip(one, two, strict=True)
        for a, b in zip(row, partner, strict=True)
    ]
    return 10 * math.log10(255**2 * len(squares) / math.fsum(squares))


def ssim(image: Sequence[Plane], other: Sequence[Plane]) -> float:
    """Eq. 13 with eqs. 14 to 16: means, deviations and covariance under an 11×11 Gaussian of sum 1; no border."""
    weights = [[math.exp(-((y - 5) ** 2 + (x - 5) ** 2) / (2 * 1.5**2)) for x in range(11)] for y in range(11)]
    total = math.fsum(value for row in weights for value in row)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for one, two in zip(image, other, strict=True):
        for top in range(len(one) - 10):
            for left in range(len(one[0]) - 10):
                seen = [
                    (weights[y][x] / total, one[top + y][left + x], two[top + y][left + x])
                    for y in range(11)
                    for x in range(11)
                ]
                mean_a = math.fsum(w * a for w, a, _ in seen)
                mean_b = math.fsum(w * b for w, _, b in seen)
                variance_a = math.fsum(w * (a - mean_a) ** 2 for w, a, _ in seen)
                variance_b = math.fsum(w * (b - mean_b) ** 2 for w, _, b in seen)
                covariance = math.fsum(w * (a - mean_a) * (b - mean_b) for w, a, b in seen)
                light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
                structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
                values.append(light * structure)
    return math.fsum(values) / len(values)
