"""A graph of stages as it grows around one segmenter; the input that makes each stage's data is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.graph import Arm, Stage
from trainers.config import Config, walk
from trainers.data.datasets import DataSplit
from trainers.registry import method
from trainers.segmentation.supervised_config import Config as SupervisedConfig


@dataclass(kw_only=True)
class GrowingGraph:
    """Stages and arms of an experiment that measures by a segmenter which is the same in every trial."""

    segmenter: SupervisedConfig
    data: Mapping[str, str] = field(default_factory=dict)
    """Data set → the stage that makes it."""
    stages: dict[str, Stage] = field(default_factory=dict)
    arms: dict[str, Arm] = field(default_factory=dict)

    def add(self, name: str, kind: str, inputs: Mapping[str, str], **fields: Any) -> str:
        """A stage."""
        config = method(kind).config.model_validate(fields)
        self.stages[name] = Stage(name, kind, config, {**self.made(config), **inputs})
        return name

    def add_segmenter(self) -> None:
        """The stage ``segmenter``, whose seed is the sweep's."""
        self.stages["segmenter"] = Stage(
            "segmenter", "supervised", self.segmenter, self.made(self.segmenter), seed_from="sweep"
        )

    def made(self, config: Config) -> dict[str, str]:
        """The stages that make the data sets which ``config`` names; a translation also needs what it was made of."""
        names = {item.dataset for item in walk(config) if isinstance(item, DataSplit)}
        return {name: stage for name, stage in self.data.items() if name in names or "translated" in names}
