"""A stage that does nothing, and a study of three of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.graph import Arm, Evaluation, Experiment, Stage
from tests.benchmarks.noop_config import Config

SCORES = ("miou", "miou_zeros", "pixel_accuracy", "class_accuracy", "fwiou", "infomax")


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Nothing is refused."""


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: Any) -> dict[str, Any]:
    """A file, and what an evaluation returns."""
    (output / "value.txt").write_text(str(config.value))
    fixed = {"step": 1, "images": 1, "height": 1, "width": 1, "class_set": "cityscapes19", "iou": {}, "confusion": []}
    return {**dict.fromkeys(SCORES, 0.5), **fixed}


def experiment() -> Experiment:
    """train → val@best, val@final: three stages that no other trial shares."""
    stages = {
        "train": Stage("train", "noop", Config()),
        "val@best": Stage("val@best", "noop", Config(value=1.0), {"segmenter": "train"}),
        "val@final": Stage("val@final", "noop", Config(value=2.0), {"segmenter": "train"}),
    }
    arm = Arm("noop", "train", (Evaluation("val", "select"),), source="val", target_unlabeled="val", target="val")
    return Experiment("noop", "nothing", "none", stages, {"noop": arm}, {}, "source_miou")
