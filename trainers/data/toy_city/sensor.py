"""From light to a photograph: what lens and sensor do to it. Pictures are linear, float32 [H, W, 3], 1 = white."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.raster import Buffers
from trainers.data.toy_city.textures import GAMMA


class Picture(NamedTuple):
    """What a look makes of a scene; both uint8 [H, W, 3]."""

    image: np.ndarray
    clear: np.ndarray | None = None
    """Of a foggy image: the same view without the fog."""


def downsampled(color: np.ndarray, buffers: Buffers) -> np.ndarray:
    """[H, W, 3]: mean of each 2 × 2 block of flat ``color``, highlights limited so that an edge stays smooth."""
    height, width = buffers.polygon.shape
    blocks = np.minimum(color, 20).reshape(height // 2, 2, width // 2, 2, 3)
    return (blocks[:, 0, :, 0] + blocks[:, 0, :, 1] + blocks[:, 1, :, 0] + blocks[:, 1, :, 1]) / 4


def glare(picture: np.ndarray, strength: float) -> np.ndarray:
    """Light of bright spots scattered over their surroundings, near and far; radii scale with the picture."""
    bright = np.maximum(picture - 0.6, 0)
    width = picture.shape[1]
    for share, radius in ((0.25, width / 110), (0.10, width / 22)):
        picture = picture + strength * share * ndimage.gaussian_filter(bright, (radius, radius, 0), truncate=2.5)
    return picture


def saturated(picture: np.ndarray, factor: float) -> np.ndarray:
    """Colors moved away from gray (``factor`` > 1) or towards it."""
    gray = picture.mean(axis=2, keepdims=True)
    return gray + (picture - gray) * factor


def developed(picture: np.ndarray, dice: Dice, *, shot: float, read: float) -> np.ndarray:
    """uint8: sensor noise (grows with the root of the light, over a floor), clipping, gamma, 8 bits."""
    random = np.random.RandomState(dice.integer(0, 2**31 - 1))  # NumPy has frozen this generator's stream.
    deviation = np.sqrt(shot**2 * np.maximum(picture, 0) + read**2)
    noisy = picture + deviation * random.standard_normal(picture.shape)
    return (np.clip(noisy, 0, 1) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)
