"""How near images come to their references: PSNR and SSIM, image by image.

Shape legend: n images, h height, w width. Images are RGB in 0…255.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from trainers.errors import UserError

Images = UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]

PEAK = 255.0
WINDOW_PX, SIGMA_PX = 11, 1.5
"""The Gaussian window of SSIM."""
K1, K2 = 0.01, 0.03
"""What keeps SSIM's quotients stable, as shares of the peak."""


def mean_squared_error(images: Images, references: Images) -> Float[Tensor, " n"]:
    """Over pixels and channels of each image, in squared grey levels, float64."""
    return (images.double() - references.double()).square().mean(dim=(1, 2, 3))


def psnr(images: Images, references: Images) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio in dB: 10 · log10(255² / MSE); infinite where an image is its reference.

    Differs: the release of DFS takes 1 for the peak of images in [-1, 1], which lowers every value by 6.02 dB, and one
        logarithm for a whole batch.
    """
    return 10 * torch.log10(PEAK**2 / mean_squared_error(images, references))


def ssim(images: Images, references: Images) -> Float[Tensor, " n"]:
    """Structural similarity in [-1, 1], float64: mean over the channels and all windows that lie inside the image.

    Source: Wang et al., Image Quality Assessment (2004), eq. 13 with the 11×11 Gaussian window of σ = 1.5.
    Differs: of color images the mean of the three channels' maps (the paper has gray images); the deviations are those
        of the population, as in the paper.

    Raises:
        UserError: an image is smaller than the window.
    """
    height, width = images.shape[2:]
    if min(height, width) < WINDOW_PX:
        raise UserError(f"an image is {width}×{height}; SSIM looks through a window of {WINDOW_PX}×{WINDOW_PX} pixels")
    x, y = images.double(), references.double()
    x_mean, y_mean = _windowed(x), _windowed(y)
    x_variance, y_variance = _windowed(x * x) - x_mean**2, _windowed(y * y) - y_mean**2
    covariance = _windowed(x * y) - x_mean * y_mean
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    light = (2 * x_mean * y_mean + c1) / (x_mean**2 + y_mean**2 + c1)
    structure = (2 * covariance + c2) / (x_variance + y_variance + c2)
    return (light * structure).mean(dim=(1, 2, 3))


def _windowed(values: Tensor) -> Tensor:
    """Weighted means over the windows inside the image; the window is a product of two lines."""
    offsets = torch.arange(WINDOW_PX, dtype=values.dtype, device=values.device) - WINDOW_PX // 2
    line = torch.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    line = (line / line.sum()).expand(values.shape[1], 1, 1, WINDOW_PX)
    rows = functional.conv2d(values, line, groups=values.shape[1])
    return functional.conv2d(rows, line.transpose(2, 3), groups=values.shape[1])
