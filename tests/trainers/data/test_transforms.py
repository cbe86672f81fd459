import pytest
import torch
from torch import Tensor

from trainers.components.configs import AugmentationConfig
from trainers.data.transforms import augment, augment_pair, build_augmentation

HEIGHT, WIDTH = 32, 64


def ramp() -> tuple[Tensor, Tensor]:
    """An image that tells its label: red grows to the right, green downwards; labels are blocks of four columns."""
    x, y = torch.arange(WIDTH).expand(HEIGHT, -1), torch.arange(HEIGHT)[:, None].expand(-1, WIDTH)
    image = torch.stack([4 * x, 8 * y, torch.full_like(x, 200)]).to(torch.uint8)
    return image, (x // 4).to(torch.uint8)


def augmented(seed: int, **fields: object) -> tuple[Tensor, Tensor]:
    config = AugmentationConfig(**fields)
    return augment(*ramp(), build_augmentation(config, height=HEIGHT, width=WIDTH), seed=seed)


EVERYTHING = {"horizontal_flip": 0.5, "scale_min": 0.6, "scale_max": 1.6, "crop_height": 32, "crop_width": 48}


@pytest.mark.parametrize(
    "fields", [{"horizontal_flip": 1.0}, {"crop_height": 32, "crop_width": 32}, {"scale_min": 2.0, "scale_max": 2.0},
               {"scale_min": 0.5, "scale_max": 0.5}, EVERYTHING],
)  # fmt: skip
def test_image_and_label_move_together(fields: dict[str, float]):
    for seed in range(12):
        image, label = augmented(seed, **fields)
        assert image.dtype == label.dtype == torch.uint8
        inside = image[2] == 200
        column = image[0].float() / 16  # In blocks of four columns: the label's own unit.
        assert ((column - label.float() - 0.5).abs()[inside & (label != 255)] < 1.1).all()
        assert inside.float().mean() > 0.2


def test_labels_are_never_mixed():
    for seed in range(12):
        _, label = augmented(seed, **EVERYTHING)
        assert set(label.unique().tolist()) <= {*range(16), 255}


def test_what_a_crop_adds_is_black_and_ignored():
    image, label = augmented(0, horizontal_flip=0.0, scale_min=0.5, scale_max=0.5)
    assert (label == 255).float().mean() == pytest.approx(0.75)
    assert (image[:, label == 255] == 0).all()
    assert (image[2, label != 255] == 200).all()


def test_sizes_are_those_of_the_crop_or_of_the_input():
    assert augmented(0, **EVERYTHING)[0].shape == (3, 32, 48)
    assert augmented(0, **EVERYTHING)[1].shape == (32, 48)
    assert augmented(0, scale_min=0.7, scale_max=1.5)[0].shape == (3, HEIGHT, WIDTH)
    assert augmented(0, crop_height=64, crop_width=96)[1].shape == (64, 96)


@pytest.mark.parametrize("scale", [0.5, 1.5, 2.0])
def test_the_scale_is_relative_to_the_image_whatever_its_aspect_ratio(scale: float):
    image, _ = augmented(0, horizontal_flip=0.0, scale_min=scale, scale_max=scale)
    red, green = image[0].float(), image[1].float()
    rows, columns = torch.where(image[2] == 200)
    middle = (rows.unique()[len(rows.unique()) // 2], columns.unique()[len(columns.unique()) // 2])
    slope_x = (red[middle[0], middle[1] + 6] - red[middle[0], middle[1] - 6]) / 12
    slope_y = (green[middle[0] + 4, middle[1]] - green[middle[0] - 4, middle[1]]) / 8
    assert slope_x.item() == pytest.approx(4 / scale, rel=0.1)
    assert slope_y.item() == pytest.approx(8 / scale, rel=0.1)


def test_a_certain_flip_mirrors_and_none_leaves_the_pair_alone():
    image, label = ramp()
    mirrored = augmented(0, horizontal_flip=1.0)
    assert torch.equal(mirrored[0], image.flip(-1))
    assert torch.equal(mirrored[1], label.flip(-1))
    untouched = augmented(0, horizontal_flip=0.0)
    assert torch.equal(untouched[0], image)
    assert torch.equal(untouched[1], label)


def test_the_result_depends_on_the_seed_and_on_nothing_else():
    torch.manual_seed(1)
    first = augmented(5, **EVERYTHING)
    torch.manual_seed(2)
    torch.rand(3)
    again = augmented(5, **EVERYTHING)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert len({augmented(seed, **EVERYTHING)[0].numpy().tobytes() for seed in range(8)}) == 8


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    augmented(5, **EVERYTHING)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_is_left_as_it_was():
    image, label = ramp()
    augmentation = build_augmentation(AugmentationConfig(**EVERYTHING), height=HEIGHT, width=WIDTH)
    for seed in range(4):
        augment(image, label, augmentation, seed=seed)[0].zero_()
    assert torch.equal(image, ramp()[0])
    assert torch.equal(label, ramp()[1])


@pytest.mark.parametrize(
    "fields", [{"horizontal_flip": 1.0}, {"scale_min": 0.5, "scale_max": 0.5}, EVERYTHING], ids=str
)
def test_both_images_of_a_pair_move_like_an_image_and_its_label(fields: dict[str, float]):
    augmentation = build_augmentation(AugmentationConfig(**fields), height=HEIGHT, width=WIDTH)
    image, label = ramp()
    partner = 255 - image
    for seed in range(12):
        first, second, outside = augment_pair(image, partner, augmentation, seed=seed)
        alone, moved_label = augment(image, label, augmentation, seed=seed)
        assert torch.equal(first, alone)
        assert torch.equal(outside == 255, moved_label == 255)
        assert set(outside.unique().tolist()) <= {0, 255}
        inside = outside == 0
        assert ((first.int() + second.int())[:, inside] - 255).abs().max() <= 1  # Resizing rounds both.
        assert (second[:, ~inside] == 0).all()
