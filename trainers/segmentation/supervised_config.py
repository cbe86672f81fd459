"""Configuration of supervised segmentation."""

from typing import Literal

from pydantic import Field, model_validator

from trainers.components.configs import (
    AugmentationConfig,
    BatchNormPolicy,
    LossConfig,
    NetworkConfig,
    OptimizerConfig,
    RareClassConfig,
)
from trainers.components.networks import AUXILIARY_WEIGHTS
from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, added_field, runtime_field
from trainers.data.datasets import DataSplit
from trainers.loop_config import LoopConfig

VERSION = 1
SEED_FROM: SeedFrom = "trial"


class Config(BaseConfig):
    """Train a segmenter on labeled images."""

    train: tuple[DataSplit, ...] = Field(min_length=1)
    """Labeled splits to train on, as ``dataset/split``; several are joined."""
    select: DataSplit
    """Labeled split that chooses the best checkpoint, by its mIoU at the network's input size, whatever the size that
    evaluations report at."""
    select_also: tuple[DataSplit, ...] = added_field(())
    """Further labeled splits of the same classes; all choose by the mIoU of their joint confusion matrix."""
    height: int = Field(ge=32)
    """Input height in pixels: images are resized to it before augmentation."""
    width: int = Field(ge=32)
    """Input width in pixels."""
    select_height: int | None = added_field(None, ge=32)
    """Height at which ``select`` is scored, and at which ``predict`` runs by default; unset: ``height``. Set it where
    images are reported at another size than they are trained at."""
    select_width: int | None = added_field(None, ge=32)
    """The same; unset: ``width``."""
    batch_size: int = Field(4, ge=1)
    """Images per step, over all workers together."""
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    rare_classes: RareClassConfig = added_field(RareClassConfig())
    loop: LoopConfig = LoopConfig()
    batch_norm: BatchNormPolicy = "local"
    """Statistics per worker, over all workers (needs GPUs), or ``frozen``: fixed, with scales and shifts, at what they
    are initially. ``frozen_affine``: statistics per worker, the encoder's scales and shifts fixed (FDA, DACS)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast on a GPU, float32 on a CPU."""
    score_batch_size: int = runtime_field(8, ge=1)
    """Images per forward pass when scoring."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode and augment; unset takes 4 on a GPU and none on a CPU."""
    cache_bytes: int = runtime_field(2 << 30, ge=0)
    """Splits whose decoded images fit are decoded once and kept in memory."""

    @model_validator(mode="after")
    def _has_auxiliary_heads(self) -> "Config":
        name = self.network.architecture
        if self.loss.auxiliary_weight is not None and name not in AUXILIARY_WEIGHTS:
            raise ValueError(
                f"{name} has no auxiliary head, only {', '.join(AUXILIARY_WEIGHTS)}; leave loss.auxiliary_weight unset"
            )
        return self

    def select_size(self) -> tuple[int, int]:
        """Height and width at which the selection split is scored."""
        return self.select_height or self.height, self.select_width or self.width

    def resolved(self, *, device_type: str) -> "Config":
        """Decide ``precision``."""
        if self.precision != "auto":
            return self
        return self.model_copy(update={"precision": "bfloat16" if device_type == "cuda" else "float32"})
