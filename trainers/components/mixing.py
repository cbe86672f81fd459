"""Mixing a labeled source image into a target image: which pixels come from the source.

To add a mask: a function and a line in ``MASKS``; configurations, search spaces and the trainer take it from there.

Shape legend: n images, h height, w width, d numbers drawn per image.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from trainers.data.label_spaces import IGNORE_LABEL, NUM_CLASSES

Labels = UInt8[Tensor, "n h w"]
Draws = Float[Tensor, "n d"]
Mask = Bool[Tensor, "n h w"]

NUM_DRAWS = NUM_CLASSES
"""Numbers in [0, 1) that a mask may use for each image."""


def class_mask(labels: Labels, share: float, draws: Draws) -> Mask:
    """All pixels of a random ``share`` of each image's classes, rounded up: of 5 classes 3, of 4 two, of 1 that one.

    Source: Olsson et al., ClassMix; Tranheden et al., DACS (classes of the source's labels, rounded up).
    Differs: the released code counts the ignored pixels as one of the classes; pasted, they would hide target pixels
        and teach nothing. DAFormer's draws from the classes of the whole batch.
    """
    pixels = labels.long().clamp_max(NUM_CLASSES).flatten(1)
    present = torch.zeros(len(labels), NUM_CLASSES + 1, dtype=torch.bool, device=labels.device)
    present = present.scatter(1, pixels, True)[:, :NUM_CLASSES]
    number = torch.ceil(present.sum(dim=1).double() * share - 1e-9)  # 10 · .7 is a little more than 7.
    rank = draws[:, :NUM_CLASSES].where(present, math.inf).argsort(dim=1).argsort(dim=1)
    chosen = torch.zeros(len(labels), NUM_CLASSES + 1, dtype=torch.bool, device=labels.device)
    chosen[:, :NUM_CLASSES] = present & (rank < number[:, None])
    return chosen.gather(1, pixels).view_as(labels)


def box_mask(labels: Labels, share: float, draws: Draws) -> Mask:
    """One rectangle per image of ``share`` of its area, anywhere inside it, as wide as high in proportion.

    Source: French et al., Semi-supervised semantic segmentation needs strong, varied perturbations (CutMix).
    Differs: there the aspect ratio is drawn too.
    """
    height, width = labels.shape[1:]
    inside = torch.ones(len(labels), height, width, dtype=torch.bool, device=labels.device)
    for axis, length in ((1, height), (2, width)):
        side = round(length * math.sqrt(share))
        start = torch.floor(draws[:, axis - 1] * (length - side + 1))[:, None]
        position = torch.arange(length, device=labels.device)[None]
        within = (position >= start) & (position < start + side)
        inside &= within[:, :, None] if axis == 1 else within[:, None, :]
    return inside


def no_mask(labels: Labels, share: float, draws: Draws) -> Mask:
    """Nothing of the source: the target image with its pseudo-label alone."""
    return torch.zeros_like(labels, dtype=torch.bool)


MASKS: dict[str, Callable[[Labels, float, Draws], Mask]] = {
    "class": class_mask,
    "box": box_mask,
    "none": no_mask,
}
"""Every mask that a config may name; arguments: source labels, share in [0, 1], random numbers in [0, 1)."""


def paste(mask: Mask, source: Float[Tensor, "n 3 h w"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """The source where ``mask`` is true, on the target; never the other way round."""
    return torch.where(mask[:, None], source, target)


def paste_labels(mask: Mask, source: Labels, target: Integer[Tensor, "n h w"]) -> Integer[Tensor, "n h w"]:
    """The same for train ids; ``IGNORE_LABEL`` stays where it is pasted."""
    assert IGNORE_LABEL > NUM_CLASSES
    return torch.where(mask, source.to(target.dtype), target)
