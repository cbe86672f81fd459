"""Configuration of the stage that packs a data set."""

from pydantic import Field, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Splits of one data set, decoded and resized once."""

    splits: tuple[DataSplit, ...] = Field(min_length=1)
    """Splits to pack, all of one data set; parts of a split (``train:1572``) are packed under their own name."""
    height: int = Field(ge=1)
    """Pixels: the only size at which the packed data set can be read."""
    width: int = Field(ge=1)
    """Pixels."""
    shard_bytes: int = runtime_field(256 << 20, ge=1)
    """Largest size of one file, but at least one image."""
    threads: int = runtime_field(4, ge=1)
    """Images that are decoded at once."""

    @model_validator(mode="after")
    def _one_data_set(self) -> "Config":
        names = sorted({split.dataset for split in self.splits})
        if len(names) > 1:
            raise ValueError(f"splits must be of one data set, got {', '.join(names)}")
        if len({split.part for split in self.splits}) < len(self.splits):
            raise ValueError(f"splits must differ, got {', '.join(map(str, self.splits))}")
        return self
