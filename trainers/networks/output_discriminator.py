"""A discriminator of segmentations: whether a map of class probabilities is of a source or of a target image.

Shape legend: n images, c classes, h height, w width; (r, k) cells of about a quarter of the side.
"""

from jaxtyping import Float
from torch import Tensor, nn

from trainers.data.label_spaces import NUM_CLASSES

WIDTHS = (1, 2, 4, 4)
STRIDES = (2, 2, 1, 1)
MIN_PIXELS = 16
"""Smallest side that leaves a cell."""


class OutputDiscriminator(nn.Sequential):
    """Five convolutions of 4×4, no norm; one score per cell, 0 for the source and 1 for the target.

    Source: Tsai et al., AdaptSegNet, in the form of W-zx-Y/DANNet, network/discriminator.py: the last two of four
        hidden layers keep the size.
    """

    def __init__(self, width: int = 64) -> None:
        layers: list[nn.Module] = []
        inputs = NUM_CLASSES
        for factor, stride in zip(WIDTHS, STRIDES, strict=True):
            layers += [nn.Conv2d(inputs, factor * width, 4, stride=stride, padding=1), nn.LeakyReLU(0.2, inplace=True)]
            inputs = factor * width
        super().__init__(*layers, nn.Conv2d(inputs, 1, 4, padding=1))

    def forward(self, probabilities: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 r k"]:
        """Scores of softmax maps."""
        scores: Tensor = super().forward(probabilities)
        return scores
