"""Batches for training and evaluation.

Shape legend: n images of this rank, h height, w width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from trainers.components.configs import AugmentationConfig
from trainers.context import TrainContext
from trainers.data.images import ImageAndLabel, SplitImages
from trainers.data.sampling import derive_seed, sample_index
from trainers.data.transforms import augment, build_augmentation
from trainers.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Images in 0…255 and train ids, on the device."""

    images: UInt8[Tensor, "n 3 h w"]
    labels: UInt8[Tensor, "n h w"]


class AugmentedSamples(Dataset[ImageAndLabel]):
    """Training samples addressed by (step, slot); each is a pure function of (seed, step, slot)."""

    def __init__(
        self, splits: Sequence[SplitImages], augmentation: AugmentationConfig, *, batch_size: int, seed: int
    ) -> None:
        self._samples: ConcatDataset[ImageAndLabel] = ConcatDataset(splits)
        self._augmentation = build_augmentation(augmentation, height=splits[0].height, width=splits[0].width)
        self._batch_size, self._seed = batch_size, seed

    def __getitem__(self, address: tuple[int, int]) -> ImageAndLabel:
        step, slot = address
        index = sample_index(self._seed, step, slot, batch_size=self._batch_size, num_samples=len(self._samples))
        image, label = self._samples[index]
        return augment(image, label, self._augmentation, seed=derive_seed(self._seed, "augment", step, slot))


def default_loader_workers(device: torch.device) -> int:
    """Decoding is cached, so a CPU run gains nothing from taking cores away from the network."""
    return 4 if device.type == "cuda" else 0


def training_batches(
    samples: AugmentedSamples, *, steps: range, batch_size: int, workers: int | None, context: TrainContext
) -> Iterator[Batch]:
    """The batches of ``steps`` in order; this rank's share of each is every ``world_size``-th slot."""
    addresses = [[(step, slot) for slot in range(context.rank, batch_size, context.world_size)] for step in steps]
    yield from _load(samples, addresses, workers, context)


def evaluation_batches(
    split: SplitImages, *, batch_size: int, workers: int | None, context: TrainContext
) -> Iterator[Batch]:
    """Every ``world_size``-th image of ``split``, in order, none twice: ranks may get unequal numbers."""
    mine = range(context.rank, len(split), context.world_size)
    batches = [list(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]
    yield from _load(Subset(split, range(len(split))), batches, workers, context)


def _load(
    dataset: Dataset[ImageAndLabel],
    batches: Sequence[Sequence[object]],
    workers: int | None,
    context: TrainContext,
) -> Iterator[Batch]:
    on_gpu = context.device.type == "cuda"
    num_workers = default_loader_workers(context.device) if workers is None else workers
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=num_workers, pin_memory=on_gpu)  # type: ignore[arg-type]
    # Channels last is what tensor cores want; on a CPU it gains nothing.
    layout = torch.channels_last if on_gpu else torch.preserve_format
    try:
        for images, labels in loader:
            yield Batch(
                images.to(context.device, non_blocking=True, memory_format=layout),
                labels.to(context.device, non_blocking=True),
            )
    except UserError as error:
        # A loader process hands on its whole traceback as the message; the last line is the one that it raised.
        message = str(error).strip().splitlines()[-1]
        raise UserError(message.removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")) from error
