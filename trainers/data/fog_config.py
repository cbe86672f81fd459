"""Configuration of the stage that puts fog into Cityscapes."""

from typing import Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None

Beta = Literal["0.005", "0.01", "0.02"]


class Config(BaseConfig):
    """Foggy images of a split of Cityscapes, from its disparity and camera files."""

    split: DataSplit
    """Split of ``cityscapes``; frames without disparity and camera files are an error."""
    betas: tuple[Beta, ...] = Field(("0.005", "0.01", "0.02"), min_length=1)
    """Attenuation in 1/m: light fog, medium, dense (visibility 600, 300, 150 m). Source: Foggy Cityscapes."""
    threads: int = runtime_field(2, ge=1)
    """Frames that are worked on at once."""
