"""The averaged prediction of some segmenters on several views of an image, and where all of them agree.

Shape legend: n images, c classes, h height, w width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 32
"""Pixels: what the sides of a rescaled image are a multiple of, for networks that take nothing else."""


def averaged(
    members: Sequence[nn.Module], images: UInt8[Tensor, "n 3 h w"], *, scales: Sequence[float], flip: bool
) -> tuple[Int64[Tensor, "n h w"], Float[Tensor, "n h w"], Bool[Tensor, "n h w"]]:
    """The most probable class of each pixel, its mean probability, and whether every single prediction names it.

    Softmax maps are averaged, each mirrored and resized back (bilinear) first.
    """
    total, first, agree = None, None, None
    for member in members:
        for scale in scales:
            for mirrored in (False, True) if flip else (False,):
                probability = _view(member, images, scale=scale, mirrored=mirrored)
                best = probability.argmax(dim=1)
                if total is None or first is None or agree is None:
                    total, first, agree = probability, best, torch.ones_like(best, dtype=torch.bool)
                else:
                    total, agree = total + probability, agree & (best == first)
    assert total is not None
    assert agree is not None
    confidence, labels = (total / (len(members) * len(scales) * (2 if flip else 1))).max(dim=1)
    return labels, confidence, agree


def _view(member: nn.Module, images: UInt8[Tensor, "n 3 h w"], *, scale: float, mirrored: bool) -> Tensor:
    """Softmax of one segmenter on one view, in the size and direction of ``images``."""
    size = images.shape[-2:]
    seen: Tensor = images
    if scale != 1:
        height, width = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in size)
        seen = functional.interpolate(images.float(), size=(height, width), mode="bilinear", antialias=True)
    logits = member(seen.flip(-1) if mirrored else seen).float()
    probability = (logits.flip(-1) if mirrored else logits).softmax(dim=1)
    if probability.shape[-2:] != size:
        probability = functional.interpolate(probability, size=size, mode="bilinear", align_corners=False)
    return probability
