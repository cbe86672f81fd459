"""BiSeNet as the GTA5 → Cityscapes report uses it.

Shape legend: n images, c classes, h height, w width.

Source: Yu et al., BiSeNet, in the variant of taveraantonio/BiseNetv1, whose parameters and operations are those of the
    report. Differs from the paper: a wider spatial path, attention without the 3×3 convolutions, fusion straight to
    the classes (``bisenet_original`` is the paper's).
Differs: the report counts the classifier of the ImageNet ResNet, which nothing uses and we do not build; the last
    upsampling goes to the input's size instead of × 8, which is the same where 8 divides it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trainers.components.configs import NetworkConfig
from trainers.data.label_spaces import NUM_CLASSES
from trainers.networks.blocks import conv_norm_relu, initialize_kaiming, resize
from trainers.networks.encoders import build_encoder


class AttentionRefinement(nn.Module):
    """Weighs channels by a batch-normalized 1×1 convolution of their global means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """The features, each channel times its weight in [0, 1]."""
        pooled = functional.adaptive_avg_pool2d(features, 1)
        return features * torch.sigmoid(self.norm(self.convolution(pooled)))


class FeatureFusion(nn.Module):
    """Joins both paths: a 3×3 convolution to the classes, and attention over them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fusion = conv_norm_relu(channels, NUM_CLASSES, 3)
        self.squeeze = nn.Conv2d(NUM_CLASSES, NUM_CLASSES, 1)
        self.excite = nn.Conv2d(NUM_CLASSES, NUM_CLASSES, 1)

    def forward(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c h w"]:
        """The fused features plus themselves weighed."""
        fused = self.fusion(features)
        pooled = functional.adaptive_avg_pool2d(fused, 1)
        return fused * torch.sigmoid(self.excite(functional.relu(self.squeeze(pooled)))) + fused


class BiSeNet(nn.Module):
    """A spatial path at stride 8 beside a context path, the encoder; two auxiliary heads on the context path."""

    has_auxiliary = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder, channels = build_encoder(config, output_stride=32)
        at_16, at_32 = channels[4:]
        self.spatial_path = nn.Sequential(
            conv_norm_relu(3, 64, 3, stride=2),
            conv_norm_relu(64, 128, 3, stride=2),
            conv_norm_relu(128, 256, 3, stride=2),
        )
        self.attention_16, self.attention_32 = AttentionRefinement(at_16), AttentionRefinement(at_32)
        self.auxiliary_16, self.auxiliary_32 = nn.Conv2d(at_16, NUM_CLASSES, 1), nn.Conv2d(at_32, NUM_CLASSES, 1)
        self.fusion = FeatureFusion(256 + at_16 + at_32)
        self.classifier = nn.Conv2d(NUM_CLASSES, NUM_CLASSES, 1)
        initialize_kaiming(module for name, module in self.named_children() if name != "encoder")

    def forward(
        self, images: Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits; with ``auxiliary`` those of the heads at strides 16 and 32 after them."""
        spatial = self.spatial_path(images)
        features_16, features_32 = self.encoder(images)[4:]
        tail = features_32.mean(dim=(2, 3), keepdim=True)
        context_16 = resize(self.attention_16(features_16), spatial)
        context_32 = resize(self.attention_32(features_32) * tail, spatial)
        fused = self.fusion(torch.cat([spatial, context_16, context_32], dim=1))
        logits = self.classifier(resize(fused, images))
        if not auxiliary:
            return logits
        heads = (self.auxiliary_16(context_16), self.auxiliary_32(context_32))
        return logits, *(resize(head, images) for head in heads)
