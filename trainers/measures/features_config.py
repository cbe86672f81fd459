"""Configuration of the stage that takes the features of a split."""

from typing import Any

from pydantic import Field

from trainers.config import Config as BaseConfig
from trainers.config import SeedFrom, runtime_field
from trainers.data.datasets import DataSplit
from trainers.networks.features_config import FeatureConfig

VERSION = 1
SEED_FROM: SeedFrom | None = None


class Config(BaseConfig):
    """One vector for each image of a split."""

    split: DataSplit
    """Labels that it may have are not read."""
    features: FeatureConfig = FeatureConfig.model_validate("inception")
    """Network and layer; the default is what published Fréchet distances use."""
    height: int = Field(ge=8)
    """Pixels to which images are resized before the network resizes them its own way (inception: to 299×299)."""
    width: int = Field(ge=8)
    """The same. pytorch-fid leaves images in their own size here."""
    batch_size: int = runtime_field(16, ge=1)
    """Images per forward pass."""
    loader_workers: int | None = runtime_field(None, ge=0)
    """Processes that decode; unset takes 4 on a GPU and none on a CPU."""

    def reads_input(self, role: str) -> bool:
        """The segmenter is read where it gives the features."""
        return role != "segmenter" or self.features.needs_input()

    def content(self) -> dict[str, Any]:
        """A file of weights counts by its bytes."""
        return {"features": self.features.key()}
