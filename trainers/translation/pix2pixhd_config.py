"""Configuration of pix2pixHD."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainers.components.configs import AugmentationConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DATASETS, DataSplit
from trainers.loop_config import LoopConfig
from trainers.networks.features_config import FeatureConfig
from trainers.translation.configs import DiscriminatorConfig, TranslatorOptimizerConfig

VERSION = 1
SEED_FROM: SeedFrom = "sweep"

GLOBAL = "global_generator"
"""Role of the training whose generator the enhancer stands around."""

VGG19 = tuple(f"vgg19@relu{block}_1" for block in range(1, 6))


class LabelGeneratorConfig(BaseConfig):
    """From a label map to an image: the global generator, alone or inside a local enhancer at twice its resolution."""

    label_nc: int = Field(35, ge=2, le=255)
    """Label ids that a map may hold: 0 to one less. Source: 35, the raw ids of Cityscapes."""
    edges: bool = True
    """Whether the boundaries of instances are an input too; they need the instance map beside each label map."""
    width: int = Field(64, ge=4)
    """Channels of the global generator at its full resolution; they double with each downsampling. Source: 64."""
    downsamplings: int = Field(4, ge=1, le=6)
    """Convolutions of stride 2 in the global generator. Source: 4."""
    blocks: int = Field(9, ge=1)
    """Residual blocks of the global generator. Source: 9."""
    enhancer: Literal["none", "local"] = "none"
    """``local``: the global generator works at half the resolution inside the enhancer, whose width is half of its;
    the input ``global_generator`` is its own training. Source: none at 1024×512, local at 2048×1024."""
    enhancer_blocks: int = Field(3, ge=1)
    """Residual blocks of the enhancer. Source: 3."""

    def channels(self) -> int:
        """Of the input: a plane for each label id, and the boundaries."""
        return self.label_nc + int(self.edges)

    def stride(self) -> int:
        """What height and width of an image must be multiples of."""
        return int(2 ** (self.downsamplings + int(self.enhancer == "local")))


class WeightsConfig(BaseConfig):
    """Weights of the generator's losses beside the adversarial one, which has 1."""

    feature_matching: float = Field(10.0, ge=0)
    """Of the discriminators' features of a generated and a real image. Source: 10."""
    perceptual: float = Field(10.0, ge=0)
    """Of a frozen network's features; 0 leaves it out. Source: 10."""


class Config(BaseConfig):
    """Learn to make images of label maps, from images with their labels."""

    train: DataSplit
    """Labeled split."""
    height: int = Field(ge=16)
    """Pixels to which images and label maps are resized before the crop. Source: 512, or 1024 with the enhancer."""
    width: int = Field(ge=16)
    """The same. Source: 1024, or 2048."""
    batch_size: int = Field(1, ge=1)
    """Images per step, over all workers together. Source: 1."""
    generator: LabelGeneratorConfig = LabelGeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig(layers=3, scales=2)
    """Source: 64 channels, 3 layers, 2 scales, or 3 scales with the enhancer."""
    weights: WeightsConfig = WeightsConfig()
    features: tuple[FeatureConfig, ...] = Field(VGG19, validate_default=True)
    """Layers of one network, the shallowest first, unused where their weight is 0. Source: relu1_1 … relu5_1 of
    VGG19."""
    feature_weights: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    """Of each of ``features``. Source: 1/32, 1/16, 1/8, 1/4, 1."""
    optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig(
        learning_rate=2e-4, weight_decay=0.0, schedule="linear_decay"
    )
    """Source: Adam, 2e-4, first beta .5, constant for half of the training, then down to 0 linearly."""
    global_frozen_steps: int = Field(0, ge=0)
    """First steps in which the enhancer learns alone, around the global generator as it was trained. Source: 10 of 100
    epochs."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Flip and crop. Source: flip; a crop only where memory does not suffice."""
    loop: LoopConfig = LoopConfig(steps=595_000, score_every_steps=10_000, checkpoint_every_steps=5_000)
    """Source: 200 epochs of 2975 images."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast on a GPU, float32 on a CPU."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Panels that the artifact keeps, evenly spaced over the training; no number depends on them."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode and augment; unset takes 4 on a GPU and none on a CPU."""
    cache_bytes: int = runtime_field(2 << 30, ge=0)
    """Splits whose decoded images fit are decoded once and kept in memory."""

    @field_validator("features")
    @classmethod
    def _one_network(cls, features: tuple[FeatureConfig, ...]) -> tuple[FeatureConfig, ...]:
        if len({(one.network, one.weights) for one in features}) > 1 or len(set(features)) < len(features):
            raise ValueError(f"features are different layers of one network, got {', '.join(map(str, features))}")
        if features and features[0].network == "inception":
            raise ValueError("features of a perceptual loss are vgg16, vgg19 or segmenter, got inception")
        return features

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if len(self.features) != len(self.feature_weights):
            raise ValueError(
                f"feature_weights needs one number for each of the {len(self.features)} features, got "
                f"{len(self.feature_weights)}"
            )
        if self.weights.perceptual > 0 and not self.features:
            raise ValueError("weights.perceptual needs features: vgg19@relu1_1 and deeper, or segmenter@1 and deeper")
        if self.train.split in DATASETS[self.train.dataset].unlabeled:
            raise ValueError(f"{self.train} has no labels to make images of; give a labeled split")
        if self.global_frozen_steps and self.generator.enhancer == "none":
            raise ValueError("global_frozen_steps is for generator.enhancer local: nothing else would learn")
        return self

    @model_validator(mode="after")
    def _moves_alike(self) -> "Config":
        moved = self.augmentation
        if moved.photometric.probability:
            raise ValueError("augmentation.photometric would change what images shall look like; leave it out")
        if moved.has_scales():
            raise ValueError("augmentation.scale_min and scale_max would widen boundaries; leave them at 1")
        if (moved.crop_height or 0) > self.height or (moved.crop_width or 0) > self.width:
            raise ValueError(
                f"a crop of {moved.crop_height}×{moved.crop_width} is larger than the image of {self.height}×"
                f"{self.width}, and no label is known beyond it"
            )
        return self

    def size(self) -> tuple[int, int]:
        """Height and width of what the networks see."""
        return self.augmentation.crop_height or self.height, self.augmentation.crop_width or self.width

    def reads_input(self, role: str) -> bool:
        """The segmenter is read for the perceptual loss, the global generator by an enhancer around it."""
        if role == "segmenter":
            return self.weights.perceptual > 0 and self.features[-1].needs_input()
        return role != GLOBAL or self.generator.enhancer == "local"

    def content(self) -> dict[str, Any]:
        """A file of weights counts by its bytes."""
        return {"features": [one.key() for one in self.features]}

    def resolved(self, *, device_type: str) -> "Config":
        """Decide ``precision``."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if device_type == "cuda" else "float32"})
