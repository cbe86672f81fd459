"""How bright a picture is: the score by which the night thesis tells night from day.

Source: the night thesis, sections 4.2.1 and 4.2.2: S = alpha · R + G + B with alpha .5, for lamps are red.
Differs: it does not say on what scale. R, G and B are means in 0…255 here, and the normalizer is a choice.
"""

import numpy as np


def brightness_score(colors: np.ndarray, *, alpha: float, scale: str) -> np.ndarray:
    """S of each image.

    Args:
        colors: means of red, green and blue in 0…255 (n, 3).
        alpha: weight of red.
        scale: ``sum``: as it stands, up to 255 · (2 + alpha); ``mean``: divided by 2 + alpha, 0…255; ``percent``: of
            the largest possible, 0…100.
    """
    total: np.ndarray = colors @ np.array([alpha, 1.0, 1.0])
    divisor = {"sum": 1.0, "mean": 2 + alpha, "percent": 255 * (2 + alpha) / 100}[scale]
    return total / divisor
