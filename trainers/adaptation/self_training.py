"""Self-training: labeled images and images that an earlier stage labeled, trained on alike.

The input role ``pseudo_labels`` is a stage that labeled ``target``. Where training begins is the graph's choice, as are
rounds of it: at the teacher (the input ``initial``), at what the teacher began with, or, without that input, at
the network's own first weights.

Shape legend: n images of this rank.

Source: the night thesis, section 3.3.3: hard labels, none left out, one loss for both kinds of images; Zoph et al.,
    Rethinking Pre-training and Self-training, which it follows.
Differs: steps are given, not epochs, so that arms with more images train no longer; ``composition: batch`` fixes the
    share of pseudo-labeled images in each batch, where the source has that of their numbers.
Logs: as ``supervised``.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from trainers.adaptation.self_training_config import Config
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import TargetImages, check_label_source, check_taught
from trainers.data.images import SplitImages
from trainers.data.loader import Batch, training_batches
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.segmentation import supervised


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run."""
    supervised.check(config, inputs)
    if config.target.dataset in inputs:
        open_split(inputs, config.target)


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse missing pseudo-labels, those of other images, and a start from another network, before any is trained."""
    supervised.check_sources(config, sources)
    if "pseudo_labels" not in sources:
        raise UserError("self-training needs the input pseudo_labels: a stage that labels its target")
    check_label_source(sources["pseudo_labels"], config.target, (config.height, config.width))


def run(config: Config, inputs: Mapping[str, Path], output: Path, seed: int, context: TrainContext) -> dict[str, Any]:
    """Train as ``supervised`` does, on both kinds of images.

    Returns:
        Also ``unlabeled_images``, and ``unlabeled_ratio``, their number for each labeled image.

    Raises:
        UserError: the teacher learned other classes than the labels have, or the workers do not divide the batch.
    """
    supervised.check_workers(config, context)
    labeled = supervised.train_images(config, inputs)
    unlabeled = TargetImages(
        inputs,
        config.target,
        height=config.height,
        width=config.width,
        cache_bytes=config.cache_bytes,
        pseudo_labels=inputs["pseudo_labels"],
    )
    classes = supervised.learned_classes(labeled)
    check_taught(unlabeled, classes)
    batches = compose(config, labeled, unlabeled, seed, context)
    seen = (*config.train, config.target)
    result = supervised.train_segmenter(config, batches, inputs, output, seed, context, class_set=classes, seen=seen)
    ratio = len(unlabeled) / sum(map(len, labeled))
    return {**result, "unlabeled_images": len(unlabeled), "unlabeled_ratio": ratio}


def compose(
    config: Config, labeled: list[SplitImages], unlabeled: SplitImages, seed: int, context: TrainContext
) -> Callable[[range], Iterator[Batch]]:
    """The batches of some steps, with both kinds of images in them."""
    if config.composition == "concatenation":
        joined = supervised.augmented([*labeled, unlabeled], config, seed)

        def drawn(steps: range) -> Iterator[Batch]:
            return training_batches(
                joined, steps=steps, batch_size=config.batch_size, workers=config.loader_workers, context=context
            )

        return drawn
    assert config.unlabeled_per_batch is not None
    counts = (config.batch_size - config.unlabeled_per_batch, config.unlabeled_per_batch)
    if any(count % context.world_size for count in counts):
        raise UserError(
            f"{counts[0]} labeled and {counts[1]} pseudo-labeled images of a batch do not divide among "
            f"{context.world_size} workers evenly"
        )
    parts = [
        supervised.augmented(splits, config.model_copy(update={"batch_size": count}), own_seed)
        for splits, count, own_seed in zip(
            (labeled, [unlabeled]), counts, (seed, derive_seed(seed, "target")), strict=True
        )
    ]

    def paired(steps: range) -> Iterator[Batch]:
        streams = (
            training_batches(part, steps=steps, batch_size=count, workers=config.loader_workers, context=context)
            for part, count in zip(parts, counts, strict=True)
        )
        for first, second in zip(*streams, strict=True):
            yield Batch(torch.cat([first.images, second.images]), torch.cat([first.labels, second.labels]))

    return paired
