"""Photometric augmentation against pixel-by-pixel formulas."""

import math
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.references import colors
from trainers.components.configs import AugmentationConfig, PhotometricConfig
from trainers.config import keyed
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.loader import AugmentedSamples, training_batches
from trainers.data.transforms import augment_colors, kernel_size_of
from trainers.segmentation.supervised_config import Config

ALWAYS = {"probability": 1.0}
NOTHING = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gamma_max": 1.0, "blur_sigma_min": 0.01,
           "blur_sigma_max": 0.01}  # fmt: skip


@pytest.fixture
def image() -> Tensor:
    return torch.randint(256, (3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def rows(image: Tensor) -> list[list[tuple[float, ...]]]:
    return [[tuple(pixel) for pixel in row] for row in (image.permute(1, 2, 0).double() / 255).tolist()]


def expected(image: Tensor, config: PhotometricConfig, seed: int) -> Tensor:
    """The same draws as the trainer makes, then the slow formulas."""
    draw = random.Random(seed)
    assert draw.random() < config.probability
    jitters = [
        (name, (0 if name == "hue" else 1) + draw.uniform(-getattr(config, name), getattr(config, name)))
        for name in ("brightness", "contrast", "saturation", "hue")
    ]
    draw.shuffle(jitters)
    sigma = draw.uniform(config.blur_sigma_min, config.blur_sigma_max)
    exponent = math.exp(draw.uniform(-1, 1) * math.log(config.gamma_max))
    changed = rows(image)
    for name, strength in jitters:
        changed = getattr(colors, name)(changed, strength)
    changed = colors.gamma(colors.blur(changed, sigma, kernel_size_of(sigma, 8)[0] // 2), exponent)
    return (torch.tensor(changed).permute(2, 0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    "fields", [{}, {"hue": 0.5}, {"gamma_max": 4.0, "blur_sigma_min": 1.9, "blur_sigma_max": 2.0}], ids=str
)
def test_colors_change_by_the_formulas(image: Tensor, fields: dict[str, float]):
    config = PhotometricConfig(**ALWAYS, **fields)
    for seed in range(6):
        found = augment_colors(image, config, seed=seed)
        assert found.dtype == torch.uint8
        assert (found.int() - expected(image, config, seed).int()).abs().max() <= 1


def test_each_strength_of_nothing_leaves_the_image(image: Tensor):
    assert torch.equal(augment_colors(image, PhotometricConfig(**ALWAYS, **NOTHING), seed=3), image)
    for name in ("brightness", "contrast", "saturation", "hue"):
        config = PhotometricConfig(**ALWAYS, **NOTHING | {name: 0.25})
        assert not torch.equal(augment_colors(image, config, seed=3), image)
    assert not torch.equal(
        augment_colors(image, PhotometricConfig(**ALWAYS, **NOTHING | {"gamma_max": 2}), seed=3), image
    )


def test_the_probability_is_that_of_changing_an_image(image: Tensor):
    config = PhotometricConfig(probability=0.5)
    changed = [not torch.equal(augment_colors(image, config, seed=seed), image) for seed in range(400)]
    assert 160 < sum(changed) < 240  # Four deviations of a fair coin.
    assert not any(
        torch.equal(augment_colors(image, PhotometricConfig(probability=1), seed=s), image) for s in range(20)
    )


def test_the_result_is_a_function_of_the_seed_alone(image: Tensor):
    config = PhotometricConfig(**ALWAYS)
    before = image.clone()
    torch.manual_seed(1)
    random.seed(1)
    first = augment_colors(image, config, seed=5)
    state = torch.get_rng_state()
    random.seed(2)
    assert torch.equal(augment_colors(image, config, seed=5), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augment_colors(image, config, seed=6), first)
    assert torch.equal(image, before)


@pytest.mark.parametrize("sigma", [0.15, 1.15, 9.0])
def test_a_kernel_is_odd_and_fits_its_reflected_border(sigma: float):
    for side in (2, 8, 512):
        (kernel, same) = kernel_size_of(sigma, side)
        assert kernel == same
        assert kernel % 2 == 1
        assert kernel // 2 < side


def batches(root: Path, *, probability: float, world: tuple[int, int] = (0, 1), workers: int = 0) -> list[Tensor]:
    context = PlainContext(Path("unused"))
    context.rank, context.world_size = world
    images = SplitImages({"toy_city": root}, DataSplit(dataset="toy_city", split="day_train"), height=32, width=64)
    augmentation = AugmentationConfig(photometric=PhotometricConfig(probability=probability))
    samples = AugmentedSamples([images], augmentation, batch_size=4, seed=0)
    found = training_batches(samples, steps=range(1, 5), batch_size=4, workers=workers, context=context)
    return [batch.images for batch in found]


def test_batches_change_their_colors_by_step_and_slot_whoever_loads_them(toy_city: Path):
    plain, half = batches(toy_city, probability=0.0), batches(toy_city, probability=0.5)
    unchanged = [torch.equal(a, b) for x, y in zip(plain, half, strict=True) for a, b in zip(x, y, strict=True)]
    assert 0 < sum(unchanged) < len(unchanged) == 16
    assert all(map(torch.equal, batches(toy_city, probability=0.5, workers=2), half))
    for rank in (0, 1):
        share = batches(toy_city, probability=0.5, world=(rank, 2))
        assert all(torch.equal(one, whole[rank::2]) for one, whole in zip(share, half, strict=True))


def test_what_is_off_by_default_is_in_no_key():
    fields = {"train": ["toy_city/day_train"], "select": "toy_city/day_val", "height": 32, "width": 64}
    content = keyed(Config.model_validate(fields))
    assert "rare_classes" not in content
    assert "photometric" not in content["augmentation"]
    assert (
        "photometric"
        in keyed(Config.model_validate({**fields, "augmentation": {"photometric": {"hue": 0.1}}}))["augmentation"]
    )
    assert "rare_classes" in keyed(Config.model_validate({**fields, "rare_classes": {"temperature": 0.01}}))


def test_sigmas_in_the_wrong_order_are_named():
    with pytest.raises(ValueError, match=r"blur_sigma_min <= blur_sigma_max must hold, got 2\.0 and 1\.15"):
        PhotometricConfig(blur_sigma_min=2)
