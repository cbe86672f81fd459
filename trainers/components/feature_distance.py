"""Distance of an encoder's features to those of a fixed encoder, where things are.

Shape legend: n images, d channels, r rows and k columns of the features, h height, w width.
"""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from trainers.components.losses import AllReduce
from trainers.data.label_spaces import NUM_CLASSES

THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
"""Train ids of classes with countable instances, as DAFormer has them: lights, signs, people and vehicles."""

MIN_SHARE = 0.75
"""Share of a feature cell's pixels that one class must have."""


def thing_cells(labels: UInt8[Tensor, "n h w"], rows: int, columns: int) -> Bool[Tensor, "n r k"]:
    """Cells of a grid over the image that at least ``MIN_SHARE`` of the pixels of one thing class fill."""
    one_hot = functional.one_hot(labels.long().clamp_max(NUM_CLASSES), NUM_CLASSES + 1)
    things = one_hot.permute(0, 3, 1, 2)[:, list(THINGS)].float()
    shares = functional.adaptive_avg_pool2d(things, (rows, columns))
    return shares.amax(dim=1) >= MIN_SHARE - 1e-6


def feature_distance(
    features: Float[Tensor, "n d r k"],
    fixed: Float[Tensor, "n d r k"],
    labels: UInt8[Tensor, "n h w"],
    *,
    all_reduce: AllReduce = torch.detach,
) -> Float[Tensor, ""]:
    """This rank's share of the mean of ||features - fixed||_2 over the thing cells of all ranks; 0 without any.

    Source: Hoyer et al., DAFormer, eq. 8-10; weight .005.
    """
    cells = thing_cells(labels, *features.shape[-2:]).to(features.dtype)
    squared = (features - fixed).pow(2).sum(dim=1)
    distance = (squared + 1e-12).sqrt()  # The root's slope is infinite at 0.
    return (distance * cells).sum() / all_reduce(cells.sum()).clamp_min(1)
