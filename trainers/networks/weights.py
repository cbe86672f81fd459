"""Pretrained weights: by name from segmentation-models-pytorch, torchvision or timm, or from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainers.checkpoint import load_state
from trainers.components.configs import NetworkConfig
from trainers.errors import UserError, nearest
from trainers.unreadable import SAVE_ADVICE

CLASSIFIERS = ("fc.", "head.", "classifier.", "last_linear.", "layer5.")
"""What files of whole classifiers (and of DeepLab, ``layer5``) hold beside the encoder; it is left out."""

SHOWN_TENSORS = 4


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
        _load_file(segmenter, config, path)
        return
    state, images = _download(config)
    if images["input_space"] != "RGB" or images["input_range"] != [0, 1]:
        raise UserError(
            f"the weights {config.weights!r} of {config.encoder} expect {images['input_space']} images in "
            f"{images['input_range']}, and this loader gives RGB in [0, 1]; take other weights"
        )
    encoder: nn.Module = segmenter.network.encoder  # type: ignore[assignment, union-attr]
    _load(encoder, state, f"{config.weights!r} of {config.encoder}", "the encoder")
    segmenter.set_normalization(images["mean"], images["std"])  # type: ignore[operator]


def _load_file(segmenter: nn.Module, config: NetworkConfig, path: Path) -> None:
    """A state dict of the segmenter, of its network or of its encoder; the names of its tensors tell which."""
    state: Any = load_state(path, SAVE_ADVICE)
    for key in ("weights", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict (name → tensor); save one with torch.save(model.state_dict(), …)")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    network: nn.Module = segmenter.network  # type: ignore[assignment]
    encoder: nn.Module = network.encoder  # type: ignore[assignment]
    name = f"{config.architecture}-{config.encoder}"
    parts = ((segmenter, name), (network, f"the network of {name}"), (encoder, f"the encoder {config.encoder}"))
    overlaps = [len(set(state) & set(module.state_dict())) for module, _ in parts]
    if not any(overlaps) and config.encoder.startswith("tu-"):  # The library wraps timm's network.
        state = {f"model.{key}": value for key, value in state.items()}
        overlaps = [len(set(state) & set(module.state_dict())) for module, _ in parts]
    if not any(overlaps):
        raise UserError(
            f"{path} holds neither the encoder {config.encoder} nor the whole {config.architecture}: it has "
            f"{_some(list(state))}, and the encoder has {_some(list(encoder.state_dict()))}"
        )
    module, what = parts[overlaps.index(max(overlaps))]
    if ("bgr" in state) != ("bgr" in module.state_dict()) and module is segmenter:
        family = "caffe" if "bgr" in state else "imagenet"
        raise UserError(f"{path} was trained on images of the family {family}: set network.normalization to {family}")
    _load(module, state, str(path), what, is_encoder=module is encoder)


def _load(module: nn.Module, state: Mapping[str, Tensor], source: str, what: str, *, is_encoder: bool = True) -> None:
    """Load ``state``, whose tensors must be exactly the module's; an encoder's may bring its classifier."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in expected]
    if is_encoder:
        extra = [name for name in extra if not name.removeprefix("model.").startswith(CLASSIFIERS)]
    differ = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    found = {"missing": missing, "too many": extra, "of another shape": differ}
    problems = [f"{len(names)} {kind}: {_some(names)}" for kind, names in found.items() if names]
    if problems:
        raise UserError(f"{source} does not fit {what}; tensors {'; '.join(problems)}")
    # nn.Module's, since encoders override it to drop classifiers from the caller's dictionary.
    nn.Module.load_state_dict(module, {name: state.get(name, value) for name, value in expected.items()})


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_TENSORS} more" if len(names) > SHOWN_TENSORS else ""
    return ", ".join(names[:SHOWN_TENSORS]) + more


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
