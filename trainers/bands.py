"""Logits at another size than the network's, a band of rows at a time: memory does not grow with the image.

Shape legend: c classes; (h, w) the logits' size; (H, W) the wanted size; r rows of one band.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WHOLE_PIXELS = 2**21
"""Up to so many output pixels (1024×2048, and every benchmark's label maps) the image is resized at once: scores there
keep every bit that they had, while the values of bands differ from the whole image's by rounding."""

BAND_PIXELS = 2**19
"""Output pixels in a band: 40 MB of float32 logits of 19 classes."""


def resized_bands(
    logits: Float[Tensor, "c h w"], size: tuple[int, int], *, band_pixels: int | None = None
) -> Iterator[Float[Tensor, "c r W"]]:
    """Resize bilinearly, as ``interpolate(…, align_corners=False)`` does, and yield the rows in bands, top first.

    Args:
        logits: Of one image.
        size: (H, W) in pixels.
        band_pixels: At most so many pixels of the result at once, but at least one row. By default ``BAND_PIXELS``, and
            a single band for a result of up to ``WHOLE_PIXELS``.
    """
    (rows, columns), (height, width) = logits.shape[1:], size
    if band_pixels is None and height * width <= WHOLE_PIXELS:
        is_same = (rows, columns) == size
        yield logits if is_same else F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
        return
    step = max(1, (band_pixels or BAND_PIXELS) // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        if (rows, columns) == size:
            yield logits[:, top:bottom]
            continue
        # A row of the result lies between two of the logits; these alone are resized along their width.
        above, below, weight = _neighbors(top, bottom, rows, height)
        first, last = int(above[0]), int(below[-1])
        part = F.interpolate(logits[None, :, first : last + 1], size=(last - first + 1, width), mode="bilinear")[0]
        share = weight.to(logits)[:, None]
        device = logits.device
        yield part[:, (above - first).to(device)] * (1 - share) + part[:, (below - first).to(device)] * share


def _neighbors(top: int, bottom: int, rows: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each row of the result: the row above and below among the logits' ``rows``, and the share of the lower."""
    middle = (torch.arange(top, bottom, dtype=torch.float32) + 0.5) * (rows / height) - 0.5
    middle = middle.clamp(min=0)
    above = middle.long().clamp(max=rows - 1)
    return above, (above + 1).clamp(max=rows - 1), middle - above
