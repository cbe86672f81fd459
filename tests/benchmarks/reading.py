"""Reading a data set: PNG files, packed shards, and memory, in one run; and what the source costs the trainer.

Frames are those of Cityscapes at ../shared/data where they are, else noise of their size. Target: a training on packed
shards keeps ≥ 0.95 of the images/s of one whose images are in memory. Blocks alternate, so whatever else the machine
does hits all alike.
Usage: ``python -m tests.benchmarks.reading [--height 256 --width 512 --blocks 5 --steps 4]``
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from orchestrator.provenance import hardware
from trainers.components.configs import AugmentationConfig
from trainers.context import PlainContext
from trainers.data import pack
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.loader import AugmentedSamples, training_batches
from trainers.data.pack_config import Config as PackConfig
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "cityscapes_sample"
SPLIT = DataSplit(dataset="cityscapes", split="train")
BATCH_SIZE = 4


def main() -> None:
    """Measure and print one table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        reading, training = measure(Path(folder), device, options)
    print(f"frames of 1024×2048 read at {options.height}×{options.width}, {hardware(device.type)}")
    for name, rate in reading.items():
        print(f"reading from {name:8} {rate:10.1f} images/s   {rate / reading['files']:8.1f} × the files")
    for name, rate in training.items():
        print(f"training on {name:9} {rate:10.2f} images/s   {rate / training['memory']:8.3f} of memory")
    print(json.dumps({"hardware": hardware(device.type), "reading": reading, "training": training}))


def measure(
    folder: Path, device: torch.device, options: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float]]:
    """Images/s of reading and augmenting batches, and of training, by source."""
    root = PHOTOGRAPHS if PHOTOGRAPHS.is_dir() else write_noise(folder / "cityscapes")
    size = {"height": options.height, "width": options.width}
    (folder / "packed").mkdir()
    pack.run(
        PackConfig(splits=(SPLIT,), **size), {"cityscapes": root}, folder / "packed", None, PlainContext(folder / "p")
    )
    sources = {
        "files": SplitImages({"cityscapes": root}, SPLIT, **size, cache_bytes=0),
        "packed": SplitImages({"cityscapes": folder / "packed"}, SPLIT, **size),
        "memory": SplitImages({"cityscapes": root}, SPLIT, **size),
    }
    samples = {
        name: AugmentedSamples([images], AugmentationConfig(), batch_size=BATCH_SIZE, seed=0)
        for name, images in sources.items()
    }
    config = Config(train=(SPLIT,), select=SPLIT, **size, batch_size=BATCH_SIZE).resolved(device_type=device.type)
    context = PlainContext(folder / "run", device=device)
    learner = SupervisedLearner(config, select=sources["memory"], context=context, pretrained=False)
    reading: dict[str, list[float]] = {name: [] for name in sources}
    training: dict[str, list[float]] = {name: [] for name in sources}
    for block in range(options.blocks + 1):
        for name in sources:
            for times, train in ((reading, False), (training, True)):
                started = clock(device)
                steps = range(1, options.steps + 1)
                for batch in training_batches(
                    samples[name], steps=steps, batch_size=BATCH_SIZE, workers=None, context=context
                ):
                    if train:
                        learner.train_step(batch, 1)
                if block:  # The first warms up, and fills the memory.
                    times[name].append((clock(device) - started) / (options.steps * BATCH_SIZE))
    return tuple(
        {name: 1 / statistics.median(values) for name, values in times.items()} for times in (reading, training)
    )


def write_noise(root: Path) -> Path:
    """Eleven frames of the benchmark's size; smooth noise, which PNG packs like photographs."""
    rng = np.random.default_rng(0)
    for number in range(11):
        coarse = Image.fromarray(rng.integers(256, size=(64, 128, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((2048, 1024), Image.Resampling.BICUBIC)).astype(int)
        pixels = (smooth + rng.integers(-4, 5, size=smooth.shape)).clip(0, 255).astype(np.uint8)
        label = rng.choice([7, 11, 23, 26], size=(64, 128)).astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)
        stem = f"aachen_{number:06d}_000019"
        for kind, ending, array in (("leftImg8bit", "leftImg8bit", pixels), ("gtFine", "gtFine_labelIds", label)):
            path = root / kind / "train" / "aachen" / f"{stem}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return root


def clock(device: torch.device) -> float:
    """Seconds, once the device has caught up."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
