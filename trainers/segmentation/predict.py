"""Predictions of a trained segmenter for images that belong to no data set.

Shape legend: c classes, h height, w width; (H, W) is the network's input, (h, w) an image's own size.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from trainers.bands import resized_bands
from trainers.data.image_files import decode, to_rgb
from trainers.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What the segmenter makes of one file."""

    path: Path
    train_ids: UInt8[np.ndarray, "h w"]
    """In the image's own size."""
    confidence: Float[np.ndarray, "h w"]
    """Softmax probability of the predicted class, in (0, 1]."""


@dataclass(frozen=True)
class Unreadable:
    """A file that is no image, and why."""

    path: Path
    reason: str


def predict(
    segmenter: Callable[[Tensor], Tensor],
    paths: Sequence[Path],
    *,
    height: int,
    width: int,
    batch_size: int,
    device: torch.device,
    workers: int = 4,
) -> Iterator[Prediction | Unreadable]:
    """One result per path, in order; ``segmenter`` (raw images in, logits out) must be in evaluation mode and on
    ``device``.

    Each image is resized to (height, width), antialiased bilinear as in training, predicted whole, and its logits are
    resized back bilinearly before the class is chosen. The next batch is read while this one is computed. On a GPU the
    network runs in bfloat16; the softmax is float32 everywhere.
    """

    def read(batch: Sequence[Path]) -> list[tuple[UInt8[Tensor, "3 h w"], tuple[int, int]] | Unreadable]:
        return list(pool.map(lambda path: read_image(path, height=height, width=width), batch))

    @torch.inference_mode()  # Not around the generator: the mode would stay on between its steps.
    def infer(images: Sequence[Tensor]) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            return segmenter(torch.stack(list(images)).to(device, non_blocking=True)).float()

    batches = [
        list(batch) for batch in (paths[start : start + batch_size] for start in range(0, len(paths), batch_size))
    ]
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert coming is not None
            images = coming.result()
            coming = ahead.submit(read, batches[number + 1]) if number + 1 < len(batches) else None
            whole = [one[0] for one in images if not isinstance(one, Unreadable)]
            logits = iter(infer(whole) if whole else ())
            for path, one in zip(batch, images, strict=True):
                yield one if isinstance(one, Unreadable) else _restored(path, next(logits), one[1])


def read_image(path: Path, *, height: int, width: int) -> tuple[UInt8[Tensor, "3 h w"], tuple[int, int]] | Unreadable:
    """RGB in 0…255 at the network's size, and the image's own (h, w)."""
    try:
        image = to_rgb(decode(path), path)
    except UserError as error:
        return Unreadable(path, str(error))
    pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), (image.height, image.width)


@torch.inference_mode()
def _restored(path: Path, logits: Float[Tensor, "c h w"], size: tuple[int, int]) -> Prediction:
    """Class and probability at the image's own size."""
    bands = []
    for band in resized_bands(logits, size):
        best, train_ids = band.max(dim=0)  # Before the softmax, whose rounding makes ties: as the evaluation does.
        bands.append((train_ids.to(torch.uint8).cpu(), (best - band.logsumexp(dim=0)).exp().cpu()))
    all_train_ids, all_confidence = (torch.cat(parts).numpy() for parts in zip(*bands, strict=True))
    return Prediction(path, all_train_ids, all_confidence)
