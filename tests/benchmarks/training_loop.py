"""Training loop against a bare PyTorch loop: same network, batches, loss, optimizer and precision, in one run.

Blocks of both alternate, so whatever else the machine does hits both alike. Target: ≥ 0.97 of the bare loop's images/s.
Usage: ``python -m tests.benchmarks.training_loop [--steps 120] [--height 64 --width 128 --batch-size 4]``
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional

from orchestrator.provenance import hardware
from trainers.components.configs import LossConfig
from trainers.context import PlainContext
from trainers.data.images import SplitImages
from trainers.data.loader import AugmentedSamples, Batch, training_batches
from trainers.data.toy_city import write_tree
from trainers.loop import train
from trainers.loop_config import LoopConfig
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config

BLOCK_STEPS = 10
WARM_UP_STEPS = 20


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        medians = measure(Path(folder), device, options)
    images = {name: options.batch_size / seconds for name, seconds in medians.items()}
    print(f"FPN-ResNet18, batch {options.batch_size} at {options.height}×{options.width}, {hardware(device.type)}")
    for name, rate in images.items():
        print(f"{name:32} {rate:9.2f} images/s   {rate / images['bare loop']:.3f} of the bare loop")
    print(json.dumps({"hardware": hardware(device.type), "images_per_second": images}))


def measure(folder: Path, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step: bare loop, our loop on the same batches, our loop with our loader."""
    counts = {"day": {"train": 32, "val": 2}}
    for _ in write_tree(folder, seed=0, height=options.height, width=options.width, counts=counts):
        pass
    fields = {
        "train": ["toy_city/day_train"],
        "select": "toy_city/day_val",
        "height": options.height,
        "width": options.width,
        "batch_size": options.batch_size,
        "loss": LossConfig(alpha=1.0),
    }
    config = Config.model_validate(fields).resolved(device_type=device.type)
    context = PlainContext(folder / "run", device=device)
    size = {"height": options.height, "width": options.width}
    samples = AugmentedSamples(
        [SplitImages({"toy_city": folder}, config.train[0], **size)],
        config.augmentation,
        batch_size=options.batch_size,
        seed=0,
    )

    def loaded(steps: range) -> Iterator[Batch]:
        return training_batches(samples, steps=steps, batch_size=options.batch_size, workers=None, context=context)

    memory = list(loaded(range(1, 9)))
    bare = BareLoop(config, device)
    times: dict[str, list[float]] = {"bare loop": [], "our loop, batches in memory": [], "our loop with our loader": []}
    for name, source in (
        ("our loop, batches in memory", lambda steps: (memory[step % len(memory)] for step in steps)),
        ("our loop with our loader", loaded),
    ):
        torch.manual_seed(0)
        learner = SupervisedLearner(
            config, select=SplitImages({"toy_city": folder}, config.select, **size), context=context, pretrained=False
        )
        train(
            learner,
            lambda steps, source=source, name=name: alternate(source(steps), memory, bare, times, name, device),
            LoopConfig(steps=options.steps, score_every_steps=options.steps, checkpoint_every_steps=options.steps),
            batch_size=options.batch_size,
            seed=0,
            output=folder,
            context=PlainContext(folder / name.replace(" ", "-"), device=device),
        )
    return {name: statistics.median(values) for name, values in times.items()}


class BareLoop:
    """What one would write by hand."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.manual_seed(0)
        self.network = build_segmenter(config.network, pretrained=False).to(device).train()
        if device.type == "cuda":
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, fused=True)
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")

    def step(self, batch: Batch) -> None:
        """Forward, cross-entropy, backward, step."""
        with self.autocast:
            logits = self.network(batch.images)
        loss = functional.cross_entropy(logits.float(), batch.labels.long(), ignore_index=255)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def alternate(
    batches: Iterator[Batch],
    memory: list[Batch],
    bare: BareLoop,
    times: dict[str, list[float]],
    name: str,
    device: torch.device,
) -> Iterator[Batch]:
    """Pass ``batches`` on to our loop and, after each block of it, run a block of the bare loop; time both.

    Our step is timed from before the batch is fetched to when the loop comes back for the next one.
    """
    started = clock(device)
    for number, batch in enumerate(batches, start=1):
        yield batch
        if number % BLOCK_STEPS:
            continue
        now = clock(device)
        if number > WARM_UP_STEPS:
            times[name].append((now - started) / BLOCK_STEPS)
        started = clock(device)
        for step in range(BLOCK_STEPS):
            bare.step(memory[step % len(memory)])
        now = clock(device)
        if number > WARM_UP_STEPS:
            times["bare loop"].append((now - started) / BLOCK_STEPS)
        started = clock(device)


def clock(device: torch.device) -> float:
    """Seconds, once the device has caught up."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
