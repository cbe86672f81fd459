"""Segmentation networks by name, with the normalization that their weights were trained with.

Shape legend: n images, c = 19 classes, h height, w width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trainers.checkpoint import load_state
from trainers.components.configs import DROPOUT_OPTIONS, NetworkConfig
from trainers.data.label_spaces import NUM_CLASSES
from trainers.errors import UserError, nearest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """Raw images in, logits at the input's size out; normalization is part of the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.set_normalization(IMAGENET_MEAN, IMAGENET_STD)

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Mean and standard deviation of red, green and blue in [0, 1]; they are saved with the weights."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Logits of images in 0…255 (RGB)."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that train at the base learning rate."""
        return list(self.network.encoder.parameters())  # type: ignore[union-attr]

    def head_parameters(self) -> list[nn.Parameter]:
        """All others: decoder and classifier."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]


def check_network(config: NetworkConfig, *, height: int, width: int) -> None:
    """Refuse an unknown encoder, weights that nobody has, and a size that the network cannot take.

    Raises:
        UserError: with the nearest names or sizes.
    """
    from segmentation_models_pytorch.encoders import encoders

    if config.encoder.startswith("tu-"):
        import timm

        if not timm.is_model(config.encoder[3:]):
            known = [f"tu-{name}" for name in timm.list_models()]
            raise UserError(f"unknown timm encoder {config.encoder!r}: {nearest(config.encoder, known)}")
    elif config.encoder not in encoders:
        raise UserError(f"unknown encoder {config.encoder!r}: {nearest(config.encoder, encoders)}")
    elif config.weights != "none" and config.weights_file() is None:
        known = encoders[config.encoder]["pretrained_settings"]
        if config.weights not in known:
            raise UserError(
                f"unknown weights {config.weights!r} of encoder {config.encoder}: {nearest(config.weights, known)}; "
                "or `none`, or the path of a .pth file"
            )
    config.content()  # A weights file that does not exist.
    check_size("height", height)
    check_size("width", width)
    if config.weights != "none":
        build_segmenter(config, pretrained=True)  # What cannot be downloaded or does not fit, before anything starts.


def check_size(name: str, pixels: int) -> None:
    """Refuse a side that does not divide by the networks' stride."""
    if pixels % 32:
        fits = max(32, round(pixels / 32) * 32)
        raise UserError(f"{name} {pixels} is not a multiple of 32, the network's stride; the nearest is {fits}")


def build_segmenter(config: NetworkConfig, *, pretrained: bool) -> Segmenter:
    """The network, randomly initialized from torch's global seed, or with the weights of ``config``.

    Without ``pretrained`` no weights are read: the caller loads a checkpoint, which holds the normalization too.
    Named weights bring their own; for all others it is ImageNet's.
    """
    import segmentation_models_pytorch as smp

    options = {} if config.dropout is None else {DROPOUT_OPTIONS[config.architecture]: config.dropout}
    try:
        network = smp.create_model(
            config.architecture, config.encoder, encoder_weights=None, classes=NUM_CLASSES, **options
        )
    except ValueError as error:  # Not every decoder takes every encoder.
        raise UserError(f"{config.architecture} and {config.encoder} do not go together: {error}") from error
    segmenter = Segmenter(network)
    if pretrained and config.weights != "none":
        _load_weights(segmenter, config)
    return segmenter


def _load_weights(segmenter: Segmenter, config: NetworkConfig) -> None:
    path = config.weights_file()
    encoder: nn.Module = segmenter.network.encoder  # type: ignore[assignment]
    if path is None:
        weights, images = _download(config)
        if images["input_space"] != "RGB" or images["input_range"] != [0, 1]:
            raise UserError(
                f"the weights {config.weights!r} of {config.encoder} expect {images['input_space']} images in "
                f"{images['input_range']}, and this loader gives RGB in [0, 1]; take other weights"
            )
        encoder.load_state_dict(weights)
        segmenter.set_normalization(images["mean"], images["std"])
        return
    state = load_state(path)
    state = state.get("weights", state)
    for module in (segmenter, segmenter.network, encoder):
        if set(module.state_dict()) <= set(state) and isinstance(module, nn.Module):
            try:
                module.load_state_dict({name: state[name] for name in module.state_dict()})
            except RuntimeError as error:
                shapes = str(error).splitlines()[1].strip()
                raise UserError(f"{path} does not fit {config.architecture}-{config.encoder}: {shapes}") from error
            return
    missing = sorted(set(encoder.state_dict()) - set(state))
    raise UserError(
        f"{path} holds neither the encoder {config.encoder} nor the whole {config.architecture}: "
        f"{len(missing)} tensors are missing, the first is {missing[0]!r}"
    )


def _download(config: NetworkConfig) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The encoder's named weights from the hub or its cache, and the images that they expect."""
    import segmentation_models_pytorch as smp

    try:
        encoder = smp.encoders.get_encoder(config.encoder, weights=config.weights)
        images: dict[str, Any] = smp.encoders.get_preprocessing_params(config.encoder, config.weights)
    except (OSError, RuntimeError) as error:  # No network, no cache, no space: hub errors are OSErrors.
        raise UserError(
            f"the weights {config.weights!r} of {config.encoder} could not be downloaded ({type(error).__name__}); "
            f"set network.weights to the path of a file with the encoder's state dict, such as "
            f"{config.encoder}.pth, or to none for a random start"
        ) from error
    return encoder.state_dict(), images


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep running statistics and affine parameters of every batch norm as they are, also in training mode."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.requires_grad_(False)
