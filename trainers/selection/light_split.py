"""Split a pool of images into day and night by their brightness, and both 3 : 1, as a data set ``light_pool``.

Source: see ``selection.light``; the night thesis, section 4.2.1, which merges NEXET's three lights into two.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.context import TrainContext
from trainers.data.datasets import content_files, label_map_of, name_of, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.image_files import decode, to_rgb
from trainers.data.references import Reference, write_references
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.selection.light import brightness_score
from trainers.selection.light_split_config import Config

SCORES = "brightness.json"
HALVES = ("day", "night")


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data."""
    if config.pool.dataset in inputs:
        open_split(inputs, config.pool)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``references.json`` and ``brightness.json`` (score and mean colors of every image).

    Returns:
        ``images`` of each of the four parts, and ``quantiles`` of the score (of 0, 10, … 100 %).

    Raises:
        UserError: a half has fewer than two images.
    """
    root, samples = inputs[config.pool.dataset], open_split(inputs, config.pool)
    names = [name_of(sample, inputs, config.pool) for sample in samples]
    colors = _mean_colors([sample.image for sample in samples], config, context)
    scores = brightness_score(colors, alpha=config.alpha, scale=config.scale)
    parts: dict[str, Reference] = {}
    for half, chosen in zip(HALVES, (scores >= config.threshold, scores < config.threshold), strict=True):
        positions = np.flatnonzero(chosen)
        if len(positions) < 2:
            raise UserError(
                f"{len(positions)} of the {len(samples)} images of {config.pool} are {half} at threshold "
                f"{config.threshold:g}; scores go from {scores.min():.1f} to {scores.max():.1f}"
            )
        order = np.random.default_rng(derive_seed(config.split_seed, half)).permutation(positions)
        cut = min(len(order) - 1, max(1, round(config.train_share * len(order))))
        for part, taken in (("train", order[:cut]), ("val", order[cut:])):
            listed = tuple(names[position] for position in sorted(taken.tolist()))
            parts[f"{half}_{part}"] = Reference(str(config.pool), listed, None)
    if context.rank == 0:
        whole = fingerprint(root, content_files(root, config.pool, samples))
        label_map = label_map_of(config.pool.dataset, root)
        write_references(output, parts, label_map=label_map, fingerprints=dict.fromkeys(parts, whole))
        rows = zip(names, scores.tolist(), colors.tolist(), strict=True)
        (output / SCORES).write_text(json.dumps([list(row) for row in rows]))
    quantiles = np.quantile(scores, np.linspace(0, 1, 11)).tolist()
    return {"images": {name: len(part.names) for name, part in parts.items()}, "quantiles": quantiles}


def _mean_colors(paths: list[Path], config: Config, context: TrainContext) -> np.ndarray:
    """Means of red, green and blue (n, 3), each image read by one rank."""

    def mean(path: Path) -> np.ndarray:
        average: np.ndarray = np.asarray(to_rgb(decode(path), path)).mean(axis=(0, 1))
        return average

    colors = torch.zeros(len(paths), 3, dtype=torch.float64)
    mine = range(context.rank, len(paths), context.world_size)
    with ThreadPoolExecutor(config.threads) as pool:
        read = pool.map(mean, [paths[position] for position in mine])
        for done, (position, average) in enumerate(zip(mine, read, strict=True), start=1):
            colors[position] = torch.from_numpy(average)
            if context.rank == 0 and done % 200 == 0:
                context.report({"step": done, "steps": len(mine)})
    summed: np.ndarray = context.all_reduce(colors.to(context.device)).cpu().numpy()
    return summed
