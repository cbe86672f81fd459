"""Configuration of UNIT."""

from typing import Any, Literal

from pydantic import Field, model_validator

from trainers.components.configs import AugmentationConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit
from trainers.loop_config import LoopConfig
from trainers.networks.features_config import FeatureConfig
from trainers.translation.configs import DiscriminatorConfig, GeneratorConfig, TranslatorOptimizerConfig

VERSION = 1
SEED_FROM: SeedFrom = "sweep"


class WeightsConfig(BaseConfig):
    """Weights of the losses, as the paper has them.

    The release has a tenth of each (1, 10, .01, 10, .01; perceptual 1): the same training but for Adam's epsilon and
    weight decay, which does not scale with the losses.
    """

    gan: float = Field(10.0, gt=0)
    """λ0, of the adversarial loss of both translations."""
    kl: float = Field(0.1, ge=0)
    """λ1, of the latent codes of the images."""
    reconstruction: float = Field(100.0, ge=0)
    """λ2, of the mean absolute difference of each image and its own decoding."""
    cycle_kl: float = Field(0.1, ge=0)
    """λ3, of the latent codes of the translations."""
    cycle: float = Field(100.0, ge=0)
    """λ4, of the mean absolute difference of each image and its translation's translation."""
    perceptual: float = Field(0.0, ge=0)
    """Of the perceptual loss; 0 leaves it out. Source: 1 beside the release's weights, so 10 beside these."""


class Config(BaseConfig):
    """Learn to translate between two domains from unpaired, unlabeled images of each."""

    source: DataSplit
    """One domain; labels that it may have are not read."""
    target: DataSplit
    """The other domain."""
    height: int = Field(ge=16)
    """Pixels to which images are resized before the crop. Source: 256 for the shorter side; the thesis 512."""
    width: int = Field(ge=16)
    """The same."""
    target_height: int | None = Field(None, ge=16)
    """The same for images of the target; unset: ``height``."""
    target_width: int | None = Field(None, ge=16)
    """Unset: ``width``."""
    batch_size: int = Field(1, ge=1)
    """Images of each domain per step, over all workers together. Source: 1."""
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    gan_loss: Literal["lsgan", "log"] = "lsgan"
    """Least squares (the release), or the logarithmic loss of the paper and of the thesis (eqs. 3.3 and 3.4)."""
    kl_first: Literal["twice", "once"] = "twice"
    """Codes of the images count with λ1 and, as part of the cycle, with λ3 (eqs. 3.1 and 3.5); or with λ1 alone, as in
    the release."""
    weights: WeightsConfig = WeightsConfig()
    features: FeatureConfig | None = None
    """Network of the perceptual loss, unused where its weight is 0. Source: ``vgg16@relu5_3``."""
    omit_last_pooling: bool = True
    """Whether a VGG's fourth pooling is left out, so that its fifth block runs at an eighth. Source: yes."""
    optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig(crop_height=256, crop_width=256)
    """Of each domain on its own. Source: flip and a crop of 256×256."""
    loop: LoopConfig = LoopConfig(steps=280_000, score_every_steps=10_000, checkpoint_every_steps=5_000)
    """Source: up to 1 000 000 steps; the thesis shows 280 000."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast on a GPU, float32 on a CPU."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Panels that the artifact keeps, evenly spaced over the training; no number depends on them."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode and augment; unset takes 4 on a GPU and none on a CPU."""
    cache_bytes: int = runtime_field(2 << 30, ge=0)
    """Splits whose decoded images fit are decoded once and kept in memory."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.weights.perceptual > 0 and self.features is None:
            raise ValueError("weights.perceptual needs features: vgg16@relu5_3, or segmenter with such an input")
        if self.augmentation.photometric.probability:
            raise ValueError("augmentation.photometric would change what a domain looks like; leave it out")
        if (self.source.dataset, self.source.part) == (self.target.dataset, self.target.part):
            raise ValueError(f"source and target are both {self.source}; give two domains")
        return self

    def target_size(self) -> tuple[int, int]:
        """Height and width to which images of the target are resized."""
        return self.target_height or self.height, self.target_width or self.width

    def reads_input(self, role: str) -> bool:
        """The segmenter is read for its features alone, where the perceptual loss takes them."""
        return role != "segmenter" or (
            self.weights.perceptual > 0 and self.features is not None and self.features.needs_input()
        )

    def content(self) -> dict[str, Any]:
        """A file of weights counts by its bytes."""
        return {} if self.features is None else {"features": self.features.key()}

    def resolved(self, *, device_type: str) -> "Config":
        """Decide ``precision``."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if device_type == "cuda" else "float32"})
