"""The parts of a configuration that methods share. No torch here: a wrong value is answered at once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainers.components.networks import (
    ARCHITECTURES,
    DEFAULT_RATES,
    DILATED,
    DILATED_ANEW,
    DROPOUT_OPTIONS,
    ENCODERS,
    NORMALIZATIONS,
    PUBLISHED_FAMILY,
    TIMM,
    Normalization,
    timm_normalization,
)
from trainers.components.schedules import SCHEDULES
from trainers.config import Config, added_field
from trainers.data.fingerprint import hash_file
from trainers.data.label_spaces import NUM_CLASSES
from trainers.errors import UserError, nearest


def is_weights_path(weights: str) -> bool:
    """Whether ``weights`` is the path of a file, not a name."""
    return "/" in weights or Path(weights).suffix in {".pt", ".pth"}


class NetworkConfig(Config):
    """A segmentation network by name: one of ours, or any of segmentation-models-pytorch."""

    architecture: str = "FPN"
    """``bisenet``, ``bisenet_original``, ``deeplabv2``, ``panoptic_fpn``, ``pspnet``; or a decoder of
    segmentation-models-pytorch as it is called there (``FPN``, ``DeepLabV3Plus``, ``UPerNet``, ``Segformer`` …)."""
    encoder: str = "resnet18"
    """Encoder by its name in segmentation-models-pytorch; ``tu-NAME`` takes any timm network."""
    weights: str = "none"
    """``none``: random initialization; a name that segmentation-models-pytorch (``imagenet``), torchvision
    (``IMAGENET1K_V1``) or timm knows for the encoder, which downloads; or the path of a state dict of the encoder or of
    the whole network."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Probability of dropout in the decoder (a key of ``DROPOUT_OPTIONS``); unset leaves the network's own (FPN: .2,
    pspnet: .1)."""
    rates: tuple[int, ...] | None = added_field(None, min_length=1)
    """Dilations of the decoder's atrous convolutions (a key of ``DEFAULT_RATES``); unset takes the network's own. The
    released code of AdaptSegNet, DACS, DANNet and Bi-Mix uses (6, 12) of deeplabv2's four."""
    normalization: str | None = added_field(None)
    """Images that the weights expect, a key of ``NORMALIZATIONS`` or ``timm``, what timm's own configuration of a
    ``tu-`` encoder says (.5 for many, which is ``inception``); unset: what named weights bring, for a ``tu-`` encoder
    from a file ``timm``, else what the network was published with (deeplabv2: ``caffe``, all others: ``imagenet``).
    ``caffe`` also puts the stride of a ResNet's bottleneck into its first 1×1 convolution, where those weights have
    it."""

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of("architecture", name, ARCHITECTURES)

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, name: str) -> str:
        return name if name.startswith("tu-") else _one_of("encoder", name, ENCODERS)

    @field_validator("normalization")
    @classmethod
    def _known_normalization(cls, name: str | None) -> str | None:
        return None if name is None else _one_of("normalization", name, [*NORMALIZATIONS, TIMM])

    @model_validator(mode="after")
    def _fits(self) -> "NetworkConfig":
        name = self.architecture
        if self.dropout is not None and name not in DROPOUT_OPTIONS:
            raise ValueError(f"{name} has no dropout, only {', '.join(DROPOUT_OPTIONS)}; leave it unset")
        if self.rates is not None and name not in DEFAULT_RATES:
            raise ValueError(f"{name} has no rates, only {', '.join(DEFAULT_RATES)}; leave them unset")
        if self.rates is not None and min(self.rates) < 1:
            raise ValueError(f"rates are dilations of at least 1, got {list(self.rates)}")
        if self.rates is not None and name != "deeplabv2" and len(self.rates) != len(DEFAULT_RATES[name]):
            raise ValueError(f"{name} takes {len(DEFAULT_RATES[name])} rates, got {len(self.rates)}")
        if name == "DPT" and not self.encoder.startswith("tu-"):
            raise ValueError(f"DPT takes vision transformers of timm (tu-vit_…), not {self.encoder}")
        if self.normalization is not None and self.has_named_weights():
            raise ValueError(f"the weights {self.weights!r} bring their own normalization; leave it unset")
        if self.normalization == TIMM and not self.is_timm():
            families = ", ".join(NORMALIZATIONS)
            raise ValueError(
                f"normalization timm is of the encoders tu-…, not of {self.encoder}; take one of {families}"
            )
        return self

    def has_named_weights(self) -> bool:
        """Whether ``weights`` is a name that downloads."""
        return self.weights != "none" and self.weights_file() is None

    def family(self) -> str:
        """What the network is built for: a key of ``NORMALIZATIONS``, or ``timm``."""
        if self.normalization is not None:
            return self.normalization
        if self.is_timm() and self.weights_file() is not None:
            return TIMM
        return "imagenet" if self.has_named_weights() else self._published_family()

    def normalized(self) -> Normalization:
        """Mean and deviation of ``family()``."""
        family = self.family()
        return timm_normalization(self.encoder) if family == TIMM else NORMALIZATIONS[family]

    def is_timm(self) -> bool:
        """Whether the encoder is one of timm's by its name there."""
        return self.encoder.startswith("tu-")

    def _published_family(self) -> str:
        return PUBLISHED_FAMILY.get(self.architecture, "imagenet")

    def weights_file(self) -> Path | None:
        """The path in ``weights``, when it is one."""
        return Path(self.weights).expanduser() if is_weights_path(self.weights) else None

    def content(self) -> dict[str, Any]:
        """A weights file counts by its bytes, not by its path; beside it stands what has changed since keys were made.

        Files of timm's models once were read with the mean and deviation of ``_published_family``; and encoders that
        are not dilated, strided and pooled by segmentation-models-pytorch itself once differed from the releases there.
        """
        content = {}
        if self.architecture in DILATED and self.encoder.startswith(DILATED_ANEW):
            content["dilation"] = "whole stages"
        elif self.family() == "caffe" and self.is_timm():
            content["strides"] = "first convolution"
        path = self.weights_file()
        if path is None:
            return content
        if not path.is_file():
            raise UserError(f"network.weights names {path}, which does not exist")
        content["weights"] = f"sha256 {hash_file(path, full=True)}"
        if self.normalization is None and self.normalized() != NORMALIZATIONS[self._published_family()]:
            content["normalization"] = self.family()
        return content


def _one_of(kind: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    return name


class LossConfig(Config):
    """alpha · CE + (1 - alpha) · focal. Source: the night thesis, eq. 3.12; Lin et al., Focal Loss."""

    alpha: float = Field(1.0, ge=0, le=1)
    """Share of cross-entropy in [0, 1]: 1 is cross-entropy alone, 0 focal loss alone."""
    gamma: float = Field(2.0, ge=0, le=10)
    """Focusing exponent of the focal loss; 0 is cross-entropy."""
    focal_class_weights: tuple[float, ...] | None = None
    """Weight per train id (19 numbers > 0) on the focal term; unset weighs all alike."""
    normalise_focal: bool = False
    """Divide the focal term by the detached mean of (1 - p)^gamma, so that alpha does not act as a learning rate."""
    focal_form: Literal["per_pixel", "batch_mean_legacy"] = added_field("per_pixel")
    """``per_pixel``: as published; ``batch_mean_legacy``: as the code behind the thesis computes it, from one number
    for the whole batch, with a constant .5, and both losses divided by the images once more."""
    auxiliary_weight: float | None = added_field(None, ge=0)
    """Weight of each auxiliary head's loss in training; unset takes the paper's (``AUXILIARY_WEIGHTS``)."""

    @field_validator("focal_class_weights")
    @classmethod
    def _one_per_class(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and (len(weights) != NUM_CLASSES or min(weights) <= 0):
            raise ValueError(f"focal_class_weights needs {NUM_CLASSES} numbers > 0, got {len(weights)}")
        return weights

    @model_validator(mode="after")
    def _legacy_alone(self) -> "LossConfig":
        if self.focal_form == "batch_mean_legacy" and (self.normalise_focal or self.focal_class_weights is not None):
            raise ValueError(
                "focal_form batch_mean_legacy knows no normalise_focal and no focal_class_weights; drop them"
            )
        return self


BatchNormPolicy = Literal["local", "sync", "frozen", "frozen_affine"]
"""Where the statistics of batch norms come from, and whether their scales and shifts learn."""

OWN_STATISTICS: tuple[BatchNormPolicy, ...] = ("local", "frozen_affine")
"""With these each worker normalizes by its own images."""


class OptimizerConfig(Config):
    """The optimizer and its learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    """SGD (momentum), Adam or AdamW."""
    learning_rate: float = Field(1e-3, gt=0)
    """Base rate of the encoder."""
    head_learning_rate_factor: float = Field(1.0, gt=0)
    """Factor on the rate of everything that is not the encoder (DeepLab-style recipes: 10)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD's momentum; Adam's first beta."""
    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW), on every parameter."""
    decay_norms_and_biases: bool = added_field(True)
    """Off, the decay spares what has one dimension (scales and shifts of norms, biases) and what timm names as not to
    be decayed (position embeddings), as DAFormer's recipe and those of transformers do."""
    schedule: str = "poly"
    """A key of ``components.schedules.SCHEDULES``."""
    power: float = Field(0.9, gt=0)
    """Exponent of the poly schedule."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the rate rises linearly from 0."""
    clip_gradient_norm: float | None = Field(None, gt=0)
    """Largest global L2 norm of the gradient; unset does not clip."""

    @field_validator("schedule")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCHEDULES:
            raise ValueError(f"unknown schedule {name!r}: {nearest(name, SCHEDULES)}")
        return name


class PhotometricConfig(Config):
    """Color jitter, Gaussian blur and gamma, in this order and all or none: "Augmentation 2" of the GTA5 study.

    Source: the GTA5 → Cityscapes document, section 3.4, which gives the three and the probability but no strengths:
    those of jitter and blur are DACS's (vikolss/DACS, utils/transformsgpu.py), that of gamma is ours.
    """

    probability: float = Field(0.0, ge=0, le=1)
    """Of changing an image; the document's is .5."""
    brightness: float = Field(0.25, ge=0, lt=1)
    """Factor drawn from 1 ± this."""
    contrast: float = Field(0.25, ge=0, lt=1)
    """Factor drawn from 1 ± this: distance of a pixel from the image's mean gray."""
    saturation: float = Field(0.25, ge=0, lt=1)
    """Factor drawn from 1 ± this: distance of a pixel from its gray."""
    hue: float = Field(0.25, ge=0, le=0.5)
    """Largest shift of the hue, in turns of the color wheel."""
    blur_sigma_min: float = Field(0.15, gt=0, le=10)
    """Smallest deviation of the blur in pixels."""
    blur_sigma_max: float = Field(1.15, gt=0, le=10)
    """Largest deviation of the blur in pixels."""
    gamma_max: float = Field(1.5, ge=1, le=4)
    """Exponent drawn log-uniformly from 1 / this to this."""

    @model_validator(mode="after")
    def _ordered(self) -> "PhotometricConfig":
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError(
                f"blur_sigma_min <= blur_sigma_max must hold, got {self.blur_sigma_min} and {self.blur_sigma_max}"
            )
        return self


class RelightingConfig(Config):
    """A network in front of the segmenter that adds to an image what makes day and night look alike."""

    kind: Literal["resnet", "curves", "none"] = "resnet"
    """``resnet``: encoder and decoder, batch norm (DANNet; Bi-Mix's paper); ``curves``: eight curve maps, no norm
    (Bi-Mix's release); ``none``: images stay as they are."""
    width: int | None = Field(None, ge=4, le=256)
    """Channels of the first convolution; unset takes the published 64 (resnet) or 32 (curves)."""

    def channels(self) -> int:
        """``width``, or the published one."""
        return self.width or (32 if self.kind == "curves" else 64)


class RareClassConfig(Config):
    """Rare-class sampling: draw a class, rare ones more often, then an image that shows it.

    P(c) is proportional to exp((1 - f_c) / T) with f_c the share of c among the labeled pixels of the source.

    Source: Hoyer et al., DAFormer; lhoyer/DAFormer, mmseg/datasets/uda_dataset.py.
    Differs: pixels are shares of the image at the training's size, where the release counts them at full size.
    """

    temperature: float | None = Field(None, gt=0)
    """T: .01 in DAFormer, larger is more even; unset shuffles all images alike."""
    min_share: float = Field(0.0015, gt=0, lt=1)
    """Share of an image's pixels from which on it shows a class: 3000 pixels of 1914×1052 in DAFormer."""
    min_crop_ratio: float = Field(0.5, ge=0)
    """A crop is drawn again until it holds more than this times those pixels of the class."""
    crop_tries: int = Field(10, ge=1)
    """Crops that are tried; the last one is taken whatever it holds."""


class AugmentationConfig(Config):
    """Joint geometric augmentation of image and label, and photometric augmentation of the image."""

    horizontal_flip: float = Field(0.5, ge=0, le=1)
    """Probability of mirroring."""
    scale_min: float = Field(1.0, gt=0, le=4)
    """Smallest random scale."""
    scale_max: float = Field(1.0, gt=0, le=4)
    """Largest random scale."""
    crop_height: int | None = Field(None, ge=32)
    """Pixels; unset keeps the input height."""
    crop_width: int | None = Field(None, ge=32)
    """Pixels; unset keeps the input width."""
    photometric: PhotometricConfig = added_field(PhotometricConfig())
    """Color, blur and gamma of the image alone."""

    @model_validator(mode="after")
    def _ordered(self) -> "AugmentationConfig":
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min <= scale_max must hold, got {self.scale_min} and {self.scale_max}")
        return self

    def has_scales(self) -> bool:
        """Whether images and labels are resized at random."""
        return (self.scale_min, self.scale_max) != (1.0, 1.0)

    def content(self) -> dict[str, Any]:
        """How labels are resized, for those that are: once they lay up to half a pixel beside their images."""
        return {"label_resizing": "centered"} if self.has_scales() else {}
