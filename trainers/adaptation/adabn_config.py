"""Configuration of adaptive batch normalization."""

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Give a trained segmenter the batch statistics of another domain."""

    target: DataSplit
    """Split whose statistics are taken; labels that it may have are not read."""
    height: int | None = Field(None, ge=32)
    """Input height in pixels; unset takes the training's."""
    width: int | None = Field(None, ge=32)
    """Input width in pixels; unset takes the training's."""
    batch_size: int = Field(8, ge=2)
    """Images whose statistics are taken together, in the split's order; they normalize by them, so it counts."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""
