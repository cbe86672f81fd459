"""The networks of UNIT: for each domain an encoder to a latent map and a decoder from it.

Shape legend: n images, h height, w width, d channels and (y, x) cells of the latent map.

Source: Liu et al., UNIT; mingyuliutw/UNIT, networks.py (master) for the layers, branch version_02 for what is shared.
Differs: with ``weight_sharing: latent`` master's blocks are shared where version_02's are: one at either side of the
    latent map. version_02's own layers (dropout, transposed convolutions) are not rebuilt.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.translation.configs import GeneratorConfig


class LayerNorm(nn.Module):
    """Normalizes each image over channels and cells: (f - mean) / (deviation + eps), then a scale per channel.

    The deviation is that of a sample (divided by count - 1) and eps is added to it, not to the variance; in float32.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.empty(channels).uniform_())
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Float[Tensor, "n d y x"]) -> Float[Tensor, "n d y x"]:
        """The same shape."""
        deviation, mean = torch.std_mean(features.float(), dim=(1, 2, 3), keepdim=True)
        normalized = (features.float() - mean) / (deviation + self.eps)
        return normalized * self.gamma.view(1, -1, 1, 1) + self.beta.view(1, -1, 1, 1)


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    """A convolution whose border mirrors the image."""
    padding = kernel // 2 if padding is None else padding
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode="reflect")


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with instance norm, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            convolution(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Float[Tensor, "n d y x"]) -> Float[Tensor, "n d y x"]:
        """The same shape."""
        added: Tensor = features + self.layers(features)
        return added


def build_encoder(config: GeneratorConfig) -> nn.Sequential:
    """Images in [-1, 1] (n 3 h w) → the mean of their latent codes (n d h/s w/s)."""
    channels = config.width
    layers: list[nn.Module] = [convolution(3, channels, 7), nn.InstanceNorm2d(channels), nn.ReLU()]
    for _ in range(config.downsamplings):
        layers += [
            convolution(channels, 2 * channels, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * channels),
            nn.ReLU(),
        ]
        channels *= 2
    return nn.Sequential(*layers, nn.Sequential(*(ResidualBlock(channels) for _ in range(config.blocks))))


def build_decoder(config: GeneratorConfig) -> nn.Sequential:
    """Latent codes → images in [-1, 1]."""
    channels = config.width * config.stride()
    layers: list[nn.Module] = [nn.Sequential(*(ResidualBlock(channels) for _ in range(config.blocks)))]
    for _ in range(config.downsamplings):
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), convolution(channels, channels // 2, 5)]
        channels //= 2
        if config.decoder_normalization == "layer":
            layers.append(LayerNorm(channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, convolution(channels, 3, 7), nn.Tanh())


class UNIT(nn.Module):
    """Encoders and decoders of both domains; ``source`` and ``target`` name the domains."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: build_encoder(config) for name in ("source", "target")})
        self.decoders = nn.ModuleDict({name: build_decoder(config) for name in ("source", "target")})
        if config.weight_sharing == "latent":
            self.encoders["target"][-1][-1] = self.encoders["source"][-1][-1]  # type: ignore[index]
            self.decoders["target"][0][0] = self.decoders["source"][0][0]  # type: ignore[index]
        self.apply(_initialize)

    def translate(self, images: Float[Tensor, "n 3 h w"], *, to: str) -> Float[Tensor, "n 3 h w"]:
        """Images of the other domain in [-1, 1] → the domain ``to``, without noise."""
        code = self.encoders["target" if to == "source" else "source"](images)
        translated: Tensor = self.decoders[to](code)
        return translated


def _initialize(module: nn.Module) -> None:
    """He initialization by fan-in, no bias. Source: the release, ``init: kaiming``."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
