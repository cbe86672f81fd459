"""Encoders of segmentation-models-pytorch for our own decoders: dilated, and with strides where Caffe has them."""

import segmentation_models_pytorch as smp
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from trainers.components.configs import NetworkConfig
from trainers.errors import UserError

IMAGENET_CLASSES = 1000


def build_encoder(config: NetworkConfig, *, output_stride: int) -> tuple[nn.Module, list[int]]:
    """The encoder, randomly initialized, and the channels of its features at strides 1 to 32 (0: absent).

    Called with images it gives the list of these features.

    Below ``output_stride`` 32 the deepest stages keep their resolution and dilate their convolutions instead.

    Raises:
        UserError: the encoder cannot be dilated, or has not all of these strides.
    """
    try:
        encoder = smp.encoders.get_encoder(config.encoder, weights=None, output_stride=output_stride)
    except (ValueError, RuntimeError, TypeError) as error:  # Each encoder refuses in its own way.
        raise _refusal(config, output_stride, str(error)) from error
    channels = list(encoder.out_channels)
    if len(channels) != 6 or 0 in channels[2:]:
        raise _refusal(config, output_stride, f"its features have {channels} channels")
    if config.family() == "caffe":
        stride_in_first_convolution(encoder)
    return encoder, channels


def stride_in_first_convolution(encoder: nn.Module) -> None:
    """Move the stride of torchvision's bottlenecks from the 3×3 convolution into the first 1×1, as Caffe's have it."""
    for block in encoder.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def classifier_parameters(encoder: nn.Module) -> int | None:
    """Parameters of the ImageNet classifier that a torchvision ResNet had on top; ``None`` for other encoders."""
    if not isinstance(encoder, ResNet):
        return None
    return (int(encoder.out_channels[-1]) + 1) * IMAGENET_CLASSES


def _refusal(config: NetworkConfig, output_stride: int, why: str) -> UserError:
    return UserError(
        f"{config.architecture} needs an encoder with features at strides 4 to 32, deepest at {output_stride}, and "
        f"{config.encoder} is none ({' '.join(why.split())}); resnet18 to resnet152 are"
    )
