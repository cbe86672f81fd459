"""Frozen networks whose features tell how alike two images, or two sets of images, are.

Shape legend: n images, h height, w width, d channels, (y, x) cells of a feature map.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from trainers.checkpoint import load_state
from trainers.components.networks import NORMALIZATIONS
from trainers.config import Config
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.networks.features_config import VGG_LAYERS, FeatureConfig
from trainers.networks.segmentation import Segmenter
from trainers.unreadable import SAVE_ADVICE

Images = UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]
INCEPTION_SIDE = 299
"""Pixels to which pytorch-fid resizes, bilinear and not antialiased."""


class FeatureNetwork(nn.Module):
    """A frozen network that always stays in evaluation mode; gradients pass through it to the images."""

    def __init__(self, body: nn.Module, config: FeatureConfig) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)
        self.name = f"{config.network}@{config.layer}" + (":random" if config.weights == "random" else "")
        """Network and layer, and whether the weights are random."""
        self.weights_hash = hash_weights(body.state_dict())

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stay as it is: batch statistics would make features depend on the other images of a batch."""
        return self

    def forward(self, images: Images) -> Float[Tensor, "n d y x"]:
        """Feature maps of images in 0…255."""
        features: Tensor = self.body(images)
        return features

    def maps(self, images: Images, layers: Sequence[str]) -> list[Float[Tensor, "n _ _ _"]]:
        """Feature maps of several layers in one pass, none deeper than the network's own; not of Inception."""
        found: list[Tensor] = self.body.maps(images, layers)  # type: ignore[operator]
        return found

    def vectors(self, images: Images) -> Float[Tensor, "n d"]:
        """The mean over the cells of each map."""
        return self(images).float().mean(dim=(2, 3))


class Inception(nn.Module):
    """The network of pytorch-fid up to the layer with so many channels, resizing included."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        from pytorch_fid import inception as fid

        network = fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
        network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
        network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
        network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
        network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
        network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
        network.Mixed_7b = fid.FIDInceptionE_1(1280)
        network.Mixed_7c = fid.FIDInceptionE_2(2048)
        if config.weights != "random":
            _load(network, _inception_weights(config), str(config), extra=())
        parts = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"]
        if config.layer != "64":
            parts += ["Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"]
        if config.layer in ("768", "2048"):
            parts += [f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e")]
        if config.layer == "2048":
            parts += ["Mixed_7a", "Mixed_7b", "Mixed_7c"]
        self.layers = nn.Sequential(*(getattr(network, part) for part in parts))

    def forward(self, images: Images) -> Float[Tensor, "n d y x"]:
        """Resized, in [-1, 1]."""
        resized = F.interpolate(images.float() / 255, size=(INCEPTION_SIDE, INCEPTION_SIDE), mode="bilinear")
        features: Tensor = self.layers(2 * resized - 1)
        return features


class VGG(nn.Module):
    """torchvision's VGG up to an activation."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: FeatureConfig, *, omit_last_pooling: bool = False) -> None:
        """``omit_last_pooling`` leaves out the pooling before the fifth block, which then runs at an eighth."""
        super().__init__()
        from torchvision.models import vgg

        # Without the classifier, whose 120 million parameters would take seconds to draw.
        convolutions = vgg.make_layers(vgg.cfgs[{"vgg16": "D", "vgg19": "E"}[config.network]])
        if config.weights != "random":
            _load(convolutions, _vgg_weights(config), str(config), extra=("classifier.",))
        names = iter(VGG_LAYERS[config.network])
        kept: list[nn.Module] = []
        poolings = 0
        for layer in convolutions:
            if isinstance(layer, nn.MaxPool2d):
                poolings += 1
                if omit_last_pooling and poolings == 4:
                    continue
            kept.append(nn.ReLU() if isinstance(layer, nn.ReLU) else layer)
            if isinstance(layer, nn.ReLU) and next(names) == config.layer:
                break
        self.layers = nn.Sequential(*kept)
        self.names = VGG_LAYERS[config.network]
        family = NORMALIZATIONS["imagenet"]
        self.register_buffer("mean", torch.tensor(family.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(family.std).view(1, 3, 1, 1) * 255)

    def forward(self, images: Images) -> Float[Tensor, "n d y x"]:
        """With the mean and deviation of ImageNet."""
        features: Tensor = self.layers((images - self.mean) / self.std)
        return features

    def maps(self, images: Images, layers: Sequence[str]) -> list[Float[Tensor, "n _ _ _"]]:
        """Of the activations that ``layers`` name."""
        features, found = (images - self.mean) / self.std, {}
        names = iter(self.names)
        for layer in self.layers:
            features = layer(features)
            if isinstance(layer, nn.ReLU):
                found[next(names)] = features
        return [found[name] for name in layers]


class Colors(nn.Module):
    """The image itself."""

    def forward(self, images: Images) -> Float[Tensor, "n d y x"]:
        """Red, green and blue in 0…255."""
        return images.float()


class SegmenterEncoder(nn.Module):
    """A stage of a trained segmenter's encoder."""

    def __init__(self, segmenter: Segmenter, stage: int) -> None:
        super().__init__()
        self.segmenter, self.stage = segmenter, stage

    def forward(self, images: Images) -> Float[Tensor, "n d y x"]:
        """The segmenter's own normalization, then its encoder."""
        return self.maps(images, [str(self.stage)])[0]

    def maps(self, images: Images, layers: Sequence[str]) -> list[Float[Tensor, "n _ _ _"]]:
        """Of the stages that ``layers`` number."""
        stages = self.segmenter.network.encoder(self.segmenter.normalize(images))  # type: ignore[operator]
        return [stages[int(layer)] for layer in layers]


def build_features(
    config: FeatureConfig, inputs: Mapping[str, Path], *, omit_last_pooling: bool = False
) -> FeatureNetwork:
    """The network of ``config``; ``inputs["segmenter"]`` is a training stage's folder, where one is needed.

    Random weights come from a seed of their own, so they are the same everywhere and in every run.

    Raises:
        UserError: weights cannot be had or do not fit, or the segmenter has no such stage.
    """
    if config.network == "segmenter":
        return FeatureNetwork(_segmenter_encoder(config, inputs), config)
    if config.network == "colors":
        return FeatureNetwork(Colors(), config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed("features", config.network))
        body = Inception(config) if config.network == "inception" else VGG(config, omit_last_pooling=omit_last_pooling)
    return FeatureNetwork(body, config)


def check_features(config: FeatureConfig, inputs: Mapping[str, Path]) -> None:
    """Refuse weights that cannot be had or do not fit; a segmenter that no stage has trained yet is taken on trust."""
    if not config.needs_input() or "segmenter" in inputs:
        build_features(config, inputs)


def check_feature_source(config: FeatureConfig, sources: Mapping[str, Config]) -> None:
    """Refuse a stage that needs a segmenter and has none among its inputs, by role."""
    if config.needs_input() and "segmenter" not in sources:
        raise UserError(
            f"features {config} need an input `segmenter`, or segmenter:PATH with a training stage's folder"
        )


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors with their names, 16 hex digits: which weights these are, wherever they came from."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        if value.device.type != "meta":
            total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def _segmenter_encoder(config: FeatureConfig, inputs: Mapping[str, Path]) -> SegmenterEncoder:
    from trainers.segmentation.trained import load_segmenter

    path = config.weights_path()
    if path is None and "segmenter" not in inputs:
        raise UserError(
            f"features {config} need an input `segmenter`, or segmenter:PATH with a training stage's folder"
        )
    path = inputs["segmenter"] if path is None else path
    folder, checkpoint = (path, "final") if path.is_dir() else (path.parent, path.stem)
    segmenter, _, _ = load_segmenter(folder, checkpoint)
    stages = len(segmenter.network.encoder.out_channels)  # type: ignore[union-attr, arg-type]
    stage = int(config.layer)
    if not -stages <= stage < stages:
        raise UserError(f"features {config}: the encoder in {folder} has {stages} stages, 0 to {stages - 1}")
    return SegmenterEncoder(segmenter, stage)


def _inception_weights(config: FeatureConfig) -> Mapping[str, Tensor]:
    path = config.weights_path()
    if path is not None:
        return _state_dict(path)
    from pytorch_fid.inception import FID_WEIGHTS_URL

    def download() -> Any:
        return torch.hub.load_state_dict_from_url(FID_WEIGHTS_URL, progress=False, map_location="cpu")

    return _downloaded(config, download)


def _vgg_weights(config: FeatureConfig) -> Mapping[str, Tensor]:
    """Of the convolutions, by their number."""
    path = config.weights_path()
    if path is None:
        import torchvision

        weights = torchvision.models.get_model_weights(config.network)["IMAGENET1K_V1"]
        state = _downloaded(config, lambda: weights.get_state_dict(progress=False, check_hash=True))
    else:
        state = _state_dict(path)
    return {name.removeprefix("features."): value for name, value in state.items()}


def _downloaded(config: FeatureConfig, download: Any) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = download()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {config.network} could not be downloaded ({type(error).__name__}); give their file as "
            f"{config.network}:PATH, take a segmenter's features, or ask for {config.network}:random"
        ) from error
    return state


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"the weights {path} do not exist")
    state: Any = load_state(path, SAVE_ADVICE)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict (name → tensor)")
    return state


def _load(network: nn.Module, state: Mapping[str, Tensor], what: str, *, extra: tuple[str, ...]) -> None:
    """Load ``state``, whose tensors must be the network's; those whose names begin with ``extra`` are left out."""
    state = {name: value for name, value in state.items() if not name.startswith(extra or "\0")}
    expected = network.state_dict()
    differ = [
        name for name in expected.keys() | state.keys()
        if not name.endswith("num_batches_tracked")
        and (name not in state or name not in expected or state[name].shape != expected[name].shape)
    ]  # fmt: skip
    if differ:
        raise UserError(f"the weights of {what} do not fit: {len(differ)} tensors differ, among them {min(differ)}")
    network.load_state_dict({name: state.get(name, value) for name, value in expected.items()})
