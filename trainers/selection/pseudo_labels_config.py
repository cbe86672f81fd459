"""Configuration of pseudo-labels that are written once for a whole split."""

from typing import Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Label a split with trained segmenters, the confident part of each class."""

    target: DataSplit
    """Split to label; labels that it may have are not read."""
    height: int = Field(ge=32)
    """Input height in pixels, and that of the labels."""
    width: int = Field(ge=32)
    """Input width in pixels."""
    checkpoint: Literal["best", "final"] = "final"
    """Which weights of the segmenters predict."""
    quantile: float = Field(0.66, ge=0, le=1)
    """Of each class the pixels below this quantile of confidence are dropped … Source: FDA .66, BDL .5."""
    cap: float = Field(0.9, ge=0, le=1)
    """… but none whose confidence reaches this. 0 keeps every pixel."""
    bins: int = Field(1000, ge=10, le=100_000)
    """Bins of the confidence histogram: a threshold is exact to 1 / bins."""
    batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""
