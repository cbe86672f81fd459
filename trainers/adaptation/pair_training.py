"""What methods that train on pairs do alike: what they refuse, how pairs reach a batch, how often each class occurs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainers.adaptation.dannet_config import Config
from trainers.adaptation.training import (
    AdaptationLearner,
    OpenedTarget,
    check_domains,
    check_not_padded,
    run_adaptation,
)
from trainers.components.class_weights import CITYSCAPES_FREQUENCIES
from trainers.context import TrainContext
from trainers.data.images import PairImages, SplitImages
from trainers.data.loader import AugmentedSamples
from trainers.data.pairs import AugmentedPairs, PairBatch, check_pairs, pair_batches
from trainers.data.sampling import derive_seed
from trainers.errors import UserError
from trainers.networks.output_discriminator import MIN_PIXELS
from trainers.segmentation.supervised import training_size


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse what cannot run: pairs that are none, sizes that differ or are too small."""
    check_pairs(inputs, config.target)
    check_domains(config, inputs)
    size, pairs = training_size(config), config.pairs()
    height, width = config.target_size()
    ours = (pairs.crop_height or height, pairs.crop_width or width)
    if ours != size:
        raise UserError(
            f"pairs are {ours[0]}×{ours[1]} after augmentation and source images {size[0]}×{size[1]}; set the crop of "
            "pair_augmentation, or target_height and target_width"
        )
    field = "augmentation" if config.pair_augmentation is None else "pair_augmentation"
    check_not_padded(pairs, (height, width), field)
    if min(size) < max(MIN_PIXELS, config.light.patch):
        raise UserError(
            f"images of {size[0]}×{size[1]} hold no patch of light.patch {config.light.patch} pixels; set it to "
            f"{min(size) // 2} or less"
        )


def open_pairs(
    source: AugmentedSamples, config: Config, inputs: Mapping[str, Path], seed: int, context: TrainContext
) -> OpenedTarget:
    """Each source image beside a pair that is drawn independently of it."""
    height, width = config.target_size()
    images = PairImages(inputs, config.target, height=height, width=width, cache_bytes=config.cache_bytes)
    size = config.batch_size
    pairs = AugmentedPairs(images, config.pairs(), batch_size=size, seed=derive_seed(seed, "target"))

    def batches(steps: range) -> Iterator[PairBatch]:
        return pair_batches(source, pairs, steps=steps, batch_size=size, workers=config.loader_workers, context=context)

    return batches, len(images)


def class_frequencies(config: Config, inputs: Mapping[str, Path]) -> Sequence[float]:
    """Share of each class; of the source it is counted over every label at the training's size."""
    if config.class_weights.frequencies == "cityscapes":
        return CITYSCAPES_FREQUENCIES
    images = partial(SplitImages, inputs, height=config.height, width=config.width, cache_bytes=0)
    pixels = np.concatenate([images(split).class_pixels() for split in config.train]).sum(axis=0)
    shares: list[float] = (pixels / pixels.sum()).tolist()
    return shares


def run_with_pairs(
    kind: Callable[..., AdaptationLearner],
    config: Config,
    inputs: Mapping[str, Path],
    output: Path,
    seed: int,
    context: TrainContext,
) -> dict[str, Any]:
    """Train a learner that takes batches with pairs, and the frequencies of classes; see ``run_adaptation``."""
    frequencies = class_frequencies(config, inputs)

    def make_learner(config: Config, **options: Any) -> AdaptationLearner:
        return kind(config, frequencies=frequencies, **options)

    caption = f"relighting: {config.relighting.kind}; class weights of strength {config.class_weights.strength:g}"
    return run_adaptation(make_learner, config, inputs, output, seed, context, caption=caption, open_target=open_pairs)
