"""BiSeNet as its authors released it.

Shape legend: n images, c classes, h height, w width.

Source: Yu et al., BiSeNet; ycszen/TorchSeg, cityscapes.bisenet.R18.
Differs: the authors train it with a loss on hard pixels only (OHEM); the loss is the method's matter here.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.components.configs import NetworkConfig
from trainers.data.label_spaces import NUM_CLASSES
from trainers.networks.blocks import conv_norm_relu, initialize_kaiming, resize
from trainers.networks.encoders import build_encoder

CHANNELS = 128


class AttentionRefinement(nn.Module):
    """A 3×3 convolution, its channels weighed by their global means."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convolution = conv_norm_relu(inputs, CHANNELS, 3)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.Sigmoid(),
        )

    def forward(self, features: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n d h w"]:
        """128 channels of the same size."""
        refined = self.convolution(features)
        return refined * self.attention(refined)


class FeatureFusion(nn.Module):
    """Joins both paths by a 1×1 convolution, and attention over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fusion = conv_norm_relu(channels, channels, 1)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """The fused features plus themselves weighed."""
        fused = self.fusion(features)
        return fused + fused * self.attention(fused)


def head(inputs: int, inner: int) -> nn.Sequential:
    """A 3×3 convolution to ``inner`` channels and the classifier."""
    return nn.Sequential(conv_norm_relu(inputs, inner, 3), nn.Conv2d(inner, NUM_CLASSES, 1))


class BiSeNetOriginal(nn.Module):
    """A spatial path at stride 8; a context path refined from stride 32 to 8; auxiliary heads at strides 16 and 8."""

    has_auxiliary = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder, channels = build_encoder(config, output_stride=32)
        at_16, at_32 = channels[4:]
        self.spatial_path = nn.Sequential(
            conv_norm_relu(3, 64, 7, stride=2),
            conv_norm_relu(64, 64, 3, stride=2),
            conv_norm_relu(64, 64, 3, stride=2),
            conv_norm_relu(64, CHANNELS, 1),
        )
        self.global_context = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm_relu(at_32, CHANNELS, 1))
        self.attention_16, self.attention_32 = AttentionRefinement(at_16), AttentionRefinement(at_32)
        self.refinement_16, self.refinement_8 = (
            conv_norm_relu(CHANNELS, CHANNELS, 3),
            conv_norm_relu(CHANNELS, CHANNELS, 3),
        )
        self.fusion = FeatureFusion(2 * CHANNELS)
        self.classifier = head(2 * CHANNELS, 64)
        self.auxiliary_16, self.auxiliary_8 = head(CHANNELS, 256), head(CHANNELS, 256)
        initialize_kaiming(module for name, module in self.named_children() if name != "encoder")

    def forward(
        self, images: Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits; with ``auxiliary`` those of the heads at strides 16 and 8 after them."""
        spatial = self.spatial_path(images)
        features_16, features_32 = self.encoder(images)[4:]
        context = self.attention_32(features_32) + self.global_context(features_32)
        context_16 = self.refinement_16(resize(context, features_16, align_corners=True))
        context = self.attention_16(features_16) + context_16
        context_8 = self.refinement_8(resize(context, spatial, align_corners=True))
        logits = [self.classifier(self.fusion(torch.cat([spatial, context_8], dim=1)))]
        if auxiliary:
            logits += [self.auxiliary_16(context_16), self.auxiliary_8(context_8)]
        resized = tuple(resize(one, images, align_corners=True) for one in logits)
        return resized if auxiliary else resized[0]
