"""Configuration of DFS, dehazing for segmentation."""

from typing import Any, Literal

from pydantic import Field, model_validator

from trainers.components.configs import AugmentationConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DATASETS, DataSplit
from trainers.loop_config import LoopConfig
from trainers.networks.features_config import FeatureConfig
from trainers.translation.configs import TranslatorOptimizerConfig

VERSION = 1
SEED_FROM: SeedFrom = "sweep"


class UNetConfig(BaseConfig):
    """The generator: convolutions of stride 2 down to a few cells, and back with every map from the way down."""

    width: int = Field(64, ge=4)
    """Channels of the first convolution; they double with each further one, up to eight times. Source: 64."""
    depth: int = Field(8, ge=2, le=10)
    """Convolutions of stride 2. Source: 8, for 256×256."""

    def stride(self) -> int:
        """What height and width of an image must be multiples of."""
        return int(2**self.depth)


class PatchConfig(BaseConfig):
    """The discriminator of hazy image and clear one together."""

    width: int = Field(64, ge=4)
    """Channels of the first convolution; they double with each further one, up to eight times. Source: 64."""
    layers: int = Field(3, ge=1, le=5)
    """Convolutions of stride 2. Source: 3, which makes patches of 70×70 pixels."""

    def least_pixels(self) -> int:
        """The smallest side: two 4×4 convolutions of stride 1 follow, each of which takes a cell."""
        return int(3 * 2**self.layers)


class WeightsConfig(BaseConfig):
    """Weights of the losses; 0 leaves one out, network and all."""

    gan: float = Field(1.0, ge=0)
    """Of the adversarial loss. Source: 1."""
    pixel: float = Field(10.0, ge=0)
    """Of the mean absolute difference to the clear image, in [0, 2]. Source: 10 (pix2pix: 100)."""
    perceptual: float = Field(10.0, ge=0)
    """Of the mean squared difference of features. Source: 10."""
    segmentation: float = Field(10.0, ge=0)
    """Of the frozen segmenter's loss on the dehazed image. Source: 10."""


class Config(BaseConfig):
    """Learn to take the haze out of images, from pairs of a hazy image and its clear one."""

    source: DataSplit
    """Hazy images; their labels are what the segmentation loss compares with."""
    more_sources: tuple[DataSplit, ...] = ()
    """Further splits of hazy images, such as other densities of the same fog, drawn alike."""
    target: DataSplit
    """The same images without haze, found by frame or name; those without a hazy one are not used. For folders a, b, c
    of the dehazing code: ``dehazing/hazy`` and ``dehazing/clear``."""
    select: DataSplit
    """Hazy images on which the best checkpoint is chosen."""
    select_target: DataSplit
    """The same without haze."""
    select_by: Literal["miou", "psnr"] = "miou"
    """``miou``: of the frozen segmenter on dehazed images (role ``segmenter``); ``psnr``: in dB, to the clear image.
    Source: the least mean squared difference of the segmenter's colors."""
    height: int = Field(ge=16)
    """Pixels to which images are resized before the crop. Source: as they lie in the folders, 256."""
    width: int = Field(ge=16)
    """The same."""
    batch_size: int = Field(8, ge=1)
    """Pairs per step, over all workers together. Source: 8."""
    generator: UNetConfig = UNetConfig()
    discriminator: PatchConfig = PatchConfig()
    batch_norm: Literal["local", "sync", "frozen"] = "local"
    """Statistics of each worker's own images, of all (GPUs), or as initialized; of generator and discriminator."""
    gan_loss: Literal["log", "lsgan"] = "log"
    """The logarithmic loss of pix2pix, or least squares."""
    weights: WeightsConfig = WeightsConfig()
    features: FeatureConfig | None = None
    """Network of the perceptual loss, unused where its weight is 0. Source: ``vgg16@relu2_2``."""
    segmentation_loss: Literal["l2_color", "ce", "soft_iou"] = "ce"
    """Of the frozen segmenter on the dehazed image: cross-entropy, 1 - the mean soft IoU of the classes present, or the
    mean squared difference of colors in [-1, 1]. Source: colors; it suggests an IoU."""
    segmenter_checkpoint: Literal["best", "final"] = "best"
    """Which weights of the role ``segmenter``."""
    optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig(
        learning_rate=2e-4, weight_decay=0.0, schedule="constant"
    )
    """Source: Adam at 2e-4, betas .5 and .999, constant."""
    augmentation: AugmentationConfig = AugmentationConfig(horizontal_flip=0.0)
    """Of hazy image, clear image and label alike. Source: none."""
    loop: LoopConfig = LoopConfig(steps=37_200, score_every_steps=1_860, checkpoint_every_steps=1_000)
    """Source: 100 epochs; so many steps are those of 2975 images."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast on a GPU, float32 on a CPU; losses are float32."""
    score_batch_size: int = runtime_field(8, ge=1)
    """Pairs per forward pass on the selection split."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Panels that the artifact keeps, evenly spaced over the training; no number depends on them."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode and augment; unset takes 4 on a GPU and none on a CPU."""
    cache_bytes: int = runtime_field(2 << 30, ge=0)
    """Splits whose decoded images fit are decoded once and kept in memory."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        weights = self.weights
        if not any((weights.gan, weights.pixel, weights.perceptual, weights.segmentation)):
            raise ValueError("all weights are 0; nothing is left to learn from")
        if weights.perceptual > 0 and self.features is None:
            raise ValueError("weights.perceptual needs features: vgg16@relu2_2, or segmenter@1 with such an input")
        if self.augmentation.photometric.probability:
            raise ValueError("augmentation.photometric would change what haze looks like; leave it out")
        for source, target in ((self.source, self.target), (self.select, self.select_target)):
            if source == target:
                raise ValueError(f"{source} is hazy and clear at once; give two splits")
        for split in self.labeled():
            if split.split in DATASETS[split.dataset].unlabeled:
                raise ValueError(f"{split} has no labels; set weights.segmentation=0 and select_by=psnr, or another")
        return self

    def sources(self) -> tuple[DataSplit, ...]:
        """All splits of hazy images to learn from."""
        return (self.source, *self.more_sources)

    def labeled(self) -> tuple[DataSplit, ...]:
        """The splits whose labels are read."""
        learned = self.sources() if self.weights.segmentation > 0 else ()
        return (*learned, self.select) if self.select_by == "miou" else learned

    def needs_segmenter(self) -> bool:
        """Whether the role ``segmenter`` is used for itself, not for its features alone."""
        return self.weights.segmentation > 0 or self.select_by == "miou"

    def reads_input(self, role: str) -> bool:
        """The segmenter is read for itself, or for its features where the perceptual loss takes them."""
        perceptual = self.weights.perceptual > 0 and self.features is not None and self.features.needs_input()
        return role != "segmenter" or self.needs_segmenter() or perceptual

    def content(self) -> dict[str, Any]:
        """A file of weights counts by its bytes."""
        return {} if self.features is None else {"features": self.features.key()}

    def resolved(self, *, device_type: str) -> "Config":
        """Decide ``precision``."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if device_type == "cuda" else "float32"})
