"""Brighten a picture after its translation: gamma, or equalization of local histograms.

Shape legend: h height, w width, (r, s) tiles.

Source: the night thesis, section 5 (future work); Zuiderveld, Contrast Limited Adaptive Histogram Equalization.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Photo = UInt8[np.ndarray, "h w 3"]


def gamma(image: Photo, exponent: float) -> Photo:
    """255 (v / 255)^exponent of every value: below 1 it brightens."""
    table = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    brightened: Photo = table[image]
    return brightened


def clahe(image: Photo, *, clip: float, tiles: int) -> Photo:
    """Equalize the luma of ``tiles`` × ``tiles`` parts, contrast limited; colors keep their place around it.

    Each tile's histogram is cut at ``clip`` times its mean and what was cut is spread evenly; a pixel takes the
    bilinear mean of what the four nearest tiles make of its value.
    """
    luma, *colors = Image.fromarray(image).convert("YCbCr").split()
    values = np.asarray(luma)
    rows = np.linspace(0, values.shape[0], tiles + 1).round().astype(int)
    columns = np.linspace(0, values.shape[1], tiles + 1).round().astype(int)
    tables = np.stack(
        [
            [
                _table(values[rows[r] : rows[r + 1], columns[s] : columns[s + 1]], clip)
                for s in range(tiles)
            ]
            for r in range(tiles)
        ]
    )  # fmt: skip
    (above, below, down), (left, right, across) = _nearest(rows), _nearest(columns)
    down, across = down[:, None], across[None]

    def mapped(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        found: np.ndarray = tables[row[:, None], column[None], values]
        return found

    top = mapped(above, left) * (1 - across) + mapped(above, right) * across
    bottom = mapped(below, left) * (1 - across) + mapped(below, right) * across
    equalized = Image.fromarray((top * (1 - down) + bottom * down).round().astype(np.uint8))
    return np.asarray(Image.merge("YCbCr", (equalized, *colors)).convert("RGB"))


def _table(values: np.ndarray, clip: float) -> np.ndarray:
    """Value → equalized value, of one tile (256)."""
    histogram = np.bincount(values.ravel(), minlength=256).astype(float)
    limit = clip * histogram.mean()
    excess = np.maximum(histogram - limit, 0).sum()
    shares = (np.minimum(histogram, limit) + excess / 256).cumsum() / max(1, values.size)
    return 255 * shares


def _nearest(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel: the tiles whose middles lie before and behind it, and how far it is between them in [0, 1]."""
    middles = (edges[:-1] + edges[1:] - 1) / 2
    place = np.interp(np.arange(edges[-1]), middles, np.arange(len(middles)))
    before = np.floor(place).astype(int)
    return before, np.minimum(before + 1, len(middles) - 1), place - before
