from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from trainers.components.configs import AugmentationConfig, RareClassConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.loader import AugmentedSamples, Batch, evaluation_batches, training_batches
from trainers.errors import UserError

DAY = DataSplit(dataset="toy_city", split="day_train")
VAL = DataSplit(dataset="toy_city", split="day_val")


def rank(number: int = 0, world_size: int = 1) -> PlainContext:
    context = PlainContext(Path("unused"))
    context.rank, context.world_size = number, world_size
    return context


def samples(root: Path, *, seed: int = 0, batch_size: int = 4, cache_bytes: int = 1 << 20) -> AugmentedSamples:
    augmentation = AugmentationConfig(scale_min=0.7, scale_max=1.4)
    images = SplitImages({"toy_city": root}, DAY, height=32, width=64, cache_bytes=cache_bytes)
    return AugmentedSamples([images], augmentation, batch_size=batch_size, seed=seed)


def train(
    source: AugmentedSamples,
    steps: range = range(1, 7),
    *,
    workers: int | None = 0,
    context: PlainContext | None = None,
    batch_size: int = 4,
) -> list[Batch]:
    context = context or rank()
    return list(training_batches(source, steps=steps, batch_size=batch_size, workers=workers, context=context))


def same(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    return len(a) == len(b) > 0 and all(
        torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) for x, y in zip(a, b, strict=True)
    )


def test_batches_do_not_depend_on_the_loader_s_processes(toy_city: Path):
    expected = train(samples(toy_city))
    assert all(batch.images.shape == (4, 3, 32, 64) and batch.labels.shape == (4, 32, 64) for batch in expected)
    for workers in (1, 2):
        assert same(train(samples(toy_city), workers=workers), expected)
    assert same(train(samples(toy_city), workers=None), expected)


def test_batches_do_not_depend_on_the_cache(toy_city: Path):
    """Nor on what the cache holds already: an augmentation never writes into it."""
    cached = samples(toy_city)
    first = train(cached)
    assert same(train(cached), first)
    assert same(train(samples(toy_city, cache_bytes=0)), first)


def test_batches_depend_on_the_seed_and_not_on_the_global_generator(toy_city: Path):
    torch.manual_seed(1)
    first = train(samples(toy_city))
    torch.manual_seed(2)
    assert same(train(samples(toy_city)), first)
    assert not same(train(samples(toy_city, seed=1)), first)


def test_a_run_that_continues_at_a_step_gets_the_same_batches(toy_city: Path):
    whole = train(samples(toy_city))
    for done in range(1, 6):
        assert same(train(samples(toy_city), range(done + 1, 7)), whole[done:])
    assert train(samples(toy_city), range(7, 7)) == []


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_each_batch(toy_city: Path, world_size: int):
    whole = train(samples(toy_city))
    shares = [train(samples(toy_city), context=rank(number, world_size)) for number in range(world_size)]
    for step, batch in enumerate(whole):
        for number in range(world_size):
            assert torch.equal(shares[number][step].images, batch.images[number::world_size])
            assert torch.equal(shares[number][step].labels, batch.labels[number::world_size])


def test_an_image_that_returns_is_augmented_anew(toy_city: Path):
    seen = [image.numpy().tobytes() for batch in train(samples(toy_city), range(1, 15)) for image in batch.images]
    assert len(seen) == 8 * 7
    assert len(set(seen)) > 7 * 7


def evaluate(root: Path, context: PlainContext, *, batch_size: int = 2, workers: int = 0) -> list[Batch]:
    split = SplitImages({"toy_city": root}, VAL, height=32, width=64, cache_bytes=0)
    return list(evaluation_batches(split, batch_size=batch_size, workers=workers, context=context))


def stacked(batches: Sequence[Batch]) -> Tensor:
    images = [image for batch in batches for image in batch.images]
    return torch.stack(images) if images else torch.zeros(0, 3, 32, 64, dtype=torch.uint8)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_an_evaluation_sees_each_image_once_and_unchanged(toy_city: Path, batch_size: int, workers: int):
    split = SplitImages({"toy_city": toy_city}, VAL, height=32, width=64)
    found = evaluate(toy_city, rank(), batch_size=batch_size, workers=workers)
    assert torch.equal(stacked(found), torch.stack([split[index][0] for index in range(3)]))
    assert max(len(batch.images) for batch in found) == min(batch_size, 3)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_partition_an_evaluation(toy_city: Path, world_size: int):
    """Three images for two ranks: none is repeated to fill up. Of four ranks one has nothing to do."""
    whole = stacked(evaluate(toy_city, rank()))
    for number in range(world_size):
        share = stacked(evaluate(toy_city, rank(number, world_size)))
        assert torch.equal(share, whole[number::world_size])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_one_line_from_every_process(workers: int, toy_city: Path, tmp_path: Path):
    (root := tmp_path / "toy_city").mkdir()
    for path in toy_city.rglob("*.png"):
        copy = root / path.relative_to(toy_city)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    broken = sorted((root / "day" / "gtFine" / "train").rglob("*_labelIds.png"))[3]
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError) as error:
        train(samples(root, cache_bytes=0), workers=workers)
    assert str(error.value).startswith(f"{broken} cannot be decoded")
    assert "\n" not in str(error.value)


def rare(root: Path, **fields: float) -> AugmentedSamples:
    images = SplitImages({"toy_city": root}, DAY, height=32, width=64)
    augmentation = AugmentationConfig(scale_min=1.5, scale_max=2.0, crop_height=32, crop_width=32)
    sampling = RareClassConfig(**{"temperature": 0.01, "min_share": 0.01, **fields})
    return AugmentedSamples([images], augmentation, batch_size=4, seed=0, rare_classes=sampling)


def test_rare_classes_are_drawn_and_the_crop_shows_them(toy_city: Path):
    """At a low temperature the rarest class is drawn nearly always; ten crops find it where one often misses it."""
    images = SplitImages({"toy_city": toy_city}, DAY, height=32, width=64)
    pixels = images.class_pixels()
    assert pixels.shape == (7, 19)
    assert pixels[2].tolist() == [int((images[2][1] == train_id).sum()) for train_id in range(19)]
    shown = np.flatnonzero((pixels >= 0.01 * 32 * 64).any(axis=0))
    rarest = shown[pixels.sum(axis=0)[shown].argmin()]

    def share(**fields: float) -> float:
        labels = torch.cat([batch.labels for batch in train(rare(toy_city, **fields), range(1, 9))])
        return float(((labels == rarest).flatten(1).sum(dim=1) > 0.005 * 32 * 64).float().mean())

    ten, one, shuffled = share(temperature=1e-4), share(temperature=1e-4, crop_tries=1), share(temperature=1e3)
    assert max(one, shuffled) < 0.3 < 0.5 < ten


def test_rare_batches_are_functions_of_seed_step_and_slot(toy_city: Path):
    whole = train(rare(toy_city))
    assert same(train(rare(toy_city), workers=2), whole)
    assert same(train(rare(toy_city), range(4, 7)), whole[3:])
    for number in (0, 1):
        share = train(rare(toy_city), context=rank(number, 2))
        assert all(torch.equal(a.labels, b.labels[number::2]) for a, b in zip(share, whole, strict=True))
    assert not same(train(samples(toy_city)), whole)
