"""Configuration of Fourier domain adaptation."""

from pydantic import Field

from trainers.adaptation.training_config import Config as AdaptationConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class Config(AdaptationConfig):
    """Train on source images in the style of target images."""

    beta: float = Field(0.01, gt=0, le=0.5)
    """Half width of the swapped window as a share of the images' shorter side, in (0, .5]. It does not carry over
    between image sizes. Source: .01, .05 and .09 at 512×1024."""
    entropy_weight: float = Field(0.005, ge=0)
    """Weight of the robust entropy on target images; 0 leaves it out. Source: .005."""
    eta: float = Field(2.0, ge=0.5, le=5)
    """Exponent of the robust entropy. Source: 2."""
    entropy_from_step: int = Field(1, ge=1)
    """First step with the entropy term. Source: 0 in the released command, 50 000 in the released defaults."""
