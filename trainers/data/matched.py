"""Images of two splits that show one place at one moment, found by their names: hazy images and their clear ones.

Shape legend: n images of this rank, h height, w width, ch and cw those of the crop.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from trainers.components.configs import AugmentationConfig
from trainers.context import TrainContext
from trainers.data.checks import check_pair_sizes
from trainers.data.datasets import DATASETS, DataSplit, choose, open_split
from trainers.data.domains import TargetImages
from trainers.data.image_files import image_size
from trainers.data.images import SplitImages
from trainers.data.loader import Batch, load
from trainers.data.packed import is_packed
from trainers.data.references import read_reference
from trainers.data.samples import Sample, frame_of
from trainers.data.sampling import derive_seed, sample_index
from trainers.data.transforms import augment_labeled_pair, build_augmentation
from trainers.errors import UserError


def frames(roots: Mapping[str, Path], split: DataSplit) -> list[str]:
    """The frame of each image of ``split``, in order; of a translation that of the image that it was made of."""
    root = roots[split.dataset]
    reference = read_reference(root, split.split) if DATASETS[split.dataset].refers else None
    if reference is None:
        return [frame_of(sample.image.name) for sample in open_split(roots, split)]
    names = reference.names if reference.images is None else reference.images
    return [frame_of(reference.names[position]) for position in choose(names, split, root)]


def match(roots: Mapping[str, Path], source: DataSplit, target: DataSplit) -> list[int]:
    """For each image of ``source`` the position in ``target`` of the image of the same frame; others stay unused.

    Raises:
        UserError: a frame has no partner, two images of the target are of one frame, or a pair differs in size.
    """
    samples, partners = (open_split(roots, split) for split in (source, target))
    places: dict[str, int] = {}
    for position, frame in enumerate(frames(roots, target)):
        if frame in places:
            other = partners[places[frame]].image
            raise UserError(f"{target} has two images of {frame}, {other} and {partners[position].image}; keep one")
        places[frame] = position
    found = []
    for sample, frame in zip(samples, frames(roots, source), strict=True):
        if frame not in places:
            raise UserError(f"{sample.image} has no partner: {target} has no image of {frame}; add it, or take it out")
        found.append(places[frame])
    if not any(is_packed(roots[split.dataset]) for split in (source, target)):  # All of a packed one have its size.
        for sample, position in zip(samples, found, strict=True):
            pair = Sample(sample.image, None, partners[position].image)
            check_pair_sizes(pair, image_size(sample.image), image_size(partners[position].image))
    return found


class MatchedImages(Dataset[tuple[Tensor, Tensor]]):
    """Images of one or more splits, each with the image of ``target`` of its frame and with its own label.

    The images of the target are decoded once for all splits.
    """

    def __init__(
        self,
        roots: Mapping[str, Path],
        sources: Sequence[DataSplit],
        target: DataSplit,
        *,
        height: int,
        width: int,
        cache_bytes: int = 2 << 30,
    ) -> None:
        """``cache_bytes`` holds for each split."""
        read = partial(SplitImages, roots, height=height, width=width, cache_bytes=cache_bytes)
        self.sources = [read(source) for source in sources]
        self.target = TargetImages(roots, target, height=height, width=width, cache_bytes=cache_bytes)
        self.height, self.width = height, width
        self.class_set = self.sources[0].class_set
        self._places = [
            (images, index, partner)
            for images, source in zip(self.sources, sources, strict=True)
            for index, partner in enumerate(match(roots, source, target))
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "6 h w"], UInt8[Tensor, " h w"]]:
        """Image over partner, and label."""
        images, position, partner = self._places[index]
        image, label = images[position]
        return torch.cat([image, self.target[partner][0]]), label


class AugmentedMatches(Dataset[tuple[Tensor, Tensor]]):
    """Pairs addressed by (step, slot), a pure function of (seed, step, slot): images and label move alike."""

    def __init__(self, matched: MatchedImages, augmentation: AugmentationConfig, *, batch_size: int, seed: int) -> None:
        self._matched, self._batch_size, self._seed = matched, batch_size, seed
        self._augmentation = build_augmentation(augmentation, height=matched.height, width=matched.width)

    def __getitem__(self, address: tuple[int, int]) -> tuple[UInt8[Tensor, "6 ch cw"], UInt8[Tensor, " ch cw"]]:
        """Image over partner, and label."""
        step, slot = address
        index = sample_index(self._seed, step, slot, batch_size=self._batch_size, num_samples=len(self._matched))
        pair, label = self._matched[index]
        seed = derive_seed(self._seed, "augment", step, slot)
        image, partner = pair.chunk(2)
        image, partner, label = augment_labeled_pair(image, partner, label, self._augmentation, seed=seed)
        return torch.cat([image, partner]), label


@dataclass(frozen=True)
class MatchedBatch(Batch):
    """Labeled images, each with its partner."""

    partners: UInt8[Tensor, "n 3 h w"]


def matched_batches(
    pairs: MatchedImages | AugmentedMatches,
    addresses: Sequence[Sequence[object]],
    *,
    workers: int | None,
    context: TrainContext,
) -> Iterator[MatchedBatch]:
    """A batch for each entry of ``addresses``, in order."""
    for stacked, labels in load(pairs, addresses, workers, context):
        images, partners = stacked.chunk(2, dim=1)
        yield MatchedBatch(images, labels, partners)
