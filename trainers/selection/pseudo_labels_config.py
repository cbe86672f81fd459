"""Configuration of pseudo-labels that are written once for a whole split."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, added_field, runtime_field
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
    keep: Literal["class_quantile", "threshold", "all"] = added_field("class_quantile")
    """Which pixels: of each class those above its ``quantile`` or ``cap``; those at or above ``threshold``; or all, as
    the night thesis does."""
    threshold: float = added_field(0.9, ge=0, le=1)
    """Confidence from which on a pixel of any class is kept, with ``keep: threshold``."""
    flip: bool = added_field(False)
    """Average each prediction with that of the mirrored image."""
    scales: tuple[float, ...] = added_field((1.0,), min_length=1)
    """Average the predictions at these sizes, each in (0, 4] of ``height`` and ``width``, to multiples of 32 pixels."""
    agreement: bool = added_field(False)
    """Drop pixels for which any two of the averaged predictions (segmenters, mirrored or not, scales) name different
    classes."""
    quantile: float = Field(0.66, ge=0, le=1)
    """Of each class the pixels below this quantile of confidence are dropped … Source: FDA .66, BDL .5."""
    cap: float = Field(0.9, ge=0, le=1)
    """… but none whose confidence reaches this. 0 keeps every pixel."""
    bins: int = Field(1000, ge=10, le=100_000)
    """Bins of the confidence histogram: a threshold is exact to 1 / bins."""
    batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass."""
    checkpoint_every_batches: int = runtime_field(50, ge=1)
    """Batches of each worker after which what exists is kept: the most that a kill costs."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if not all(0 < scale <= 4 for scale in self.scales):
            raise ValueError(f"scales must lie in (0, 4], got {list(self.scales)}")
        return self

    def views(self) -> int:
        """Predictions of one segmenter that are averaged."""
        return len(self.scales) * (2 if self.flip else 1)
