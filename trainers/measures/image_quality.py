"""How near the images of a split come to those of another, frame by frame, in their own size.

Source: see ``components.image_quality``.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from trainers.components.image_quality import psnr, ssim
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.image_files import decode, to_rgb
from trainers.data.matched import match
from trainers.data.packed import is_packed
from trainers.errors import UserError
from trainers.measures.image_quality_config import Config


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent or packed data, and images without a partner of their size."""
    splits = (config.split, config.reference)
    for split in splits:
        if split.dataset in inputs:
            if is_packed(inputs[split.dataset]):
                raise UserError(f"{inputs[split.dataset]} is packed; name the original folder, sizes count here")
            open_split(inputs, split)
    if all(split.dataset in inputs for split in splits):
        match(inputs, *splits)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Measure.

    Returns:
        ``psnr`` in dB and ``ssim`` in [-1, 1], means over the ``images``; ``psnr`` is ``None`` where an image is its
        reference, for it is infinite then.
    """
    samples, references = (open_split(inputs, split) for split in (config.split, config.reference))
    partners = match(inputs, config.split, config.reference)
    sums = torch.zeros(2, dtype=torch.float64)
    for index in range(context.rank, len(samples), context.world_size):
        pair = _read(samples[index].image), _read(references[partners[index]].image)
        sums += torch.stack([measure(*pair)[0] for measure in (psnr, ssim)])
    means = (context.all_reduce(sums.to(context.device)) / len(samples)).tolist()
    found: list[float | None] = [value if math.isfinite(value) else None for value in means]
    return {"psnr": found[0], "ssim": found[1], "images": len(samples)}


def _read(path: Path) -> UInt8[Tensor, "1 3 h w"]:
    pixels = np.array(to_rgb(decode(path), path))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
