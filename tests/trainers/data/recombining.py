"""Runs of the stage that recombines label maps, and what it leaves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainers.context import PlainContext
from trainers.data import recombine
from trainers.data.datasets import DataSplit
from trainers.data.recombine_config import Config


def run(output: Path, roots: Mapping[str, Path], *, seed: int = 0, context: Any = None, **fields: Any) -> Any:
    output.mkdir(exist_ok=True)
    config = Config.model_validate({"split": "toy_city/day_train", **fields})
    recombine.check(config, roots)
    return recombine.run(config, roots, output, seed, context or PlainContext(output.parent / "unused"))


def tree(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def label_maps(samples: Any) -> list[np.ndarray]:
    return [np.asarray(Image.open(sample.label)) for sample in samples]


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)
