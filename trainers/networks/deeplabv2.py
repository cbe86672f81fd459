"""DeepLabV2: a ResNet at stride 8 and the sum of four dilated classifiers.

Shape legend: n images, c classes, h height, w width.

Source: Chen et al., DeepLab; the structure of wasidennis/AdaptSegNet with all four branches, as FDA and BDL have it.
Differs: AdaptSegNet, DACS, DANNet and Bi-Mix return after the second branch; ``rates: [6, 12]`` asks for that. Dense
    CRF and multi-scale fusion are left out. They keep scales and shifts of batch norms as they were, while
    statistics follow the batches; ``batch_norm: frozen_affine`` asks for that.
"""

from jaxtyping import Float
from torch import Tensor, nn

from trainers.components.configs import NetworkConfig
from trainers.components.networks import DEFAULT_RATES
from trainers.data.label_spaces import NUM_CLASSES
from trainers.networks.blocks import resize
from trainers.networks.encoders import build_encoder, caffe_pooling


class DeepLabV2(nn.Module):
    """No auxiliary head. A ResNet's features have ceil(size / 8) + 1 cells a side, as Caffe's pooling rounds up."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder, channels = build_encoder(config, output_stride=8)
        caffe_pooling(self.encoder)
        self.classifiers = nn.ModuleList(
            nn.Conv2d(channels[-1], NUM_CLASSES, 3, padding=rate, dilation=rate)
            for rate in config.rates or DEFAULT_RATES["deeplabv2"]
        )
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.01)  # type: ignore[arg-type]

    def features_to_logits(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n c h w"]:
        """The sum of all branches, at the features' size."""
        branches = [classifier(features) for classifier in self.classifiers]
        return sum(branches[1:], start=branches[0])

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Logits at the images' size."""
        return resize(self.features_to_logits(self.encoder(images)[-1]), images, align_corners=True)
