"""PSPNet: a ResNet at stride 8, pooled over grids of four sizes; an auxiliary head on the stage before the last.

Shape legend: n images, c classes, h height, w width.

Source: Zhao et al., Pyramid Scene Parsing Network; hszhao/semseg.
Differs: a plain ResNet by default; with the encoder ``tu-resnet50s`` or ``tu-resnet101s``, which have the released
    code's deep stem, features are equal to its (``encoders`` dilates the first block of a stage too; timm does not).
    Any size is taken; theirs must be 1 more than a multiple of 8.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trainers.components.configs import NetworkConfig
from trainers.data.label_spaces import NUM_CLASSES
from trainers.networks.blocks import conv_norm_relu, resize
from trainers.networks.encoders import build_encoder

GRIDS = (1, 2, 3, 6)
DEFAULT_DROPOUT = 0.1


def head(inputs: int, inner: int, dropout: float) -> nn.Sequential:
    """A 3×3 convolution to ``inner`` channels, dropout of whole channels, and the classifier."""
    return nn.Sequential(conv_norm_relu(inputs, inner, 3), nn.Dropout2d(dropout), nn.Conv2d(inner, NUM_CLASSES, 1))


class PSPNet(nn.Module):
    """The mean of the whole image is batch-normalized, so one image alone cannot be trained on."""

    has_auxiliary = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder, channels = build_encoder(config, output_stride=8)
        before_last, last = channels[4:]
        dropout = DEFAULT_DROPOUT if config.dropout is None else config.dropout
        self.pyramid = nn.ModuleList(conv_norm_relu(last, last // len(GRIDS), 1) for _ in GRIDS)
        self.classifier = head(last + last // len(GRIDS) * len(GRIDS), 512, dropout)
        self.auxiliary = head(before_last, 256, dropout)

    def forward(
        self, images: Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits; with ``auxiliary`` those of the head on the stage before the last after them."""
        before_last, last = self.encoder(images)[4:]
        pooled = [last]
        for grid, convolution in zip(GRIDS, self.pyramid, strict=True):
            level = convolution(functional.adaptive_avg_pool2d(last, grid))
            pooled.append(resize(level, last, align_corners=True))
        logits = resize(self.classifier(torch.cat(pooled, dim=1)), images, align_corners=True)
        if not auxiliary:
            return logits
        return logits, resize(self.auxiliary(before_last), images, align_corners=True)
