"""What all adaptation methods configure beside supervised training."""

from typing import Literal

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import runtime_field
from trainers.data.datasets import DataSplit
from trainers.segmentation.supervised_config import Config as SupervisedConfig


class FeatureDistanceConfig(BaseConfig):
    """Keep the encoder's features near those that it started with, where things are. Source: DAFormer."""

    weight: float = Field(0.0, ge=0)
    """Weight of the distance; 0 leaves it out. Source: .005."""
    stage: int = Field(-1, ge=-6, le=5)
    """Which of the encoder's feature maps, from the shallowest (0) or the deepest (-1, which the source takes). Small
    images need a shallower one: a cell counts where three quarters of its pixels are of one class."""


class Config(SupervisedConfig):
    """Train on labeled source images (``train``) and unlabeled target images."""

    target: DataSplit
    """Split of the target domain; labels that it may have are not read."""
    target_height: int | None = Field(None, ge=32)
    """Pixels to which target images are resized before augmentation; unset: ``height``. After cropping source and
    target have one size."""
    target_width: int | None = Field(None, ge=32)
    """The same; unset: ``width``."""
    select_by: Literal["infomax", "miou"] = "infomax"
    """What chooses the best checkpoint on ``select``: confident and diverse predictions, which needs no labels (then
    ``select`` may be of the target), or the mIoU."""
    feature_distance: FeatureDistanceConfig = FeatureDistanceConfig()
    pictures: int = runtime_field(3, ge=0, le=20)
    """Panels that the artifact keeps, evenly spaced over the training; no number depends on them."""

    def target_size(self) -> tuple[int, int]:
        """Height and width to which target images are resized."""
        return self.target_height or self.height, self.target_width or self.width
