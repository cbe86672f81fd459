"""Pack a data set as a stage: resized, decoded-once shards that every later stage maps into memory.

The pixels are those of ``SplitImages``: images resized with antialiased bilinear filtering, labels as train ids by
nearest neighbor. So a training reads bit for bit what it would read from the original at that size.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.context import TrainContext
from trainers.data.datasets import DATASETS, DataSplit, class_set_at, open_split
from trainers.data.images import PLANES, PLANES_WITH_PARTNER, SplitImages, count_classes
from trainers.data.label_spaces import NUM_CLASSES
from trainers.data.pack_config import Config
from trainers.data.packed import FORMAT, INDEX_FILE


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data."""
    for split in config.splits:
        if split.dataset in inputs:  # Else a stage that has not run yet makes it.
            open_split(inputs, split)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write the shards, each by one rank, and ``packed.json``; returns the images of each split."""
    dataset = config.splits[0].dataset
    root = inputs[dataset]
    opened = {split.part: _open(config, inputs, split) for split in config.splits}
    total, done = sum(len(images) for images in opened.values()), 0
    splits = {}
    for part, images in opened.items():
        shards = _shards(config, part, images)
        pixels = torch.zeros(len(images), NUM_CLASSES, dtype=torch.int64)
        for shard in shards[context.rank :: context.world_size]:
            for position, counts in _write_shard(config, output / shard["file"], images, shard):
                pixels[position] = torch.from_numpy(counts)
                done += 1
                if context.rank == 0 and done % 50 == 0:
                    context.report({"step": done, "steps": -(-total // context.world_size)})
        class_pixels = context.all_reduce(pixels.to(context.device)).cpu()
        splits[part] = {**_names(images, root), "shards": shards, "class_pixels": class_pixels.tolist()}
    context.barrier()
    if context.rank == 0:
        index = {
            "format": FORMAT,
            "dataset": dataset,
            "class_set": class_set_at(dataset, root),
            "height": config.height,
            "width": config.width,
            "splits": splits,
        }
        (output / INDEX_FILE).write_text(json.dumps(index))
    return {"images": {part: len(images) for part, images in opened.items()}}


def _open(config: Config, inputs: Mapping[str, Path], split: DataSplit) -> SplitImages:
    partners = split.split in DATASETS[split.dataset].paired
    size = {"height": config.height, "width": config.width}
    return SplitImages(inputs, split, **size, cache_bytes=0, partners=partners)


def _shards(config: Config, part: str, images: SplitImages) -> list[dict[str, Any]]:
    planes = PLANES_WITH_PARTNER if images.partners else PLANES
    each = max(1, config.shard_bytes // (planes * config.height * config.width))
    stem = "".join(letter if letter.isalnum() or letter in "_-." else "-" for letter in part)
    return [
        {"file": f"{stem}-{number:05d}.npy", "first": first, "images": min(each, len(images) - first)}
        for number, first in enumerate(range(0, len(images), each))
    ]


def _write_shard(
    config: Config, path: Path, images: SplitImages, shard: Mapping[str, Any]
) -> Iterator[tuple[int, np.ndarray]]:
    """Fill one file; yields the position of each image and its pixels per class."""
    planes = PLANES_WITH_PARTNER if images.partners else PLANES
    shape = (shard["images"], planes, config.height, config.width)
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    positions = range(shard["first"], shard["first"] + shard["images"])
    with ThreadPoolExecutor(config.threads) as pool:
        for within, (position, read) in enumerate(zip(positions, pool.map(images.planes, positions), strict=True)):
            target[within] = read.numpy()
            yield position, count_classes(target[within, 3])
    target.flush()


def _names(images: SplitImages, root: Path) -> dict[str, list[str] | None]:
    """Paths below the data set's folder, by kind."""

    def relative(paths: list[Path | None]) -> list[str] | None:
        found = [path.relative_to(root).as_posix() for path in paths if path is not None]
        return found if len(found) == len(paths) else None

    return {
        "images": relative([sample.image for sample in images.samples]),
        "labels": relative([sample.label for sample in images.samples]),
        "partners": relative([sample.partner for sample in images.samples]) if images.partners else None,
    }
