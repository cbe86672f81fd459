"""Segmentation networks by name, with the normalization that their weights were trained with.

Shape legend: n images, c = 19 classes, h height, w width.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from textwrap import shorten

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trainers.components.configs import NetworkConfig
from trainers.components.networks import DILATED, DROPOUT_OPTIONS, NORMALIZATIONS, Normalization
from trainers.data.label_spaces import NUM_CLASSES
from trainers.errors import MethodWarning, UserError
from trainers.networks.bisenet import BiSeNet
from trainers.networks.bisenet_original import BiSeNetOriginal
from trainers.networks.deeplabv2 import DeepLabV2
from trainers.networks.encoders import dilate_whole_stages, stride_in_first_convolution, without_values
from trainers.networks.panoptic_fpn import PanopticFPN
from trainers.networks.pspnet import PSPNet
from trainers.networks.weights import check_encoder, load_weights

MIN_PIXELS = 32
"""Smallest side: the deepest features of an encoder have one cell there."""

LEAST_PIXELS = {"PAN": 128}
"""Architecture → its smallest side, where that is larger: PAN halves its features, at stride 16, three times more."""


class Segmenter(nn.Module):
    """Raw images in, logits at the input's size out; normalization is part of the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalization: Normalization = NORMALIZATIONS["imagenet"]) -> None:
        super().__init__()
        self.network = network
        self.is_bgr = normalization.is_bgr
        self.set_normalization(normalization.mean, normalization.std)
        if self.is_bgr:  # Saved with the weights, so that they cannot be loaded where channels have another order.
            self.register_buffer("bgr", torch.tensor(1))

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Mean and standard deviation of red, green and blue in [0, 1]; they are saved with the weights."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(
        self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], *, auxiliary: bool = False
    ) -> Float[Tensor, "n c h w"] | tuple[Float[Tensor, "n c h w"], ...]:
        """Logits of images in 0…255 (RGB).

        With ``auxiliary`` a tuple: after the logits those of each auxiliary head, if there are any.

        Raises:
            UserError: in training mode, one image whose features are pooled to one cell before a batch norm.
        """
        normalized = self.normalize(images)
        try:
            if not auxiliary:
                return self.network(normalized)
            if getattr(self.network, "has_auxiliary", False):
                return self.network(normalized, auxiliary=True)
            return (self.network(normalized),)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"{type(self.network).__name__} cannot train on one image of {images.shape[-2]}×{images.shape[-1]}: a "
                f"batch norm sees one value per channel there; use two images or more per worker, or batch_norm frozen"
            ) from error

    def normalize(self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """What the network itself takes, from images in 0…255 (RGB)."""
        normalized = (images - self.mean) / self.std
        return normalized.flip(1) if self.is_bgr else normalized

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that train at the base learning rate."""
        return list(self.network.encoder.parameters())  # type: ignore[union-attr]

    def head_parameters(self) -> list[nn.Parameter]:
        """All others: decoder and classifier."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]


@cache
def network_stride(config: NetworkConfig) -> int:
    """What height and width must be multiples of; 1 where any size is taken. Networks of ours take any."""
    if config.architecture in NETWORKS:
        return 1
    return int(shapes_alone(config).network.encoder.output_stride)  # type: ignore[union-attr, arg-type]


def check_network(config: NetworkConfig, *, height: int, width: int) -> None:
    """Refuse an unknown encoder, weights that nobody has, and a size that the network cannot take.

    Raises:
        UserError: with the nearest names or sizes.
    """
    check_encoder(config)
    config.content()  # A weights file that does not exist.
    check_size(config, height=height, width=width)
    if config.weights != "none" or config.architecture in NETWORKS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MethodWarning)  # The stage itself says what it leaves out.
            build_segmenter(
                config, pretrained=True
            )  # What cannot be built, downloaded or loaded, before anything starts.


def check_size(config: NetworkConfig, *, height: int, width: int) -> None:
    """Refuse a side that does not divide by the network's stride, or is too small for any, or that it fails on.

    Raises:
        UserError: with the nearest size that would do. Nothing is computed: the network runs on shapes alone.
    """
    stride, least = network_stride(config), LEAST_PIXELS.get(config.architecture, MIN_PIXELS)
    for name, pixels in (("height", height), ("width", width)):
        if pixels % stride or pixels < least:
            fits = max(-(-least // stride) * stride, round(pixels / stride) * stride)
            why = f"not a multiple of {stride}, the network's stride" if pixels % stride else f"less than {least}"
            raise UserError(f"{name} {pixels} is {why}; the nearest is {fits}")
    failure = failure_at(config, height, width)
    if failure is None:
        return
    nearest_side = -(-max(height, width) // stride) * stride
    sides = [side for side in dict.fromkeys((nearest_side, *OTHER_SIDES)) if side % stride == 0]
    fitting = next((side for side in sides if failure_at(config, side, side) is None), None)
    remedy = f"{fitting}×{fitting} would do"
    if fitting is None:
        example = ", such as tu-vit_small_patch16_224" if config.architecture == "DPT" else ""
        remedy = f"nor of {', '.join(map(str, sides))} a side; take another encoder{example}"
    raise UserError(
        f"{config.architecture} on {config.encoder} cannot take images of {height}×{width} ({failure}); {remedy}"
    )


OTHER_SIDES = (224, 256, 384, 448, 512, 518)
"""Sides of squares that are tried where a network fails: what transformers are trained at."""


@cache
def shapes_alone(config: NetworkConfig) -> Segmenter:
    """The network on the meta device: it takes no memory, and no random number is drawn."""
    return without_values(lambda: build_segmenter(config, pretrained=False)).eval()


@cache
def failure_at(config: NetworkConfig, height: int, width: int) -> str | None:
    """Why one image of this size does not pass through the network, in one line; ``None`` where it does."""
    try:
        logits = _pass(shapes_alone(config), height, width, device="meta")
    except UserError:
        raise  # It cannot be built at any size, and the message names the cure.
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
        if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
            return shorten(str(error), 120)
        with torch.random.fork_rng(devices=[]):  # It asks for values: it gets some.
            segmenter = build_segmenter(config, pretrained=False).eval()
        try:
            logits = _pass(segmenter, height, width, device="cpu")
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as actual:
            return shorten(str(actual), 120)
    sizes = {tuple(one.shape[-2:]) for one in logits}
    return None if sizes == {(height, width)} else f"its logits have the size {'×'.join(map(str, min(sizes)))}"


@torch.no_grad()
def _pass(segmenter: Segmenter, height: int, width: int, *, device: str) -> tuple[Tensor, ...]:
    logits: tuple[Tensor, ...] = segmenter(torch.zeros(1, 3, height, width, device=device), auxiliary=True)
    return logits


def check_single_image(config: NetworkConfig, *, height: int, width: int) -> None:
    """Refuse training on one image per worker where a batch norm sees one value per channel.

    Raises:
        UserError: with the fix. Nothing is computed: the network runs on shapes alone.
    """
    segmenter = without_values(lambda: build_segmenter(config, pretrained=False)).train()
    segmenter(torch.empty(1, 3, height, width, device="meta"), auxiliary=True)


def build_segmenter(config: NetworkConfig, *, pretrained: bool) -> Segmenter:
    """The network, randomly initialized from torch's global seed, or with the weights of ``config``.

    Without ``pretrained`` no weights are read: the caller loads a checkpoint, which holds the normalization too.
    Named weights bring their own; for all others it is that of ``config.family()``.
    """
    build = NETWORKS.get(config.architecture, _library_network)
    segmenter = Segmenter(build(config), config.normalized())
    if pretrained and config.weights != "none":
        load_weights(segmenter, config)
    return segmenter


def _library_network(config: NetworkConfig) -> nn.Module:
    """A network of segmentation-models-pytorch."""
    import segmentation_models_pytorch as smp

    options: dict[str, object] = {}
    if config.dropout is not None:
        options[DROPOUT_OPTIONS[config.architecture]] = config.dropout
    if config.rates is not None:
        options["decoder_atrous_rates"] = config.rates
    if config.architecture == "DPT":
        options["dynamic_img_size"] = True  # Else its vision transformer takes the size of its weights' images alone.
    try:
        network: nn.Module = smp.create_model(
            config.architecture, config.encoder, encoder_weights=None, classes=NUM_CLASSES, **options
        )
    except (ValueError, RuntimeError, TypeError) as error:  # Not every decoder takes every encoder.
        why = " ".join(str(error).split())
        raise UserError(f"{config.architecture} and {config.encoder} do not go together: {why}") from error
    if config.architecture == "PSPNet":  # Its encoder ends at stride 8; the library keeps the stages behind it.
        for stage in ("layer3", "layer4"):
            getattr(network.encoder, stage, nn.Identity()).requires_grad_(False)
    if config.architecture == "DPT":  # It reads blocks of a transformer, whose last norm and classifier stay behind.
        for part in ("norm", "head"):
            getattr(network.encoder.model, part, nn.Identity()).requires_grad_(False)  # type: ignore[union-attr]
    if config.architecture in DILATED:
        stride: int = network.encoder.output_stride  # type: ignore[assignment, union-attr]
        dilate_whole_stages(network.encoder, config.encoder, output_stride=stride)  # type: ignore[arg-type]
    if config.family() == "caffe":
        stride_in_first_convolution(network.encoder)  # type: ignore[arg-type]
    return network


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep running statistics and affine parameters of every batch norm as they are, also in training mode."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.requires_grad_(False)


def freeze_affine(segmenter: nn.Module) -> None:
    """Keep scales and shifts of the batch norms of a segmenter's encoder as they are; statistics stay the batch's."""
    for module in segmenter.network.encoder.modules():  # type: ignore[union-attr]
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)


NETWORKS: dict[str, Callable[[NetworkConfig], nn.Module]] = {
    "bisenet": BiSeNet,
    "bisenet_original": BiSeNetOriginal,
    "deeplabv2": DeepLabV2,
    "panoptic_fpn": PanopticFPN,
    "pspnet": PSPNet,
}
"""Our own networks; every other name is segmentation-models-pytorch's. One that has auxiliary heads says
``has_auxiliary`` and returns their logits behind its own when called with ``auxiliary=True``."""
