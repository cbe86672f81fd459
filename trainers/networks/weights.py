"""Pretrained weights: by name from segmentation-models-pytorch, torchvision or timm, or from a file."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trainers.components.configs import NetworkConfig
from trainers.errors import UserError, nearest
from trainers.networks.weight_files import CLASSIFIERS, load, load_file


def check_encoder(config: NetworkConfig) -> None:
    """Refuse an unknown timm encoder, and weights that nobody has for the encoder.

    Raises:
        UserError: with the nearest names.
    """
    if config.encoder.startswith("tu-"):
        import timm

        if not timm.is_model(config.encoder[3:]):
            models = [f"tu-{name}" for name in timm.list_models()]
            raise UserError(f"unknown timm encoder {config.encoder!r}: {nearest(config.encoder, models)}")
    if config.has_named_weights() and config.weights not in (known := known_weights(config.encoder)):
        raise UserError(
            f"unknown weights {config.weights!r} of encoder {config.encoder}: {nearest(config.weights, known)}; "
            "or `none`, or the path of a .pth file"
        )


def known_weights(encoder: str) -> list[str]:
    """Names of weights that exist for ``encoder``; for timm ``imagenet`` (its default) and the tags of its model."""
    from segmentation_models_pytorch.encoders import encoders

    if encoder.startswith("tu-"):
        import timm

        name, _, tag = encoder[3:].partition(".")
        tags = [tag] if tag else [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
        return ["imagenet", *filter(None, tags)] if tags else []
    return [*encoders[encoder]["pretrained_settings"], *_torchvision_weights(encoder)]


def load_weights(segmenter: nn.Module, config: NetworkConfig) -> None:
    """Load the weights of ``config`` into a ``Segmenter``.

    Raises:
        UserError: they cannot be had, expect other images, or do not fit; names tensors.
    """
    path = config.weights_file()
    if path is not None:
        load_file(segmenter, config, path)
        return
    state, images = _download(config)
    if images["input_space"] != "RGB" or images["input_range"] != [0, 1]:
        raise UserError(
            f"the weights {config.weights!r} of {config.encoder} expect {images['input_space']} images in "
            f"{images['input_range']}, and this loader gives RGB in [0, 1]; take other weights"
        )
    encoder: nn.Module = segmenter.network.encoder  # type: ignore[assignment, union-attr]
    expected = encoder.state_dict()
    state = {name: value for name, value in state.items() if name in expected or not name.startswith(CLASSIFIERS)}
    load(encoder, state, f"{config.weights!r} of {config.encoder}", "the encoder")
    segmenter.set_normalization(images["mean"], images["std"])  # type: ignore[operator]


def _download(config: NetworkConfig) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """The encoder's named weights from the hub or its cache, and the images that they expect."""
    import segmentation_models_pytorch as smp

    is_timm = config.encoder.startswith("tu-")
    try:
        if not is_timm and config.weights in (named := _torchvision_weights(config.encoder)):
            weights = named[config.weights]
            transforms = weights.transforms()
            images = {"mean": transforms.mean, "std": transforms.std, "input_space": "RGB", "input_range": [0, 1]}
            return weights.get_state_dict(progress=False, check_hash=True), images
        name = config.encoder
        if is_timm and config.weights != "imagenet" and "." not in name:
            name = f"{name}.{config.weights}"
        encoder = smp.encoders.get_encoder(name, weights=True if is_timm else config.weights)
        images = smp.encoders.get_preprocessing_params(name, config.weights)
    except (OSError, RuntimeError) as error:  # No network, no cache, no space: hub errors are OSErrors.
        raise UserError(
            f"the weights {config.weights!r} of {config.encoder} could not be downloaded ({type(error).__name__}); "
            f"set network.weights to the path of a file with the encoder's state dict, such as "
            f"{config.encoder}.pth, or to none for a random start"
        ) from error
    return encoder.state_dict(), images


def _torchvision_weights(encoder: str) -> dict[str, Any]:
    """torchvision's weights of ``encoder`` by name, where the library's encoder has torchvision's tensors."""
    import torchvision
    from segmentation_models_pytorch.encoders import encoders

    same = issubclass(encoders[encoder]["encoder"], torchvision.models.ResNet)
    if not same or encoder not in torchvision.models.list_models():
        return {}
    return {weights.name: weights for weights in torchvision.models.get_model_weights(encoder)}
