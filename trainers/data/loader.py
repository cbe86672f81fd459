"""Batches for training and evaluation.

Shape legend: n images of this rank, h height, w width.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from trainers.components.configs import AugmentationConfig, RareClassConfig
from trainers.context import TrainContext
from trainers.data.images import ImageAndLabel, JoinedImages, SplitImages
from trainers.data.sampling import RareClasses, derive_seed, sample_index
from trainers.data.transforms import augment, augment_colors, build_augmentation
from trainers.errors import UserError

UNIFORM = RareClassConfig()
"""All images alike."""


@dataclass(frozen=True)
class Batch:
    """Images in 0…255 and train ids, on the device."""

    images: UInt8[Tensor, "n 3 h w"]
    labels: UInt8[Tensor, "n h w"]


class AugmentedSamples(Dataset[ImageAndLabel]):
    """Training samples addressed by (step, slot); each is a pure function of (seed, step, slot).

    Indexing gives flip, scale and crop, in a loader's process; colors change later, on the device (``recolored``).
    """

    def __init__(
        self,
        splits: Sequence[SplitImages],
        augmentation: AugmentationConfig,
        *,
        batch_size: int,
        seed: int,
        rare_classes: RareClassConfig = UNIFORM,
    ) -> None:
        """With ``rare_classes.temperature``, every label is read once, here, unless the data set is packed."""
        self._samples: ConcatDataset[ImageAndLabel] = ConcatDataset(splits)
        self._config, self._rare_config = augmentation, rare_classes
        height, width = splits[0].height, splits[0].width
        self._augmentation = build_augmentation(augmentation, height=height, width=width)
        self._batch_size, self._seed = batch_size, seed
        self._rare: RareClasses | None = None
        if rare_classes.temperature is not None:
            self._rare = RareClasses.of(
                np.concatenate([split.class_pixels() for split in splits]),
                temperature=rare_classes.temperature,
                min_pixels=rare_classes.min_share * height * width,
            )

    def __getitem__(self, address: tuple[int, int]) -> ImageAndLabel:
        step, slot = address
        seed = derive_seed(self._seed, "augment", step, slot)
        if self._rare is None:
            index = sample_index(self._seed, step, slot, batch_size=self._batch_size, num_samples=len(self._samples))
            image, label = self._samples[index]
            return augment(image, label, self._augmentation, seed=seed)
        train_id, index = self._rare.draw(self._seed, step, slot)
        wanted = self._rare_config.min_crop_ratio * self._rare.min_pixels
        image, label = self._samples[index]
        for number in range(self._rare_config.crop_tries):
            cropped = augment(image, label, self._augmentation, seed=derive_seed(seed, number) if number else seed)
            if int((cropped[1] == train_id).sum()) > wanted:
                break
        return cropped

    def recolored(self, images: UInt8[Tensor, "n 3 h w"], addresses: Sequence[tuple[int, int]]) -> Tensor:
        """``images`` with the photometric augmentation of their (step, slot), on the device that they are on."""
        config = self._config.photometric
        if config.probability == 0:
            return images
        seeds = [derive_seed(self._seed, "colors", step, slot) for step, slot in addresses]
        changed = [augment_colors(image, config, seed=seed) for image, seed in zip(images, seeds, strict=True)]
        return torch.stack(changed).contiguous(memory_format=_layout(images.device))


def default_loader_workers(device: torch.device) -> int:
    """Decoding is cached, so a CPU run gains nothing from taking cores away from the network."""
    return 4 if device.type == "cuda" else 0


def training_batches(
    samples: AugmentedSamples, *, steps: range, batch_size: int, workers: int | None, context: TrainContext
) -> Iterator[Batch]:
    """The batches of ``steps`` in order; this rank's share of each is every ``world_size``-th slot."""
    addresses = [[(step, slot) for slot in range(context.rank, batch_size, context.world_size)] for step in steps]
    for (images, labels), places in zip(load(samples, addresses, workers, context), addresses, strict=True):
        yield Batch(samples.recolored(images, places), labels)


def evaluation_batches(
    split: SplitImages | JoinedImages, *, batch_size: int, workers: int | None, context: TrainContext, first: int = 0
) -> Iterator[Batch]:
    """Every ``world_size``-th image from ``first`` on, in order, none twice: ranks may get unequal numbers."""
    mine = range(first + context.rank, len(split), context.world_size)
    batches = [list(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]
    for images, labels in load(Subset(split, range(len(split))), batches, workers, context):
        yield Batch(images, labels)


def load(
    dataset: Dataset[tuple[Tensor, Tensor]],
    batches: Sequence[Sequence[object]],
    workers: int | None,
    context: TrainContext,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The items of ``dataset`` at the addresses of each batch, on the device; images as it likes them laid out."""
    on_gpu = context.device.type == "cuda"
    num_workers = default_loader_workers(context.device) if workers is None else workers
    loader = DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=num_workers,
        pin_memory=on_gpu,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    try:
        for first, second in loader:
            yield _on_device(first, context.device), _on_device(second, context.device)
    except UserError as error:
        # A loader process hands on its whole traceback as the message; the last line is the one that it raised.
        message = str(error).strip().splitlines()[-1]
        raise UserError(message.removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")) from error


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C and a closed terminal, which reach the whole process group: the parent still has to save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _on_device(values: Tensor, device: torch.device) -> Tensor:
    layout = _layout(device) if values.ndim == 4 else torch.contiguous_format
    return values.to(device, non_blocking=True, memory_format=layout)


def _layout(device: torch.device) -> torch.memory_format:
    """Channels last is what tensor cores want; on a CPU it gains nothing."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format
