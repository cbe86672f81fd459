"""The networks of pix2pixHD: generators of images from label maps, and discriminators that see both.

Shape legend: n images, h height, w width; k planes of a label map, c of the generator's input; d channels, (y, x) cells
of a feature map.

Source: Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs, section 3 and
    appendix; NVIDIA/pix2pixHD, networks.py.
Differs: biases begin at 0, the release leaves torch's (a norm undoes nearly all of them).
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from trainers.translation.configs import DiscriminatorConfig
from trainers.translation.discriminators import initialize_small
from trainers.translation.pix2pixhd_config import LabelGeneratorConfig
from trainers.translation.unit_networks import ResidualBlock, convolution


def encode(planes: Num[Tensor, "n k h w"], label_nc: int) -> Float[Tensor, "n c h w"]:
    """Label ids as one plane for each id, 1 where it is and else 0; boundaries (0 or 1) stay as they are.

    An id beyond ``label_nc`` is nowhere 1: whoever reads label maps refuses it (``label_maps.read_label_map``).
    """
    ids = torch.arange(label_nc, device=planes.device).view(1, -1, 1, 1)
    return torch.cat([(planes[:, :1] == ids).float(), planes[:, 1:].float()], dim=1)


def _normed(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(channels), nn.ReLU()]


def _halving(channels: int) -> list[nn.Module]:
    """Half the size, twice the channels; unlike all other convolutions its border is zero."""
    return _normed(nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), 2 * channels)


def _doubling(channels: int) -> list[nn.Module]:
    """Twice the size, half the channels."""
    layer = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
    return _normed(layer, channels // 2)


def _halve() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)


class Pix2PixHD(nn.Module):
    """The generator: ``base`` (the global one without its last layer), perhaps an enhancer around it, and ``head``."""

    def __init__(self, config: LabelGeneratorConfig) -> None:
        super().__init__()
        self.base = _global(config)
        width = config.width
        self.halve: nn.Module = nn.Identity()
        self.enhancer: nn.ModuleDict | None = None
        if config.enhancer == "local":
            self.halve, width = _halve(), config.width // 2
            down = [*_normed(convolution(config.channels(), width, 7), width), *_halving(width)]
            up = [*(ResidualBlock(2 * width) for _ in range(config.enhancer_blocks)), *_doubling(2 * width)]
            self.enhancer = nn.ModuleDict({"down": nn.Sequential(*down), "up": nn.Sequential(*up)})
        self.head = nn.Sequential(convolution(width, 3, 7), nn.Tanh())
        self.apply(initialize_small)

    def forward(self, encoded: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
        """Images in [-1, 1]; height and width are multiples of the configuration's stride, and two of it at least."""
        return self.finish(encoded, self.base(self.halve(encoded)))

    def finish(self, encoded: Float[Tensor, "n c h w"], features: Float[Tensor, "n d y x"]) -> Float[Tensor, "n 3 h w"]:
        """Images from what ``base`` makes of the input (halved, where an enhancer stands around it)."""
        if self.enhancer is not None:
            features = self.enhancer["up"](self.enhancer["down"](encoded) + features)
        image: Tensor = self.head(features)
        return image


def _global(config: LabelGeneratorConfig) -> nn.Sequential:
    channels = config.width
    layers = _normed(convolution(config.channels(), channels, 7), channels)
    for _ in range(config.downsamplings):
        layers += _halving(channels)
        channels *= 2
    layers += [ResidualBlock(channels) for _ in range(config.blocks)]
    for _ in range(config.downsamplings):
        layers += _doubling(channels)
        channels //= 2
    return nn.Sequential(*layers)


class ConditionalDiscriminator(nn.Module):
    """Judges patches of an image beside its label map, at several scales; each sees both halved once more."""

    def __init__(self, config: DiscriminatorConfig, channels: int) -> None:
        """``channels``: of the encoded label map and the image together."""
        super().__init__()
        self.scales = nn.ModuleList(_patches(config, channels) for _ in range(config.scales))
        self.halve = _halve()
        self.apply(initialize_small)

    def forward(
        self, encoded: Float[Tensor, "n c h w"], images: Float[Tensor, "n 3 h w"]
    ) -> list[list[Float[Tensor, "n _ _ _"]]]:
        """For each scale, the finest first, the features of every layer; the last is the map of patches."""
        seen, judged = torch.cat([encoded, images], dim=1), []
        for number, scale in enumerate(self.scales):
            seen = self.halve(seen) if number else seen
            features, maps = seen, []
            for layer in scale:  # type: ignore[attr-defined]
                features = layer(features)
                maps.append(features)
            judged.append(maps)
        return judged


def _patches(config: DiscriminatorConfig, channels: int) -> nn.Sequential:
    """4×4 convolutions: ``layers`` of stride 2, one of stride 1, and the one that judges; the first has no norm."""
    width = config.width
    layers = [nn.Sequential(nn.Conv2d(channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
    for number in range(config.layers):
        stride = 2 if number < config.layers - 1 else 1
        wider = min(2 * width, 8 * config.width)
        layer = nn.Conv2d(width, wider, 4, stride=stride, padding=2)
        layers.append(nn.Sequential(layer, nn.InstanceNorm2d(wider), nn.LeakyReLU(0.2)))
        width = wider
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, padding=2))
