"""Encoders of segmentation-models-pytorch: dilated as the released networks are, and with strides where Caffe has them.

Source: Chen et al., DeepLab; Zhao et al., PSPNet; hszhao/semseg, model/pspnet.py; vikolss/DACS, model/deeplabv2.py:
    every 3×3 convolution of a stage that loses its stride dilates alike, that of its first block too.
Differs: encoders other than ResNets, which these do not have, are dilated by the same rule; even kernels, which merge
    patches, keep theirs.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import segmentation_models_pytorch as smp
import timm.models.resnet
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from trainers.components.configs import NetworkConfig
from trainers.errors import UserError

IMAGENET_CLASSES = 1000

DEEPEST_STRIDE = 32
"""Of an encoder without dilation."""

PROBED_PIXELS = 256
"""Side of the image without values that is passed through an encoder to see its strides."""

Network = TypeVar("Network", bound=nn.Module)


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
    if output_stride < DEEPEST_STRIDE:
        dilate_whole_stages(encoder, config.encoder, output_stride=output_stride)
    channels = list(encoder.out_channels)
    if len(channels) != 6 or 0 in channels[2:]:
        raise _refusal(config, output_stride, f"its features have {channels} channels")
    if config.family() == "caffe":
        stride_in_first_convolution(encoder)
    return encoder, channels


def dilate_whole_stages(encoder: nn.Module, name: str, *, output_stride: int) -> None:
    """Dilate each convolution of ``encoder`` by what its stage's stride exceeds ``output_stride``, times its own.

    timm leaves the first block of a stage at the dilation of the stage before; segmentation-models-pytorch gives the
    paths of a selective kernel, which have dilations 1 and 2, the same one.
    """
    strides, dilations = _convolutions(name)
    for path, convolution in encoder.named_modules():
        if path not in strides or not isinstance(convolution, nn.Conv2d) or convolution.kernel_size[0] % 2 == 0:
            continue
        rate = max(1, strides[path] // output_stride)
        dilation = tuple(rate * own for own in dilations[path])
        if convolution.kernel_size[0] == 1 or convolution.dilation == dilation:
            continue
        convolution.dilation = dilation
        if convolution.padding != (0, 0):  # timm's `same` convolutions pad by what they find.
            convolution.padding = tuple(
                step * (side // 2) for step, side in zip(dilation, convolution.kernel_size, strict=True)
            )


@cache
def _convolutions(name: str) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Path of each convolution in the encoder without dilation → the stride of its output, and its own dilation."""
    encoder = without_values(lambda: smp.encoders.get_encoder(name, weights=None)).eval()
    strides: dict[str, int] = {}

    def remember(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, images, features: strides.update({path: PROBED_PIXELS // features.shape[-1]})

    convolutions = {path: module for path, module in encoder.named_modules() if isinstance(module, nn.Conv2d)}
    for path, convolution in convolutions.items():
        convolution.register_forward_hook(remember(path))
    encoder(torch.empty(1, 3, PROBED_PIXELS, PROBED_PIXELS, device="meta"))
    return strides, {path: convolution.dilation for path, convolution in convolutions.items()}


def without_values(build: Callable[[], Network]) -> Network:
    """The network that ``build`` makes, on the meta device: shapes alone. No random number is drawn."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build().to("meta")
        except (RuntimeError, NotImplementedError, UserError):  # Some compute with values as they are built.
            return build().to("meta")


def caffe_pooling(encoder: nn.Module) -> None:
    """Let a ResNet's first pooling round its output's size up, as Caffe does."""
    for part in (encoder, getattr(encoder, "model", None)):  # The library wraps timm's networks.
        pooling = getattr(part, "maxpool", None)
        if isinstance(pooling, nn.MaxPool2d):
            pooling.ceil_mode = True


def stride_in_first_convolution(encoder: nn.Module) -> None:
    """Move the stride of a ResNet's bottlenecks from the 3×3 convolution into the first 1×1, as Caffe's have it."""
    for block in encoder.modules():
        if isinstance(block, (Bottleneck, timm.models.resnet.Bottleneck)):
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
