"""What only the student's image goes through: color jitter, blur, and hidden patches.

All random numbers come in as arguments, so that an image is disturbed alike whatever rank it is on.

Shape legend: n images, h height, w width, r rows and k columns of patches.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2 import functional

Image = Float[Tensor, "3 h w"]

BLUR_SHARE = 0.1
"""Side of the blur's kernel as a share of the image's shorter side."""
MIN_SIGMA_PIXELS = 0.15
"""Smallest standard deviation of the blur."""


def jitter_and_blur(
    images: Float[Tensor, "n 3 h w"],
    generators: Sequence[np.random.Generator],
    *,
    strength: float,
    jitter_probability: float,
    blur_probability: float,
    blur_sigma_max: float = 1.15,
) -> Float[Tensor, "n 3 h w"]:
    """Each image (0…255, RGB) with its own brightness, contrast, saturation, hue, and blur.

    Factors lie in [1 - strength, 1 + strength], the shift of the hue in ± strength turns.

    Source: DACS, configs/configUDA.json and utils/transformsgpu.py: strength .25 with probability .8, blur with .5.
    Differs: the released code jitters a batch as one, with kornia, in an order that it draws; ours is the order above.
    """
    disturbed = []
    for image, generator in zip(images / 255, generators, strict=True):
        wants_jitter, wants_blur, sigma = generator.random(3)
        factors = generator.uniform(-strength, strength, 4)
        if strength > 0 and wants_jitter < jitter_probability:
            image = jitter(image, *(float(factor) for factor in factors))
        if wants_blur < blur_probability:
            image = blur(image, MIN_SIGMA_PIXELS + (blur_sigma_max - MIN_SIGMA_PIXELS) * float(sigma))
        disturbed.append(image)
    return torch.stack(disturbed) * 255


def jitter(image: Image, brightness: float, contrast: float, saturation: float, hue: float) -> Image:
    """Changes of an image in [0, 1]; all are 0 for none. The result is clipped to [0, 1]."""
    image = functional.adjust_brightness(image.clamp(0, 1), 1 + brightness)
    image = functional.adjust_contrast(image, 1 + contrast)
    image = functional.adjust_saturation(image, 1 + saturation)
    return functional.adjust_hue(image, max(-0.5, min(0.5, hue)))


def blur(image: Image, sigma: float) -> Image:
    """Gaussian blur with a kernel of about a tenth of the shorter side, odd and smaller than it."""
    size = max(3, round(min(image.shape[-2:]) * BLUR_SHARE) // 2 * 2 + 1)
    return functional.gaussian_blur(image, [size, size], [sigma, sigma])


def hide_patches(
    images: Float[Tensor, "n 3 h w"],
    generators: Sequence[np.random.Generator],
    *,
    ratio: float,
    patch: int,
    fill: Float[Tensor, "1 3 1 1"],
) -> Float[Tensor, "n 3 h w"]:
    """Each image with every square patch (side ``patch`` pixels) replaced by ``fill`` with probability ``ratio``.

    Source: Hoyer et al., MIC: ratio .7, patch 64 at 512×512 and 1024×1024, 32 at half resolution; filled with 0 after
        normalization, which is the network's mean color.
    """
    height, width = images.shape[-2:]
    grid = (-(-height // patch), -(-width // patch))
    hidden = torch.tensor(np.stack([generator.random(grid) < ratio for generator in generators]), device=images.device)
    hidden = hidden.repeat_interleave(patch, dim=1).repeat_interleave(patch, dim=2)[:, None, :height, :width]
    return torch.where(hidden, fill, images)
