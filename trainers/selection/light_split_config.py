"""Configuration of the split of a pool by brightness."""

from typing import Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Split a pool into day and night, and each into training and validation."""

    pool: DataSplit
    """Images of any light; labels that they may have are not read."""
    threshold: float = Field(65.0, gt=0)
    """Below it an image is night. Source: 65."""
    alpha: float = Field(0.5, ge=0, le=1)
    """Weight of red in the score. Source: .5."""
    scale: Literal["mean", "sum", "percent"] = "mean"
    """Of the score (``selection.light``). The source is silent; on 0…255 its 65 is a plausible night."""
    train_share: float = Field(0.75, gt=0, lt=1)
    """Share of each half that trains. Source: 3 : 1."""
    split_seed: int = Field(0, ge=0)
    """Which images train: no trial's seed."""
    threads: int = runtime_field(4, ge=1)
    """Images that are decoded at once."""
