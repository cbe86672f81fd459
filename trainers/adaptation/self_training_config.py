"""Configuration of self-training on labels that an earlier stage wrote."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.config import SeedFrom
from trainers.data.datasets import DataSplit
from trainers.segmentation.supervised_config import Config as SupervisedConfig

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class Config(SupervisedConfig):
    """Train on labeled images (``train``) and pseudo-labeled ones together."""

    target: DataSplit
    """Unlabeled split whose pseudo-labels the input ``pseudo_labels`` holds; labels that it may have are not read."""
    composition: Literal["concatenation", "batch"] = "concatenation"
    """``concatenation``: all images of both kinds once an epoch, so their share is that of their numbers (the source);
    ``batch``: ``unlabeled_per_batch`` of each batch, so how much a pseudo-label weighs does not depend on how many
    there are."""
    unlabeled_per_batch: int | None = Field(None, ge=1)
    """Pseudo-labeled images of each ``batch_size``; needed with ``composition: batch``, and only there."""

    @model_validator(mode="after")
    def _composed(self) -> "Config":
        if (self.unlabeled_per_batch is not None) != (self.composition == "batch"):
            raise ValueError("unlabeled_per_batch and composition batch belong together; give both, or none")
        if self.unlabeled_per_batch is not None and self.unlabeled_per_batch >= self.batch_size:
            raise ValueError(
                f"unlabeled_per_batch {self.unlabeled_per_batch} leaves nothing labeled in batch_size {self.batch_size}"
            )
        return self
