"""Building blocks that several networks share.

Shape legend: n images, c channels, h height, w width.
"""

from collections.abc import Iterable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def conv_norm_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, padded to keep the size at stride 1; batch norm; ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resize(
    features: Float[Tensor, "n c _ _"], like: Float[Tensor, "n _ h w"], *, align_corners: bool = False
) -> Float[Tensor, "n c h w"]:
    """Bilinear, to the height and width of ``like``."""
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=align_corners)


def initialize_kaiming(modules: Iterable[nn.Module], *, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """He's normal initialization of every convolution in ``modules``; biases start at 0.

    Source: He et al., Delving Deep into Rectifiers.
    """
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode=mode, nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
