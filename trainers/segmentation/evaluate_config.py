"""Configuration of an evaluation."""

from typing import Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, added_field, runtime_field
from trainers.data.datasets import DataSplit

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """Score one checkpoint of a segmenter on one split."""

    split: DataSplit
    """Split to score on; without labels only ``infomax`` is defined."""
    checkpoint: Literal["best", "final"] = "best"
    """Which of the two the training stage kept."""
    height: int | None = Field(None, ge=32)
    """Input height in pixels; unset takes that at which the training was scored."""
    width: int | None = Field(None, ge=32)
    """Input width in pixels; unset takes the training's. Labels are compared at the input's size."""
    batch_mean_size: int | None = added_field(None, ge=1)
    """Also score ``miou_batchmean`` over batches of so many images, to compare with tables made that way."""
    instances: bool = added_field(False)
    """Also score ``iiou``, for which an instance map must lie beside every label map, as in Cityscapes."""
    class_weight_strength: float = added_field(0.0, ge=0, le=1)
    """s of the class weights that multiply the logits before the best class is taken; 0 leaves them alone. The
    frequencies are those that the training weighed its classes by. Source: DANNet, .16, tuned there on the split that
    is reported."""
    batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass."""
    pictures: int = runtime_field(4, ge=0)
    """Images to draw with truth, prediction and error. No score depends on it, so it is not in the key and raised no
    version: evaluations that exist without pictures stay hits, and the report shows the pictures that there are."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""
