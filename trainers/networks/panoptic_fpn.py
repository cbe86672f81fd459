"""The semantic branch of Panoptic FPN.

Shape legend: n images, c classes, h height, w width, d channels.

Source: Kirillov et al., Panoptic Feature Pyramid Networks; facebookresearch/detectron2, ``SemSegFPNHead`` and ``FPN``.
Differs: only the semantic branch. segmentation-models-pytorch's ``FPN`` has no 3×3 convolution behind the pyramid's
    sums, has dropout, and aligns corners.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trainers.components.configs import NetworkConfig
from trainers.data.label_spaces import NUM_CLASSES
from trainers.networks.blocks import initialize_kaiming, resize
from trainers.networks.encoders import build_encoder

PYRAMID_CHANNELS, BRANCH_CHANNELS, GROUPS = 256, 128, 32
UPSAMPLINGS = (0, 1, 2, 3)
"""Doublings from the strides 4, 8, 16 and 32 to stride 4; a level that has none still has one convolution."""


def branch_convolution(inputs: int) -> nn.Sequential:
    """A 3×3 convolution with group norm."""
    convolution = nn.Conv2d(inputs, BRANCH_CHANNELS, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, BRANCH_CHANNELS), nn.ReLU(inplace=True))


class PanopticFPN(nn.Module):
    """A feature pyramid of 256 channels; every level is brought to stride 4 and summed."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder, channels = build_encoder(config, output_stride=32)
        self.laterals = nn.ModuleList(nn.Conv2d(stage, PYRAMID_CHANNELS, 1) for stage in channels[2:])
        self.outputs = nn.ModuleList(nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, padding=1) for _ in channels[2:])
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    branch_convolution(BRANCH_CHANNELS if number else PYRAMID_CHANNELS)
                    for number in range(max(1, upsamplings))
                )
            )
            for upsamplings in UPSAMPLINGS
        )
        self.classifier = nn.Conv2d(BRANCH_CHANNELS, NUM_CLASSES, 1)
        initialize_kaiming([self.branches, self.classifier], mode="fan_out")
        for convolution in [*self.laterals.modules(), *self.outputs.modules()]:
            if isinstance(convolution, nn.Conv2d) and convolution.bias is not None:
                nn.init.kaiming_uniform_(convolution.weight, a=1)
                nn.init.zeros_(convolution.bias)

    def pyramid(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n d _ _"]]:
        """Features at strides 4, 8, 16 and 32: each stage plus the coarser sum, smoothed by a 3×3 convolution."""
        stages = self.encoder(images)[2:]
        sums = [self.laterals[-1](stages[-1])]
        for lateral, stage in zip(reversed(self.laterals[:-1]), reversed(stages[:-1]), strict=True):
            fine = lateral(stage)
            sums.insert(0, fine + functional.interpolate(sums[0], size=fine.shape[-2:], mode="nearest"))
        return [output(level) for output, level in zip(self.outputs, sums, strict=True)]

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Logits at the images' size."""
        levels = self.pyramid(images)
        merged = self.branches[0](levels[0])
        for number, branch in list(enumerate(self.branches))[1:]:
            features = levels[number]
            for step, convolution in enumerate(branch.children()):
                features = resize(convolution(features), levels[number - 1 - step])
            merged = merged + features
        return resize(self.classifier(merged), images)
