"""Configuration of DANNet."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.adaptation.training_config import Config as AdaptationConfig
from trainers.components.configs import AugmentationConfig, LossConfig, PhotometricConfig, RelightingConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class ClassWeightsConfig(BaseConfig):
    """Rare classes count more in every loss that knows classes."""

    strength: float = Field(0.05, ge=0, le=1)
    """s: the weight of a class whose frequency's logarithm lies one standard deviation below the mean is 1 + s."""
    frequencies: Literal["cityscapes", "source"] = "cityscapes"
    """Those that the release has of Cityscapes, or those of the source images, counted when training starts."""


class LightConfig(BaseConfig):
    """What keeps relit images sound: smoothness of what is added, similarity to the image, brightness of a night."""

    total_variation: float = Field(10.0, ge=0)
    """Weight of the total variation. Source: 10."""
    similarity: float = Field(1.0, ge=0)
    """Weight of 1 - SSIM. Source: 1."""
    exposure: float = Field(1.0, ge=0)
    """Weight of the squared distance to the mean brightness of the batch's night images. Source: 1."""
    patch: int = Field(32, ge=1)
    """Side in pixels of the squares whose brightness counts. Source: 32 at 512×512."""
    source_weight: float = Field(1.0, ge=0)
    """Weight of the three on source images. Source: 1."""
    target_weight: float = Field(0.01, ge=0)
    """Weight of the three on day images, and on night images. Source: .01."""


class AdversarialConfig(BaseConfig):
    """Two discriminators: predictions of day, and of night, against those of the source."""

    weight: float = Field(0.01, ge=0)
    """Weight of what the segmenter is told by each. Source: .01."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of Adam with betas .9 and .99; it follows the segmenter's schedule. Source: 1e-4."""
    width: int = Field(64, ge=4, le=256)
    """Channels of the first convolution. Source: 64."""


class StaticConfig(BaseConfig):
    """Night images learn what does not move from the day image of their place."""

    weight: float = Field(1.0, ge=0)
    """Weight of the loss. Source: 1."""
    day_weight: float = Field(0.8, ge=0.5, le=1)
    """Share of the day's logit where it is believed; 1 - this where it is not. Source: .8."""
    logit_threshold: float = 0.4
    """*Logit*, not probability, of the day's prediction above which it is believed. Source: .4."""
    gamma: float = Field(1.0, ge=0, le=10)
    """Focusing exponent. Source: 1."""
    tolerance: bool = True
    """Whether the labels of the 3×3 pixels around count as right; the releases mean to and do not."""


class Config(AdaptationConfig):
    """Train on labeled day images of the source and on pairs of day and night (``target``)."""

    relighting: RelightingConfig = RelightingConfig()
    class_weights: ClassWeightsConfig = ClassWeightsConfig()
    light: LightConfig = LightConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    static: StaticConfig = StaticConfig()
    pair_augmentation: AugmentationConfig | None = None
    """Flip, scale and crop of pairs, night and day alike; unset takes those of ``augmentation``. Its colors stay."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Config":
        if self.loss != LossConfig(auxiliary_weight=self.loss.auxiliary_weight):
            raise ValueError("the loss is cross-entropy with class_weights here; of loss set auxiliary_weight alone")
        if self.feature_distance.weight > 0:
            raise ValueError("there is no feature distance here; leave feature_distance.weight 0")
        if self.pair_augmentation is not None and self.pair_augmentation.photometric != PhotometricConfig():
            raise ValueError("colors of pairs are left alone; leave pair_augmentation.photometric unset")
        return self

    def pairs(self) -> AugmentationConfig:
        """The augmentation of pairs: relighting has to see the light that there was."""
        chosen = self.pair_augmentation or self.augmentation
        return chosen.model_copy(update={"photometric": PhotometricConfig()})
