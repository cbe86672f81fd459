"""Configuration of the distance between two sets of images."""

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Fréchet and kernel distance between the inputs ``features`` and ``reference``."""

    subsets: int = Field(100, ge=2)
    """Random subsets of the kernel distance. Source: 100."""
    subset_size: int = Field(1000, ge=2)
    """Vectors in each; a smaller set is taken whole, once. Source: 1000."""
    subset_seed: int = Field(0, ge=0)
    """Which subsets: no trial's seed."""
