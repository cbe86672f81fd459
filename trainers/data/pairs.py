"""Batches of three: labeled source images, and night images with the day image of the same place.

Shape legend: n images of this rank, h height, w width.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from trainers.components.configs import AugmentationConfig
from trainers.context import TrainContext
from trainers.data.datasets import DATASETS, DataSplit, open_split
from trainers.data.images import PairImages
from trainers.data.loader import AugmentedSamples, Batch, load, training_batches
from trainers.data.sampling import derive_seed, sample_index
from trainers.data.transforms import augment_pair, build_augmentation
from trainers.errors import UserError

Pair = tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "3 h w"]]


@dataclass(frozen=True)
class PairBatch(Batch):
    """Labeled source images, and as many pairs; nobody looks for labels of these."""

    night_images: UInt8[Tensor, "n 3 h w"]
    day_images: UInt8[Tensor, "n 3 h w"]


class AugmentedPairs(Dataset[Pair]):
    """Pairs addressed by (step, slot), a pure function of (seed, step, slot): night and day move alike.

    An epoch is one pass over the night images; a day image that several nights share comes as often as they do.
    """

    def __init__(self, pairs: PairImages, augmentation: AugmentationConfig, *, batch_size: int, seed: int) -> None:
        self._pairs, self._batch_size, self._seed = pairs, batch_size, seed
        self._augmentation = build_augmentation(augmentation, height=pairs.height, width=pairs.width)

    def __getitem__(self, address: tuple[int, int]) -> Pair:
        step, slot = address
        index = sample_index(self._seed, step, slot, batch_size=self._batch_size, num_samples=len(self._pairs))
        night, day, _ = augment_pair(
            *self._pairs[index], self._augmentation, seed=derive_seed(self._seed, "augment", step, slot)
        )
        return night, day


def pair_batches(
    source: AugmentedSamples,
    pairs: AugmentedPairs,
    *,
    steps: range,
    batch_size: int,
    workers: int | None,
    context: TrainContext,
) -> Iterator[PairBatch]:
    """The batches of ``steps`` in order: each source image beside a pair drawn independently of it."""
    labeled = partial(training_batches, steps=steps, batch_size=batch_size, workers=workers, context=context)
    addresses = [[(step, slot) for slot in range(context.rank, batch_size, context.world_size)] for step in steps]
    for batch, (night, day) in zip(labeled(source), load(pairs, addresses, workers, context), strict=True):
        yield PairBatch(batch.images, batch.labels, night, day)


def check_pairs(roots: Mapping[str, Path], split: DataSplit) -> None:
    """Refuse a split without pairs, and pairs that cannot be; where the data set is not known yet, the former alone.

    That both images of a pair have one size is checked where files are read: at the first sight of a data set, and
    whenever a pair is decoded.

    Raises:
        UserError: a partner is missing, a night is in two pairs, or an image in two roles.
    """
    if split.split not in DATASETS[split.dataset].paired:
        paired = sorted(f"{name}/{one}" for name, dataset in DATASETS.items() for one in dataset.paired)
        raise UserError(f"{split} has no pairs of day and night; those that have are {', '.join(paired)}")
    if split.dataset not in roots:
        return
    samples = open_split(roots, split)
    nights = Counter(str(sample.image) for sample in samples)
    if both := sorted({str(sample.partner) for sample in samples if str(sample.partner) in nights}):
        raise UserError(f"{split}: {both[0]} is the night of one pair and the day of another; give it one role")
    if twice := sorted(image for image, count in nights.items() if count > 1):
        raise UserError(f"{split}: {twice[0]} is the night of several pairs; keep one of them")
