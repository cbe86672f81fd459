"""Discriminators that judge patches, at several scales.

Shape legend: n images, k channels, h height, w width, (y, x) cells of a patch map.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.translation.configs import DiscriminatorConfig
from trainers.translation.unit_networks import convolution


class MultiScaleDiscriminator(nn.Module):
    """One network for each scale; each scale sees the image halved once more by averaging.

    Source: mingyuliutw/UNIT, networks.py, MsImageDis: 4×4 convolutions of stride 2, leaky ReLU, no normalization.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patches(config, channels) for _ in range(config.scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.apply(initialize_small)

    def forward(self, images: Float[Tensor, "n k h w"]) -> list[Float[Tensor, "n 1 _ _"]]:
        """A map for each scale, the finest first: real is 1 (or above 0, as a logit), translated is 0 (below)."""
        judged = []
        for number, scale in enumerate(self.scales):
            images = self.halve(images) if number else images
            judged.append(scale(images))
        return judged


def _patches(config: DiscriminatorConfig, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs, outputs = channels, config.width
    for _ in range(config.layers):
        layers += [convolution(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inputs, outputs = outputs, min(2 * outputs, 8 * config.width)
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 1))


def initialize_small(module: nn.Module) -> None:
    """Weights from N(0, 0.02), no bias. Source: DCGAN, and every release since."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def accuracy(maps: list[Tensor], *, is_real: bool, gan_loss: str) -> Float[Tensor, ""]:
    """Share of patches that are judged right, averaged over scales: on which side of the middle they lie."""
    middle = 0.5 if gan_loss == "lsgan" else 0.0
    return torch.stack([((one > middle) == is_real).float().mean() for one in maps]).mean()
