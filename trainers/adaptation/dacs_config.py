"""Configuration of cross-domain mixed sampling, and of the parts that later recipes added."""

from typing import Literal

from pydantic import Field

from trainers.adaptation.training_config import Config as AdaptationConfig
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class TeacherConfig(BaseConfig):
    """The network that labels target images."""

    kind: Literal["ema", "student"] = "ema"
    """A slow average of the student, or the student itself."""
    rate: float = Field(0.01, gt=0, le=1)
    """1 - alpha of the average: its time constant is 1 / rate steps, of which a training needs five or more. Source:
    DACS .01 in 250 000 steps, DAFormer .001 in 40 000."""
    batch_norm: Literal["batch", "student"] = "batch"
    """Statistics that the teacher normalizes with: those of its target batch (DACS), or the student's running ones."""


class MixConfig(BaseConfig):
    """The mixed image: parts of a source image on a target image, then noise."""

    mask: str = "class"
    """A key of ``components.mixing.MASKS``: which pixels come from the source."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the source's classes (or of the area) that is pasted. Source: .5, rounded up."""
    jitter_strength: float = Field(0.25, ge=0, le=0.5)
    """Largest change of brightness, contrast and saturation (factor) and hue (turns). Source: DACS .25, DAFormer .2."""
    jitter_probability: float = Field(0.8, ge=0, le=1)
    """Share of images that are jittered."""
    blur_probability: float = Field(0.5, ge=0, le=1)
    """Share of images that are blurred."""
    blur_sigma_max: float = Field(1.15, ge=0.15, le=10)
    """Largest deviation of the blur in pixels. Source: 1.15 at 512×512; small images need a smaller one."""


class MaskedConsistencyConfig(BaseConfig):
    """Predict the teacher's labels from a target image with hidden patches. Source: MIC."""

    weight: float = Field(0.0, ge=0)
    """Weight of the loss; 0 leaves it out. Source: 1."""
    ratio: float = Field(0.7, gt=0, lt=1)
    """Share of patches that are hidden. Source: .7."""
    patch: int = Field(64, ge=1)
    """Side of a patch in pixels. Source: 64, or 32 at half resolution."""


class Config(AdaptationConfig):
    """Train on source images and on mixes of source and pseudo-labeled target images."""

    teacher: TeacherConfig = TeacherConfig()
    mix: MixConfig = MixConfig()
    threshold: float = Field(0.968, ge=0, le=1)
    """Confidence from which on a target pixel counts as sure. Source: .968."""
    weight: Literal["batch", "image", "pixel", "none"] = "batch"
    """Weight of target pixels: the share of sure ones in the batch (DACS) or in their image, 1 on sure pixels only, or
    1. Pasted pixels always weigh 1."""
    unlabeled_weight: float = Field(1.0, ge=0)
    """Weight of the loss on mixed images. Source: 1."""
    masked: MaskedConsistencyConfig = MaskedConsistencyConfig()
