import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import adaptation as reference
from trainers.components.mixing import MASKS, NUM_DRAWS, box_mask, class_mask, paste, paste_labels


def labels(seed: int = 0, count: int = 3, classes: int = 6, ignored: float = 0.2) -> Tensor:
    """Blocks of few classes, some of them ignored."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(13, 13 + classes, (count, 4, 6))
    blocks[rng.random(blocks.shape) < ignored] = 255
    return torch.tensor(blocks.repeat(3, axis=1).repeat(3, axis=2), dtype=torch.uint8)


def draws(seed: int = 0, count: int = 3) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).random((count, NUM_DRAWS)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_class_masks_equal_the_reference(share: float, seed: int):
    found = class_mask(labels(seed), share, draws(seed))
    expected = [
        reference.class_mask(label.tolist(), share, numbers.tolist())
        for label, numbers in zip(labels(seed), draws(seed), strict=True)
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize(("present", "chosen"), [(1, 1), (2, 1), (4, 2), (5, 3), (10, 5), (19, 10)])
def test_half_of_the_classes_are_chosen_rounded_up(present: int, chosen: int):
    label = torch.arange(present, dtype=torch.uint8).repeat(1, 3, 1)
    mask = class_mask(label, 0.5, draws(count=1))
    assert len(label[mask].unique()) == chosen


@pytest.mark.parametrize("share", [0.3, 0.6, 0.7])
def test_a_share_that_floating_point_rounds_up_does_not_choose_one_more(share: float):
    label = torch.arange(10, dtype=torch.uint8).repeat(1, 2, 1)
    assert len(label[class_mask(label, share, draws(count=1))].unique()) == round(10 * share)


def test_ignored_pixels_are_never_pasted_and_an_image_without_labels_gives_nothing():
    both = labels(ignored=0.5)
    assert not class_mask(both, 1.0, draws())[both == 255].any()
    assert not class_mask(torch.full_like(both, 255), 0.5, draws()).any()


def test_the_choice_is_each_image_s_own():
    """Classes that only other images hold, as DAFormer's mask of the whole batch counts them, change nothing."""
    both = torch.cat([labels(0, 1), labels(1, 1, classes=3)])
    alone = class_mask(both[:1], 0.5, draws(count=2)[:1])
    assert torch.equal(class_mask(both, 0.5, draws(count=2))[:1], alone)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_box_has_its_area_and_stays_inside(share: float):
    label = torch.zeros(50, 40, 80, dtype=torch.uint8)
    mask = box_mask(label, share, draws(count=50))
    areas = mask.sum(dim=(1, 2))
    assert (areas == areas[0]).all()
    assert abs(int(areas[0]) / 3200 - share) < 0.04
    rows, columns = mask.any(dim=2).sum(dim=1), mask.any(dim=1).sum(dim=1)
    assert (rows * columns == areas).all()  # One rectangle.
    assert share == 1 or len({tuple(one) for one in mask.flatten(1).tolist()}) > 10


def test_no_mask_leaves_the_target():
    assert not MASKS["none"](labels(), 0.5, draws()).any()


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_mixes_source_onto_target_and_never_back(name: str):
    source, target = torch.rand(3, 3, 12, 18), -torch.rand(3, 3, 12, 18)
    source_labels, target_labels = labels(), torch.full((3, 12, 18), 3)
    mask = MASKS[name](source_labels, 0.5, draws())
    assert mask.shape == source_labels.shape
    assert mask.dtype == torch.bool
    mixed, mixed_labels = paste(mask, source, target), paste_labels(mask, source_labels, target_labels)
    for image in range(3):
        inside = mask[image]
        assert torch.equal(mixed[image][:, inside], source[image][:, inside])
        assert torch.equal(mixed[image][:, ~inside], target[image][:, ~inside])
        assert torch.equal(mixed_labels[image][inside], source_labels[image][inside].long())
        assert (mixed_labels[image][~inside] == 3).all()
