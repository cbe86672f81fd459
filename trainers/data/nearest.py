"""Maps of ids (labels, instances, train ids) at another size: an id is taken from one pixel, never mixed.

Images are resized center-aligned, so ids must be too, or labels lie beside what they label. Where the middle of a pixel
falls on the border between two others, which happens whenever a side shrinks by an even factor, ``nearest-exact`` of
torch and ``NEAREST`` of Pillow both take the right one: labels then lie a quarter of a pixel to the left at scale 1/2.
Here such pixels take the left and the right one by turns, so that no size moves labels.

Shape legend: h height, w width; h2, w2 those of the result.
"""

from typing import TypeVar

import numpy as np
from jaxtyping import Int64
from torch import Tensor

Ids = TypeVar("Ids", np.ndarray, Tensor)


def nearest_positions(old: int, new: int) -> Int64[np.ndarray, " new"]:
    """For each of ``new`` pixels along a side the one of ``old`` pixels at its middle; exact integer arithmetic."""
    position, beyond_border = np.divmod((2 * np.arange(new, dtype=np.int64) + 1) * old, 2 * new)
    on_border = beyond_border == 0
    by_turns = on_border & (np.cumsum(on_border) % 2 == 1)
    return position - by_turns


def resize_ids(planes: Ids, size: tuple[int, int]) -> Ids:
    """Planes of ids (… h w), an array or a tensor of any type, at ``size`` (h2, w2); unchanged where they have it."""
    height, width = planes.shape[-2:]
    if (height, width) == size:
        return planes
    rows, columns = nearest_positions(height, size[0]), nearest_positions(width, size[1])
    return planes[..., rows, :][..., columns]
