"""A stage that reports and saves every step, agrees with the other ranks in each, and gets into trouble as told."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orchestrator.graph import Arm, Evaluation, Experiment, Stage
from tests.benchmarks.noop_config import Config as NoopConfig
from tests.integration.drill_config import Config
from trainers.context import TrainContext


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Nothing is refused."""


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Count to ``loop.steps`` from the last checkpoint; every step that is done leaves a line in ``steps.txt``."""
    storage = output.parents[2]
    folder = context.resume()
    done = int((folder / "step.txt").read_text()) if folder is not None else 0
    for step in range(done + 1, config.loop.steps + 1):
        if context.rank == 0:
            with (storage / "steps.txt").open("a") as file:
                file.write(f"{config.value} {step} {os.getpid()}\n")
        if step == config.at and context.rank == config.rank:
            get_into_trouble(config, storage)
        time.sleep(config.pause_seconds)
        context.all_reduce(torch.ones(1, device=context.device))
        metrics = {"step": step, "steps": config.loop.steps, "selection": config.value, "selection_step": step}
        context.report(metrics, lambda folder, step=step: (folder / "step.txt").write_text(str(step)))  # type: ignore[misc]
    if context.rank == 0:
        (output / "value.txt").write_text(str(config.value))
    return {"seconds": 0.0, "images_per_second": 1.0}


def get_into_trouble(config: Config, storage: Path) -> None:
    """Once for each value, if it is not to be always."""
    mark = storage / f"trouble-{config.value}"
    if config.trouble != "die always":
        if config.trouble == "none" or mark.exists():
            return
        mark.touch()
    if config.trouble == "raise":
        raise ValueError("told to raise")
    if config.trouble == "memory":
        raise MemoryError("told to want too much")
    if config.trouble == "hang":
        time.sleep(3600)
    os.kill(os.getpid(), signal.SIGKILL)


def experiment(**values: Any) -> Experiment:
    """train → val@best, val@final."""
    stages = {
        "train": Stage("train", "drill", Config(**values)),
        "val@best": Stage("val@best", "noop", NoopConfig(value=1.0), {"segmenter": "train"}),
        "val@final": Stage("val@final", "noop", NoopConfig(value=2.0), {"segmenter": "train"}),
    }
    arm = Arm("drill", "train", (Evaluation("val", "select"),), source="val", target_unlabeled="val", target="val")
    return Experiment("drill", "trouble", "none", stages, {"drill": arm}, {}, "source_miou")
