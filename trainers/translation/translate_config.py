"""Configuration of the stage that translates a data set."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DATASETS, DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class EnhanceConfig(BaseConfig):
    """What happens to a translation before it is saved."""

    kind: Literal["none", "gamma", "clahe"] = "none"
    """Nothing, a power of every value, or equalized local histograms."""
    gamma: float = Field(0.7, gt=0, le=4)
    """Exponent; below 1 it brightens."""
    clip: float = Field(2.0, ge=1, le=40)
    """Largest count of a histogram's bin, in units of its mean."""
    tiles: int = Field(8, ge=1, le=64)
    """Tiles in each direction."""


class Config(BaseConfig):
    """Translate whole images of up to four splits, as the data set ``translated`` with splits of these names."""

    train: DataSplit | None = None
    """Labeled split that becomes ``translated/train``."""
    val: DataSplit | None = None
    """The same, ``translated/val``."""
    test: DataSplit | None = None
    """The same, ``translated/test``."""
    unlabeled: DataSplit | None = None
    """Split whose labels, if any, nobody shall read: ``translated/unlabeled``."""
    direction: Literal["forward", "backward"] = "forward"
    """From the source of the translator's training to its target, or back."""
    checkpoint: Literal["best", "final"] = "final"
    """Which weights of the translator."""
    inference_height: int | None = Field(None, ge=16)
    """Pixels to which an image is resized for its translation, and from there back to its own size; unset keeps its
    own. Source: the thesis translates 1024×2048 at 512×1024."""
    inference_width: int | None = Field(None, ge=16)
    """The same."""
    enhance: EnhanceConfig = EnhanceConfig()
    checkpoint_every_images: int = runtime_field(100, ge=1)
    """Images of each worker after which what exists is kept: the most that a kill costs."""
    pictures: int = runtime_field(4, ge=0, le=20)
    """Panels of fixed images, beside their translation."""

    def splits(self) -> dict[str, DataSplit]:
        """By part."""
        given = {part: getattr(self, part) for part in ("train", "val", "test", "unlabeled")}
        return {part: split for part, split in given.items() if split is not None}

    def shown_in(self, part: str) -> DataSplit | None:
        """The split that is translated into ``part``."""
        return self.splits().get(part)

    @model_validator(mode="after")
    def _something(self) -> "Config":
        splits = self.splits()
        if not splits:
            raise ValueError("nothing to translate: give train, val, test or unlabeled")
        if len({split.dataset for split in splits.values()}) > 1:
            raise ValueError(f"splits must be of one data set, got {', '.join(map(str, splits.values()))}")
        for part, split in splits.items():
            if part != "unlabeled" and split.split in DATASETS[split.dataset].unlabeled:
                raise ValueError(f"{part} takes a labeled split, and {split} has no labels; give it as unlabeled")
        if (self.inference_height is None) != (self.inference_width is None):
            raise ValueError("give both inference_height and inference_width, or none")
        return self
