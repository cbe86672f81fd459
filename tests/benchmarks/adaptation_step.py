"""A step of each adaptation against a supervised step at the same crop and batch: alternating, in one run.

Target: DACS ≤ 2.6 ×. One teacher forward and two student forwards with their backwards are 7 / 3 of a supervised step
if a backward costs two forwards. Usage: ``python -m tests.benchmarks.adaptation_step [--steps 12] [--cpu-seconds]``
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from orchestrator.provenance import hardware
from trainers.adaptation.dacs import DACSLearner
from trainers.adaptation.dacs_config import Config as DACSConfig
from trainers.adaptation.fda import FDALearner
from trainers.adaptation.fda_config import Config as FDAConfig
from trainers.context import PlainContext
from trainers.data.domains import DomainBatch
from trainers.data.images import SplitImages
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config as SupervisedConfig

WARM_UP_STEPS = 2


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--cpu-seconds", action="store_true", help="of the process, over all threads")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        medians = measure(learners(options, PlainContext(Path(folder), device=device)), options, device, clock)
    ratios = {name: seconds / medians["supervised"] for name, seconds in medians.items()}
    print(f"FPN-ResNet18, batch {options.batch_size} at {options.height}×{options.width}, {hardware(device.type)}")
    for name, ratio in ratios.items():
        print(f"{name:24} {1000 * medians[name]:8.1f} ms   {ratio:.2f} × a supervised step")
    print(json.dumps({"hardware": hardware(device.type), "ratios": ratios}))


def learners(options: argparse.Namespace, context: PlainContext) -> dict[str, Any]:
    """One of each; a step never looks at the select split."""
    fields = {
        "train": ["toy_city/game_train"],
        "select": "toy_city/game_val",
        "height": options.height,
        "width": options.width,
        "batch_size": options.batch_size,
    }
    adaptation = {**fields, "target": "toy_city/day_train"}
    masked = {"masked": {"weight": 1.0, "patch": 8}, "feature_distance": {"weight": 0.005, "stage": 3}}
    unread = SplitImages.__new__(SplitImages)
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "supervised": (SupervisedLearner, SupervisedConfig, fields),
        "fda": (FDALearner, FDAConfig, {**adaptation, "beta": 0.05}),
        "dacs": (DACSLearner, DACSConfig, adaptation),
        "dacs with all parts": (DACSLearner, DACSConfig, {**adaptation, **masked}),
    }
    return {
        name: learner(
            config.model_validate(values).resolved(device_type=context.device.type),
            select=unread,
            context=context,
            pretrained=False,
        )
        for name, (learner, config, values) in kinds.items()
    }


def measure(
    made: dict[str, Any], options: argparse.Namespace, device: torch.device, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of a step of each."""
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch_size, 3, options.height, options.width)
    images = [torch.randint(256, shape, generator=generator, dtype=torch.uint8).to(device) for _ in range(2)]
    blocks = torch.randint(19, (options.batch_size, options.height // 8, options.width // 8), generator=generator)
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).to(device, torch.uint8)
    batch = DomainBatch(images[0], labels, images[1], torch.full_like(labels, 255))
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for step in range(1, WARM_UP_STEPS + options.steps + 1):
        for name, learner in made.items():
            started = clock()
            learner.train_step(batch, step)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if step > WARM_UP_STEPS:
                seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
