"""Pseudo-labels of a whole split: the averaged prediction of some segmenters, the confident part of it.

The input role ``segmenter`` is a training stage, and so are further ones ``segmenter_…``, whose probabilities are
averaged with its own. One pass writes labels; for thresholds of each class one before it counts confidences. A run that
was killed goes on behind its last checkpoint, on any number of workers: what is done is always the first images.

Source: Yang and Soatto, FDA, section 3.3; YanchaoYang/FDA, getSudoLabel_multi.py. The night thesis, section 3.3.3: it
    keeps all pixels and names a threshold as future work.
Differs: probabilities are averaged at the input's size, there at an eighth and then enlarged; thresholds are in
    ``components.pseudo_labels.class_thresholds``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.checkpoint import cure, load_state, save_state
from trainers.components.pseudo_labels import class_thresholds, count_confidences, keep_confident, predict
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import DATASETS, open_split
from trainers.data.domains import TargetImages
from trainers.data.image_files import decode
from trainers.data.label_files import label_path, link_labels, write_index, write_label
from trainers.data.label_spaces import CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES
from trainers.data.loader import evaluation_batches
from trainers.errors import UserError
from trainers.pictures import evenly_spaced, write_panel
from trainers.segmentation.trained import Ensemble, load_predictor
from trainers.selection.pseudo_labels_config import Config
from trainers.selection.views import averaged

NUM_PICTURES = 4
PROGRESS = "progress.pt"


@dataclass
class Progress:
    """How far the passes are: the first so many images of each are done."""

    counted: int = 0
    written: int = 0
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """Pixels of the counted images by class and bin, of all ranks."""
    kept: Tensor = field(default_factory=lambda: torch.zeros(NUM_CLASSES + 1, dtype=torch.int64))
    """Pixels of the written images by class, the dropped ones last."""


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data."""
    if config.target.dataset in inputs:
        open_split(inputs, config.target)


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse teachers that learned different classes before they are trained, and one view that has to agree."""
    teachers = sum(role == "segmenter" or role.startswith("segmenter_") for role in sources)
    if config.agreement and teachers * config.views() == 1:
        raise UserError(
            "agreement compares predictions, and one segmenter on one view makes a single one; set flip or scales, or "
            "give a second segmenter"
        )
    known = {}
    for role, source in sources.items():
        if role == "segmenter" or role.startswith("segmenter_"):
            for split in getattr(source, "train", ()):
                if class_set := DATASETS[
                    split.dataset
                ].class_set:  # Made data sets have those of what they are made of.
                    known[class_set] = f"{role}, trained on {split}"
    if len(known) > 1:
        told = " and ".join(f"{class_set} ({where})" for class_set, where in known.items())
        raise UserError(f"the teachers learned different classes: {told}; give teachers of one class set")


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``labels/<index>.png`` (train ids, 255 where unsure) and ``labels.json``.

    Returns:
        ``images``, ``kept`` (share of all pixels), and by class name the ``thresholds`` and the ``kept_pixels``.
    """
    network, trained, _ = load_predictor(inputs, config.checkpoint)
    network.to(context.device).eval()
    images = TargetImages(inputs, config.target, height=config.height, width=config.width)
    progress = _resume(config, output, context)
    if config.keep == "class_quantile":
        _count(network, images, config, progress, output, context)
    thresholds = _thresholds(config, progress).to(context.device)
    _write(network, images, thresholds, config, progress, output, context)
    context.barrier()
    kept = progress.kept
    if not kept[:NUM_CLASSES].any():
        asked = f"reaches threshold {config.threshold:g}" if config.keep == "threshold" else "is kept"
        agreed = "on which all agree " if config.agreement else ""
        raise UserError(
            f"no pixel of {config.target} has a pseudo-label: no prediction {agreed}{asked}; lower the threshold, or "
            "set keep class_quantile"
        )
    if context.rank == 0:
        write_index(
            output, config.target, images=len(images), height=config.height, width=config.width,
            class_set=trained.class_set,
        )  # fmt: skip
        _draw(network, images, config, output)
    return {
        "images": len(images),
        "kept": float(kept[:NUM_CLASSES].sum() / kept.sum()),
        "thresholds": {name: int(one) / config.bins for name, one in zip(CLASS_NAMES, thresholds, strict=True)},
        "kept_pixels": {name: int(one) for name, one in zip(CLASS_NAMES, kept, strict=False)},
    }


def _thresholds(config: Config, progress: Progress) -> Tensor:
    """The lowest bin of each class that is kept."""
    if config.keep == "class_quantile":
        return class_thresholds(progress.counts, quantile=config.quantile, cap=config.cap)
    lowest = 0 if config.keep == "all" else min(round(config.threshold * config.bins), config.bins - 1)
    return torch.full((NUM_CLASSES,), lowest, dtype=torch.int64)


def _count(
    network: nn.Module, images: TargetImages, config: Config, progress: Progress, output: Path, context: TrainContext
) -> None:
    """The first pass: confidences by class."""
    if not progress.counts.numel():
        progress.counts = torch.zeros(NUM_CLASSES, config.bins, dtype=torch.int64)
    new = torch.zeros_like(progress.counts, device=context.device)
    for done, predicted, due in _rounds(network, images, config, progress.counted, context):
        if predicted is not None:
            labels, confidence, agree = predicted
            if config.agreement:  # What is dropped anyway moves no threshold.
                labels, confidence = labels[agree][None, None], confidence[agree][None, None]
            new += count_confidences(labels, confidence, config.bins)
        if due:
            progress.counts = progress.counts + context.all_reduce(new).cpu()
            progress.counted = done
            new.zero_()
            _keep(progress, done, 2 * len(images), output, context)


def _write(
    network: nn.Module, images: TargetImages, thresholds: Tensor, config: Config, progress: Progress, output: Path,
    context: TrainContext,
) -> None:  # fmt: skip
    """The second pass, or the only one: labels."""
    new = torch.zeros(NUM_CLASSES + 1, dtype=torch.int64, device=context.device)
    index = progress.written + context.rank
    before = len(images) if config.keep == "class_quantile" else 0
    for done, predicted, due in _rounds(network, images, config, progress.written, context):
        if predicted is not None:
            labels, confidence, agree = predicted
            labels = keep_confident(labels, confidence, thresholds, config.bins)
            labels = labels.where(agree, IGNORE_LABEL) if config.agreement else labels
            new += torch.bincount(labels.clamp_max(NUM_CLASSES).flatten(), minlength=NUM_CLASSES + 1)
            for one in labels.to(torch.uint8).cpu():
                write_label(output, index, one.numpy())
                index += context.world_size
        if due:
            progress.kept = progress.kept + context.all_reduce(new).cpu()
            progress.written = done
            new.zero_()
            if done < len(images):
                _keep(progress, before + done, before + len(images), output, context)


Predicted = tuple[Tensor, Tensor, Tensor]
"""Labels, confidences, and where all predictions agree."""


def _rounds(
    network: nn.Module, images: TargetImages, config: Config, first: int, context: TrainContext
) -> Iterator[tuple[int, Predicted | None, bool]]:
    """(Images that are done then, this rank's batch if it has one, whether a checkpoint is due); ranks in step."""
    each = config.batch_size * context.world_size
    rounds = -(-(len(images) - first) // each)
    batches = evaluation_batches(
        images, batch_size=config.batch_size, workers=config.loader_workers, context=context, first=first
    )
    for number in range(1, rounds + 1):
        batch = next(batches, None)
        due = number == rounds or number % config.checkpoint_every_batches == 0
        found = None if batch is None else _predict(network, batch.images, config)
        yield min(first + number * each, len(images)), found, due


@torch.inference_mode()
def _predict(network: nn.Module, images: Tensor, config: Config) -> Predicted:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if config.views() == 1 and config.scales == (1.0,) and not config.agreement:
        labels, confidence = predict(network(images).float())
        return labels, confidence, torch.ones_like(labels, dtype=torch.bool)
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    return averaged(members, images, scales=config.scales, flip=config.flip)


def _keep(progress: Progress, step: int, steps: int, output: Path, context: TrainContext) -> None:
    """A checkpoint: how far it is, and the labels so far."""
    context.barrier()  # What the others wrote is whole.

    def write(folder: Path) -> None:
        save_state(folder / PROGRESS, vars(progress))
        link_labels(output, folder)

    context.report({"step": step, "steps": steps}, write)


def _resume(config: Config, output: Path, context: TrainContext) -> Progress:
    checkpoint = context.resume()
    if checkpoint is None:
        return Progress()
    if context.rank == 0:
        link_labels(checkpoint, output)
    return Progress(**load_state(checkpoint / PROGRESS, cure(checkpoint)))


def _draw(network: nn.Module, images: TargetImages, config: Config, output: Path) -> None:
    """Some images beside their labels and the confidence in them, which is predicted again."""
    device = next(network.parameters()).device
    for index in evenly_spaced(NUM_PICTURES, len(images)):
        image = images[index][0]
        _, confidence, _ = _predict(network, image[None].to(device), config)
        labels = np.asarray(decode(label_path(output, index)))
        tiles = {
            "target": image.permute(1, 2, 0).contiguous().numpy(),
            "pseudo-label": labels,
            "confidence": (confidence.cpu() * 255).to(torch.uint8).permute(1, 2, 0).expand(-1, -1, 3).numpy(),
        }
        share = float((labels != IGNORE_LABEL).mean())
        caption = f"{100 * share:.1f} % of the pixels are kept"
        write_panel(output, f"{index:06d}", tiles, title=images.samples[index].image.stem, caption=caption)
