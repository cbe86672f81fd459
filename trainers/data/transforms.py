"""Joint geometric augmentation of an image and its label."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainers.components.configs import AugmentationConfig
from trainers.data.label_spaces import IGNORE_LABEL


def build_augmentation(config: AugmentationConfig, *, height: int, width: int) -> v2.Compose:
    """Flip, random scale and random crop; what a crop adds beyond the border is black and ignored."""
    steps: list[torch.nn.Module] = [v2.RandomHorizontalFlip(config.horizontal_flip)]
    if (config.scale_min, config.scale_max) != (1.0, 1.0):
        # The library wants (width, height) here.
        steps.append(v2.ScaleJitter((width, height), scale_range=(config.scale_min, config.scale_max), antialias=True))
    crop = (config.crop_height or height, config.crop_width or width)
    if crop != (height, width) or len(steps) > 1:
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_LABEL}
        steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill=fill))
    return v2.Compose(steps)


def augment(
    image: UInt8[Tensor, "3 h w"], label: UInt8[Tensor, " h w"], augmentation: v2.Compose, *, seed: int
) -> tuple[UInt8[Tensor, "3 ch cw"], UInt8[Tensor, " ch cw"]]:
    """Apply ``augmentation`` with its own random numbers: the result depends on nothing but the arguments."""
    generator = torch.default_generator  # The one that torchvision draws from; seeding only it is 10 × faster.
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        image, label = augmentation(tv_tensors.Image(image), tv_tensors.Mask(label))
    finally:
        generator.set_state(state)
    return image.as_subclass(Tensor), label.as_subclass(Tensor)
