"""Configuration of the stage that keeps the images which a segmenter reads as their labels say."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DATASETS, DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Drop images of a labeled split on which a segmenter and the label map agree too little."""

    split: DataSplit
    """Labeled split; what is kept of it becomes ``agreed/train``."""
    height: int = Field(ge=32)
    """Pixels to which images and labels are resized for the segmenter."""
    width: int = Field(ge=32)
    """The same."""
    measure: Literal["miou", "pixel_accuracy"] = "pixel_accuracy"
    """Of each image: the mean IoU of the classes that its labels or the prediction show, or the share of its labeled
    pixels that are predicted right."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Least agreement that is kept."""
    quantile: float | None = Field(None, ge=0, lt=1)
    """The share that is dropped, those that agree least: a threshold that fits any segmenter."""
    checkpoint: Literal["best", "final"] = "best"
    """Which weights of the segmenter."""
    batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""
    pictures: int = runtime_field(2, ge=0, le=10)
    """Panels of the images that agree least, and of as many that agree most."""

    @field_validator("split")
    @classmethod
    def _labeled(cls, split: DataSplit) -> DataSplit:
        if split.split in DATASETS[split.dataset].unlabeled:
            raise ValueError(f"{split} has no labels to agree with")
        return split

    @model_validator(mode="after")
    def _one_limit(self) -> "Config":
        if (self.threshold is None) == (self.quantile is None):
            raise ValueError("give threshold or quantile, one of them")
        return self
