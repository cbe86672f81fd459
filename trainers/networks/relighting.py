"""Relighting: what is added to an image so that day and night look alike to the segmenter behind it.

Networks here take images normalized as torchvision does, whatever the segmenter's own normalization is.

Shape legend: n images, c classes, h height, w width.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from trainers.components.configs import RelightingConfig
from trainers.components.networks import NORMALIZATIONS
from trainers.networks.segmentation import Segmenter

Images = Float[Tensor, "n 3 h w"]

LOWEST, HIGHEST = -2.1179, 2.6400
"""The range of normalized images as the release of Bi-Mix writes it: black in red, white in blue."""
NUM_CURVES = 8
SATURATED = 0.99
"""A tanh beyond this in absolute value passes next to no gradient."""


class Added(NamedTuple):
    """What a relighting network makes of normalized images."""

    residual: Images
    """To be added to them."""
    saturated: Float[Tensor, ""]
    """Share of values in [0, 1] at the end of what the last layer can give, where it learns nothing more."""


class ResNetRelighting(nn.Module):
    """An encoder, residual blocks, a decoder; the residual lies in (-1, 1).

    Source: Wu et al., DANNet (after Johnson et al.); W-zx-Y/DANNet, network/relighting.py: width 64, two halvings,
        three blocks, batch norm, reflected borders.
    Differs: sides that are no multiples of 4 are taken; the surplus of the last doubling is cut off.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), *_normed(nn.Conv2d(3, width, 7, bias=False))]
        for inputs in (width, 2 * width):
            layers += _normed(nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1, bias=False))
        layers += [_ResidualBlock(4 * width) for _ in range(3)]
        for inputs in (4 * width, 2 * width):
            layers += _normed(
                nn.ConvTranspose2d(inputs, inputs // 2, 3, stride=2, padding=1, output_padding=1, bias=False)
            )
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def forward(self, images: Images) -> Added:
        """The residual of normalized images."""
        residual = self.layers(images)[:, :, : images.shape[2], : images.shape[3]].float()
        return Added(residual, (residual.detach().abs() > SATURATED).float().mean())


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, bias=False) for _ in range(2))
        pad = nn.ReflectionPad2d(1)
        self.layers = nn.Sequential(pad, *_normed(first), pad, second, nn.BatchNorm2d(width))

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The block's input and what it adds."""
        return features + self.layers(features)


class CurveRelighting(nn.Module):
    """Eight curve maps x ← x + a (x² - x), one after the other; the residual is what the *last* one adds.

    Source: Guo et al., Zero-DCE; ygjwd12345/BiMix, network/zeroDCE.py: seven convolutions of 32 channels. Zero-DCE
        works in [0, 1], where a curve cannot leave the range; the release works on normalized images, and therefore
        clamps after each curve but the fourth and the last. Without the clamp it diverges (issue 9 there).
    Differs: nothing; that the increment of the last curve alone is added, and to the first image, is the release's.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inputs = (3, width, width, width, 2 * width, 2 * width)
        self.layers = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=1) for channels in inputs)
        self.last = nn.Conv2d(2 * width, 3 * NUM_CURVES, 3, padding=1)

    def forward(self, images: Images) -> Added:
        """The residual, and the larger share: of what the last curve bends and was clamped, of curves at ±1."""
        found = self.curves(images).float()
        *curves, last = found.chunk(NUM_CURVES, dim=1)
        bent = images
        for number, curve in enumerate(curves, start=1):
            bent = bent + curve * (bent**2 - bent)
            if number != NUM_CURVES // 2:
                bent = bent.clamp(LOWEST, HIGHEST)
        clamped = (bent.detach() <= LOWEST) | (bent.detach() >= HIGHEST)
        # What lies in [0, 1] never leaves it, so no clamp tells of curves that are all at the end of their own range.
        saturated = torch.maximum(clamped.float().mean(), (found.detach().abs() > SATURATED).float().mean())
        return Added(last * (bent**2 - bent), saturated)

    def curves(self, images: Images) -> Float[Tensor, "n c h w"]:
        """a of every curve, in (-1, 1): three channels each."""
        found = [images]
        for layer in self.layers[:4]:
            found.append(functional.relu(layer(found[-1])))
        _, first, second, third, fourth = found
        fifth = functional.relu(self.layers[4](torch.cat([third, fourth], dim=1)))
        sixth = functional.relu(self.layers[5](torch.cat([second, fifth], dim=1)))
        return torch.tanh(self.last(torch.cat([first, sixth], dim=1)))


class Relit(NamedTuple):
    """An image before and after relighting."""

    normalized: Images
    """As relighting sees it."""
    images: Images
    """Relit, raw: 0…255 but for what leaves that range."""
    residual: Images
    """What was added, in normalized units."""
    saturated: Float[Tensor, ""]
    """See ``Added``."""


class RelitSegmenter(Segmenter):
    """A segmenter that relights every image first; its state dict is the segmenter's and ``relighting.*``."""

    relighting_mean: Tensor
    relighting_std: Tensor

    def __init__(self, segmenter: Segmenter, relighting: nn.Module) -> None:
        super().__init__(segmenter.network)
        for name, value in segmenter.named_buffers(recurse=False):  # Its normalization, and the order of its channels.
            self.register_buffer(name, value)
        self.is_bgr = segmenter.is_bgr
        self.relighting = relighting
        normalization = NORMALIZATIONS["imagenet"]
        for name, values in (("mean", normalization.mean), ("std", normalization.std)):
            self.register_buffer(f"relighting_{name}", torch.tensor(values).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(
        self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits of relit images; arguments as of ``Segmenter``."""
        return super().forward(self.relight(images).images, auxiliary=auxiliary)

    def relight(self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> Relit:
        """Images in 0…255 with what relighting adds."""
        normalized = (images - self.relighting_mean) / self.relighting_std
        residual, saturated = self.relighting(normalized)
        relit = (normalized + residual) * self.relighting_std + self.relighting_mean
        return Relit(normalized, relit, residual, saturated)

    def segment(
        self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits of images as they are."""
        return super().forward(images, auxiliary=auxiliary)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The encoder's and the relighting's: the release trains all alike."""
        return [*super().encoder_parameters(), *self.relighting.parameters()]


def with_relighting(segmenter: Segmenter, config: RelightingConfig | None) -> Segmenter:
    """``segmenter`` behind a relighting network, randomly initialized; itself where there is none."""
    if config is None or config.kind == "none":
        return segmenter
    return RelitSegmenter(segmenter, RELIGHTINGS[config.kind](config.channels()))


def _normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]


RELIGHTINGS = {"resnet": ResNetRelighting, "curves": CurveRelighting}
"""Kind → network; its argument is the width in channels."""
