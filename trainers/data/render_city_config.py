"""Configuration of the stage that renders Toy City."""

from typing import Literal

from pydantic import Field, field_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 0
SEED_FROM: SeedFrom | None = None

Domain = Literal["day", "night"]
Part = Literal["train", "val", "test"]


class Config(BaseConfig):
    """A rendering of Toy City: a Cityscapes tree per domain."""

    height: int = Field(64, ge=32, le=512, multiple_of=32)
    """Pixels."""
    width: int = Field(128, ge=32, le=1024, multiple_of=32)
    """Pixels."""
    city_seed: int = Field(0, ge=0)
    """Which city: the data set is the same in every trial, so this is no trial's seed."""
    images: dict[Domain, dict[Part, int]] = Field(
        default={
            "day": {"train": 240, "val": 40, "test": 40},
            "night": {"train": 240, "val": 40, "test": 40},
        }
    )
    """Images by domain and part; streets of different parts are disjoint."""

    def counts(self) -> dict[str, dict[str, int]]:
        """``images`` as plain names, for the renderer."""
        return {str(domain): {str(part): n for part, n in parts.items()} for domain, parts in self.images.items()}

    @field_validator("images")
    @classmethod
    def _positive(cls, images: dict[Domain, dict[Part, int]]) -> dict[Domain, dict[Part, int]]:
        if any(count < 1 for parts in images.values() for count in parts.values()):
            raise ValueError(f"every count must be at least 1, got {images}")
        return images
