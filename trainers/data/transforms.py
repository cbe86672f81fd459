"""Joint geometric augmentation of an image and its label, or of a pair; photometric augmentation of an image.

Shape legend: h height, w width, ch and cw those of the crop.
"""

import math
import random
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainers.components.configs import AugmentationConfig, PhotometricConfig
from trainers.data.label_spaces import IGNORE_LABEL
from trainers.data.nearest import resize_ids


def build_augmentation(config: AugmentationConfig, *, height: int, width: int) -> v2.Compose:
    """Flip, random scale and random crop; what a crop adds beyond the border is black and ignored."""
    steps: list[torch.nn.Module] = [v2.RandomHorizontalFlip(config.horizontal_flip)]
    if config.has_scales():
        # The library wants (width, height) here.
        steps.append(_ScaleJitter((width, height), scale_range=(config.scale_min, config.scale_max), antialias=True))
    crop = (config.crop_height or height, config.crop_width or width)
    if crop != (height, width) or len(steps) > 1:
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_LABEL}
        steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill=fill))
    return v2.Compose(steps)


class _ScaleJitter(v2.ScaleJitter):
    """Images as the library resizes them, labels on the same grid: its own masks lie up to half a pixel beside them."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One of the inputs at ``params["size"]`` (height, width)."""
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.wrap(resize_ids(inpt.as_subclass(Tensor), params["size"]), like=inpt)
        return super().transform(inpt, params)


def augment(
    image: UInt8[Tensor, "3 h w"], label: UInt8[Tensor, "*k h w"], augmentation: v2.Compose, *, seed: int
) -> tuple[UInt8[Tensor, "3 ch cw"], UInt8[Tensor, "*k ch cw"]]:
    """Apply ``augmentation`` with its own random numbers: the result depends on nothing but the arguments.

    A label may have several planes, which move alike.
    """
    image, label = _transform(augmentation, seed, tv_tensors.Image(image), tv_tensors.Mask(label))
    return image, label


def augment_pair(
    image: UInt8[Tensor, "3 h w"], partner: UInt8[Tensor, "3 h w"], augmentation: v2.Compose, *, seed: int
) -> tuple[UInt8[Tensor, "3 ch cw"], UInt8[Tensor, "3 ch cw"], UInt8[Tensor, " ch cw"]]:
    """The same flip, scale and crop for both images of a pair; a mask that is ``IGNORE_LABEL`` beyond them, else 0."""
    return augment_labeled_pair(image, partner, torch.zeros_like(image[0]), augmentation, seed=seed)


def augment_labeled_pair(
    image: UInt8[Tensor, "3 h w"],
    partner: UInt8[Tensor, "3 h w"],
    label: UInt8[Tensor, " h w"],
    augmentation: v2.Compose,
    *,
    seed: int,
) -> tuple[UInt8[Tensor, "3 ch cw"], UInt8[Tensor, "3 ch cw"], UInt8[Tensor, " ch cw"]]:
    """The same for both images of a pair and the label of either."""
    planes = tv_tensors.Image(image), tv_tensors.Image(partner), tv_tensors.Mask(label)
    image, partner, label = _transform(augmentation, seed, *planes)
    return image, partner, label


def _transform(augmentation: v2.Compose, seed: int, *inputs: Tensor) -> list[Tensor]:
    generator = torch.default_generator  # The one that torchvision draws from; seeding only it is 10 × faster.
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        outputs = augmentation(*inputs)
    finally:
        generator.set_state(state)
    return [output.as_subclass(Tensor) for output in outputs]


def augment_colors(image: UInt8[Tensor, "3 h w"], config: PhotometricConfig, *, seed: int) -> UInt8[Tensor, "3 h w"]:
    """Jitter, blur and gamma with the probability of ``config``, on whatever device ``image`` is on.

    The strengths are drawn on the host from ``seed`` alone, so they are the same on every device.
    """
    draw = random.Random(seed)  # noqa: S311
    if draw.random() >= config.probability:
        return image
    jitters = [
        (v2.functional.adjust_brightness, 1 + draw.uniform(-config.brightness, config.brightness)),
        (v2.functional.adjust_contrast, 1 + draw.uniform(-config.contrast, config.contrast)),
        (v2.functional.adjust_saturation, 1 + draw.uniform(-config.saturation, config.saturation)),
        (v2.functional.adjust_hue, draw.uniform(-config.hue, config.hue)),
    ]
    draw.shuffle(jitters)
    sigma = draw.uniform(config.blur_sigma_min, config.blur_sigma_max)
    gamma = math.exp(draw.uniform(-1, 1) * math.log(config.gamma_max))
    changed = image.float() / 255  # Once: rounding after each of six steps would show.
    for jitter, strength in jitters:
        changed = jitter(changed, strength)
    changed = v2.functional.gaussian_blur(changed, kernel_size_of(sigma, min(image.shape[1:])), [sigma, sigma])
    changed = v2.functional.adjust_gamma(changed, gamma)
    return (changed * 255).round().clamp(0, 255).to(torch.uint8)


def kernel_size_of(sigma: float, side: int) -> list[int]:
    """Side of a blur kernel that holds four deviations, odd and smaller than twice the image's ``side``."""
    radius = min(math.ceil(4 * sigma), side - 1)  # The border is reflected, which takes one pixel less than there is.
    return [2 * radius + 1, 2 * radius + 1]
