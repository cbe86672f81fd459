"""Configuration of the stage that renders Toy City."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom

VERSION = 1
SEED_FROM: SeedFrom | None = None

Domain = Literal["day", "night", "fog", "game"]
Part = Literal["train", "val", "test", "held_out"]


class Config(BaseConfig):
    """A rendering of Toy City: a Cityscapes tree per domain, and what is asked for beside them."""

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
    """Images by domain (day, night, fog, game) and part (train, val, test, held_out); no two parts share a street."""
    pairs: int = Field(0, ge=0, le=32_000)
    """Night images of the split ``pairs``, each with its day image; five of them share three. Dark Zurich has 2416."""
    night_pool: bool = False
    """Whether to render the unlabeled pool of night drives; its size is ``pool_ratio``."""
    pool_ratio: float = Field(2.5, gt=0, le=20)
    """Pool images for each labeled image of ``images.day.train``. Source: the night thesis, 14937 / 5950."""

    def counts(self) -> dict[str, dict[str, int]]:
        """``images`` as plain names, for the renderer."""
        return {str(domain): {str(part): n for part, n in parts.items()} for domain, parts in self.images.items()}

    def pool_images(self) -> int:
        """Images of the night pool."""
        return round(self.pool_ratio * self.counts()["day"]["train"]) if self.night_pool else 0

    @model_validator(mode="after")
    def _renderable(self) -> "Config":
        counts = self.counts()
        if any(count < 1 for parts in counts.values() for count in parts.values()):
            raise ValueError(f"every count must be at least 1, got {counts}")
        if self.night_pool and "train" not in counts.get("day", {}):
            raise ValueError("night_pool is measured by images.day.train, which is not rendered")
        return self
