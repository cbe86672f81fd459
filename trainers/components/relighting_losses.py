"""What keeps a relit image near the image that it was made of, smooth, and as bright as a night.

Images are normalized (mean 0, deviation 1 or so); r is what relighting adds to them.

Shape legend: n images of this rank, h height, w width.

Source: Wu et al., DANNet, section 3.2; W-zx-Y/DANNet, network/relighting.py.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from trainers.components.losses import AllReduce

Images = Float[Tensor, "n 3 h w"]

LUMINANCE, CONTRAST = 0.01**2, 0.03**2
"""C1 and C2 of the structural similarity."""


def total_variation(residual: Images, *, all_reduce: AllReduce = torch.detach) -> Float[Tensor, ""]:
    """This rank's share of 2 · (sum of squared steps down / pixel pairs + the same across) per image.

    Differs from a mean: the released code divides by pairs of pixels, not by channels too; kept, for its weight of 10.
    """
    down = residual[:, :, 1:] - residual[:, :, :-1]
    across = residual[:, :, :, 1:] - residual[:, :, :, :-1]
    channels = residual.shape[1]
    return 2 * channels * (mean_share(down**2, all_reduce) + mean_share(across**2, all_reduce))


def ssim_distance(image: Images, reference: Images) -> Images:
    """(1 - SSIM) / 2 in [0, 1] of 3×3 neighborhoods, per pixel and channel; the border is reflected.

    Source: Wang et al., Image quality assessment, with the uniform window that depth networks use.
    """
    x, y = (functional.pad(one, (1, 1, 1, 1), mode="reflect") for one in (image, reference))
    mean_x, mean_y = _pool(x), _pool(y)
    variance_x, variance_y = _pool(x**2) - mean_x**2, _pool(y**2) - mean_y**2
    covariance = _pool(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + LUMINANCE) * (2 * covariance + CONTRAST)
    below = (mean_x**2 + mean_y**2 + LUMINANCE) * (variance_x + variance_y + CONTRAST)
    return ((1 - above / below) / 2).clamp(0, 1)


def exposure_distance(image: Images, brightness: Float[Tensor, ""], patch: int) -> Float[Tensor, "n 1 _ _"]:
    """Squared difference between the mean of each square of ``patch`` pixels (all channels) and ``brightness``."""
    return (functional.avg_pool2d(image.mean(dim=1, keepdim=True), patch) - brightness) ** 2


def mean_share(values: Tensor, all_reduce: AllReduce) -> Float[Tensor, ""]:
    """This rank's share of the mean over all ranks."""
    return values.sum() / all_reduce(torch.full((), float(values.numel()), dtype=values.dtype, device=values.device))


def _pool(images: Float[Tensor, "n 3 _ _"]) -> Float[Tensor, "n 3 _ _"]:
    return functional.avg_pool2d(images, 3, stride=1)
