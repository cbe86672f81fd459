"""Configuration of the stage that compares images with their references."""

from pydantic import model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """PSNR and SSIM of a split, each image against the one of its frame in another."""

    split: DataSplit
    """What is measured, such as ``translated/test``; labels that it may have are not read."""
    reference: DataSplit
    """What it should look like; images without a counterpart are not used."""

    @model_validator(mode="after")
    def _two(self) -> "Config":
        if self.split == self.reference:
            raise ValueError(f"split and reference are both {self.split}; every image is its own reference")
        return self
