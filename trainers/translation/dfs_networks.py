"""The networks of DFS: pix2pix's U-Net, and its discriminator of image pairs.

Shape legend: n images, k channels, h height, w width, (y, x) cells of a patch map.

Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, appendix 6.1;
    junyanz/pytorch-CycleGAN-and-pix2pix, models/networks.py (``unet_256``, ``basic``), for biases and initialization.
Differs: no dropout, which the release of DFS switches off. Its own networks are not part of what is published.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.translation.dfs_config import PatchConfig, UNetConfig
from trainers.translation.discriminators import initialize_small


class UNet(nn.Module):
    """Hazy images → clear ones, both in [-1, 1]; sides are multiples of the config's ``stride()``.

    With ``depth`` 8 every cell of the innermost map has seen 256×256 pixels.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = [config.width * min(2**level, 8) for level in range(config.depth)]
        inputs = [3, *widths[:-1]]
        inner = range(1, config.depth - 1)  # The outermost and the innermost map are not normalized on the way down.
        self.down = nn.ModuleList(
            nn.Sequential(
                *([nn.LeakyReLU(0.2)] if level else []),
                nn.Conv2d(inputs[level], widths[level], 4, stride=2, padding=1, bias=False),
                *([nn.BatchNorm2d(widths[level])] if level in inner else []),
            )
            for level in range(config.depth)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.ConvTranspose2d(
                    # Beside what comes from below stands the map of this level from the way down.
                    widths[level] * (1 if level == config.depth - 1 else 2),
                    widths[level - 1] if level else 3,
                    4,
                    stride=2,
                    padding=1,
                    bias=level == 0,
                ),
                nn.BatchNorm2d(widths[level - 1]) if level else nn.Tanh(),
            )
            for level in reversed(range(config.depth))
        )
        self.apply(initialize)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The same size."""
        features, passed = images, []
        for down in self.down:
            features = down(features)
            passed.append(features)
        features = passed.pop()
        for number, up in enumerate(self.up):
            features = up(features if number == 0 else torch.cat([passed.pop(), features], dim=1))
        return features


class PairDiscriminator(nn.Module):
    """Judges patches of two images together: is the second the clear image of the first?"""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, config.width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = config.width
        for level in range(1, config.layers + 1):
            wider = config.width * min(2**level, 8)
            stride = 2 if level < config.layers else 1
            layers += [nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            width = wider
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, padding=1))
        self.apply(initialize)

    def forward(self, hazy: Float[Tensor, "n 3 h w"], clear: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 _ _"]:
        """A logit for each patch: above 0 where ``clear`` passes for the real one."""
        judged: Tensor = self.layers(torch.cat([hazy, clear], dim=1))
        return judged


def initialize(module: nn.Module) -> None:
    """Weights from N(0, 0.02), scales of batch norms from N(1, 0.02), no bias."""
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
    else:
        initialize_small(module)
