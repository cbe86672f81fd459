"""Pseudo-labels of a whole split: the averaged prediction of some segmenters, the confident part of each class.

The input role ``segmenter`` is a training stage, and so are further ones ``segmenter_…``, whose probabilities are
averaged with its own. Two passes over the images: one counts confidences per class, the other writes labels.

Source: Yang and Soatto, FDA, section 3.3; YanchaoYang/FDA, getSudoLabel_multi.py.
Differs: probabilities are averaged at the input's size, there at an eighth and then enlarged; thresholds are in
    ``components.pseudo_labels.class_thresholds``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.components.pseudo_labels import class_thresholds, count_confidences, keep_confident, predict
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import TargetImages
from trainers.data.label_files import write_index, write_label
from trainers.data.label_spaces import CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES
from trainers.data.loader import evaluation_batches
from trainers.pictures import evenly_spaced, write_panel
from trainers.segmentation.trained import load_predictor
from trainers.selection.pseudo_labels_config import Config

NUM_PICTURES = 4


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data."""
    if config.target.dataset in inputs:
        open_split(inputs, config.target)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``labels/<index>.png`` (train ids, 255 where unsure) and ``labels.json``.

    Returns:
        ``images``, ``kept`` (share of all pixels), and by class name the ``thresholds`` and the ``kept_pixels``.
    """
    network, _, _ = load_predictor(inputs, config.checkpoint)
    network.to(context.device).eval()
    images = TargetImages(inputs, config.target, height=config.height, width=config.width)
    counts = torch.zeros(NUM_CLASSES, config.bins, dtype=torch.int64, device=context.device)
    for labels, confidence in _predictions(network, images, config, context):
        counts += count_confidences(labels, confidence, config.bins)
    counts = context.all_reduce(counts)
    thresholds = class_thresholds(counts, quantile=config.quantile, cap=config.cap)
    kept = torch.zeros(NUM_CLASSES + 1, dtype=torch.int64, device=context.device)
    written = context.rank
    drawn = set(evenly_spaced(NUM_PICTURES, len(images)))
    for labels, confidence in _predictions(network, images, config, context):
        labels = keep_confident(labels, confidence, thresholds, config.bins)
        kept += torch.bincount(labels.clamp_max(NUM_CLASSES).flatten(), minlength=NUM_CLASSES + 1)
        for one, sureness in zip(labels.to(torch.uint8).cpu(), confidence.cpu(), strict=True):
            write_label(output, written, one.numpy())
            if written in drawn and context.rank == 0:
                _draw(output, written, images, one, sureness)
            written += context.world_size
    kept = context.all_reduce(kept)
    if context.rank == 0:
        write_index(output, config.target, images=len(images), height=config.height, width=config.width)
    return {
        "images": len(images),
        "kept": float(kept[:NUM_CLASSES].sum() / kept.sum()),
        "thresholds": {name: int(one) / config.bins for name, one in zip(CLASS_NAMES, thresholds, strict=True)},
        "kept_pixels": {name: int(one) for name, one in zip(CLASS_NAMES, kept, strict=False)},
    }


@torch.inference_mode()
def _predictions(
    network: nn.Module, images: TargetImages, config: Config, context: TrainContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels and confidences of this rank's images, in order."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for batch in evaluation_batches(
        images, batch_size=config.batch_size, workers=config.loader_workers, context=context
    ):
        yield predict(network(batch.images).float())


def _draw(output: Path, index: int, images: TargetImages, labels: Tensor, confidence: Tensor) -> None:
    tiles = {
        "target": images[index][0].permute(1, 2, 0).contiguous().numpy(),
        "pseudo-label": labels.numpy(),
        "confidence": (confidence * 255).to(torch.uint8).unsqueeze(-1).expand(-1, -1, 3).contiguous().numpy(),
    }
    share = float((labels != IGNORE_LABEL).float().mean())
    caption = f"{100 * share:.1f} % of the pixels are kept"
    write_panel(output, f"{index:06d}", tiles, title=images.samples[index].image.stem, caption=caption)
