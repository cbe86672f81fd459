"""Light losses, class weights and pseudo-labels of pairs against the slow references, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import pairs as reference
from trainers.components.class_weights import CITYSCAPES_FREQUENCIES, class_weighted_cross_entropy, class_weights
from trainers.components.pair_labels import (
    fused_labels,
    moving_mask,
    released_shifts,
    static_labels,
    static_loss,
    tolerated_classes,
)
from trainers.components.relighting_losses import exposure_distance, ssim_distance, total_variation
from trainers.errors import UserError

WEIGHTS = class_weights(CITYSCAPES_FREQUENCIES, 0.16)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def labels(seed: int = 0, *, classes: int = 19, ignored: float = 0.2) -> Tensor:
    rng = np.random.default_rng(seed)
    found = rng.integers(0, classes, (2, 6, 8))
    found[rng.random(found.shape) < ignored] = 255
    return torch.tensor(found)


@pytest.mark.parametrize(
    ("strength", "road", "motorcycle"), [(0.05, 0.9041, 1.0689), (0.16, 0.6932, 1.2204), (0.0, 1.0, 1.0)]
)
def test_class_weights_are_the_published_ones_to_four_digits(strength: float, road: float, motorcycle: float):
    weights = class_weights(CITYSCAPES_FREQUENCIES, strength)
    assert weights.dtype == torch.float32
    assert [round(float(weights[train_id]), 4) for train_id in (0, 17)] == [road, motorcycle]
    assert float(weights.min()) == float(weights[0])
    assert float(weights.max()) == float(weights[17])
    assert weights.tolist() == pytest.approx(reference.class_weights(CITYSCAPES_FREQUENCIES, strength), rel=1e-6)


def test_a_class_that_does_not_occur_weighs_one_and_moves_no_other():
    present = [0.5, 0.3, 0.15, 0.05]
    found = class_weights([*present[:2], 0.0, *present[2:]], 0.2).tolist()
    assert found.pop(2) == 1
    assert found == pytest.approx(reference.class_weights(present, 0.2), rel=1e-6)


def test_weights_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"strength 0.6 gives road a class weight of -0.15; it must stay below 0.52"):
        class_weights(CITYSCAPES_FREQUENCIES, 0.6)
    with pytest.raises(UserError, match="two classes or more that occur in the labels, found 1"):
        class_weights([1.0, 0.0], 0.1)


@pytest.mark.parametrize("seed", range(3))
def test_class_weighted_cross_entropy_equals_the_reference(seed: int):
    logits, truth = noise(2, 19, 6, 8, seed=seed), labels(seed)
    found = class_weighted_cross_entropy(logits, truth, WEIGHTS.double())
    expected = reference.weighted_cross_entropy(logits.tolist(), truth.tolist(), WEIGHTS.double().tolist())
    assert float(found) == pytest.approx(expected, rel=1e-9)
    built_in = torch.nn.functional.cross_entropy(logits, truth, weight=WEIGHTS.double(), ignore_index=255)
    assert float(found) == pytest.approx(float(built_in), rel=1e-9)


def test_an_ignored_batch_costs_nothing():
    logits = noise(1, 19, 2, 2)
    nothing = torch.full((1, 2, 2), 255)
    assert float(class_weighted_cross_entropy(logits, nothing, WEIGHTS.double())) == 0
    assert float(static_loss(logits, nothing, WEIGHTS.double(), gamma=1.0, tolerance=True)) == 0


def test_total_variation_equals_the_reference_and_vanishes_on_a_flat_residual():
    residual = noise(2, 3, 5, 7)
    assert float(total_variation(residual)) == pytest.approx(reference.total_variation(residual.tolist()), rel=1e-12)
    assert float(total_variation(torch.ones(2, 3, 5, 7))) == 0


def test_ssim_equals_the_reference_and_is_zero_for_the_same_image():
    image, other = noise(1, 3, 5, 7), noise(1, 3, 5, 7, seed=1)
    found = ssim_distance(image, other)
    for channel in range(3):
        expected = reference.ssim_distance(image[0, channel].tolist(), other[0, channel].tolist())
        assert found[0, channel].tolist() == pytest.approx(np.array(expected), rel=1e-9)
    assert found.max() <= 1
    assert float(ssim_distance(image, image).abs().max()) == pytest.approx(0, abs=1e-12)


def test_exposure_equals_the_reference_and_leaves_out_what_fills_no_patch():
    image = noise(1, 3, 9, 13)
    found = exposure_distance(image, torch.tensor(0.3, dtype=torch.float64), 4)
    assert found.shape == (1, 1, 2, 3)
    assert float(found.mean()) == pytest.approx(reference.exposure(image[0].tolist(), 0.3, 4), rel=1e-12)


def day_and_night(seed: int = 0) -> tuple[Tensor, Tensor]:
    return noise(2, 19, 6, 8, seed=seed), noise(2, 19, 6, 8, seed=seed + 100)


@pytest.mark.parametrize("seed", range(3))
def test_fused_labels_equal_the_reference(seed: int):
    day, night = day_and_night(seed)
    found = fused_labels(day, night, WEIGHTS.double(), day_weight=0.8, threshold=0.4)
    for image, y, x in np.ndindex(2, 6, 8):
        expected = reference.fused_label(
            day[image, :, y, x].tolist(), night[image, :, y, x].tolist(), WEIGHTS.double().tolist()
        )
        assert int(found[image, y, x]) == expected


@pytest.mark.parametrize(("logit", "day_wins"), [(0.39, False), (0.4, False), (0.41, True)])
def test_the_day_is_believed_from_its_logit_on(logit: float, day_wins: bool):
    """.8 · .41 + .2 · 0 = .328 against .2 · .3 + .8 · .3 = .3; below the threshold .2 · .4 = .08 loses."""
    day, night = torch.full((1, 19, 1, 1), -5.0), torch.full((1, 19, 1, 1), -5.0)
    day[0, 4], night[0, 4] = logit, 0.0
    day[0, 7], night[0, 7] = 0.3, 0.3
    label = fused_labels(day, night, torch.ones(19), day_weight=0.8, threshold=0.4)
    assert int(label) == (4 if day_wins else 7)


def test_no_moving_class_survives_and_the_day_never_makes_one():
    day, night = day_and_night()
    day[:, 11:] += 100
    fused = fused_labels(day, night, WEIGHTS.double(), day_weight=0.8, threshold=0.4)
    assert torch.equal(fused, fused_labels(day - 0, night, WEIGHTS.double(), day_weight=0.8, threshold=0.4))
    assert (fused >= 11).float().mean() < 0.9
    night[:, 11:] += 100
    moving = fused_labels(day, night, WEIGHTS.double(), day_weight=0.8, threshold=0.4)
    assert (moving >= 11).all()
    assert (static_labels(moving) == 255).all()
    kept = static_labels(labels())
    assert set(kept.unique().tolist()) <= {*range(11), 255}
    assert torch.equal(kept[labels() < 11], labels()[labels() < 11])


def test_moving_pixels_are_classes_11_to_18_or_without_persons_from_12():
    ids = torch.tensor([[[10, 11, 12, 18, 255]]])
    assert moving_mask(ids).tolist() == [[[False, True, True, True, False]]]
    assert moving_mask(ids, first=12).tolist() == [[[False, False, True, True, False]]]


@pytest.mark.parametrize("tolerance", [True, False])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_the_static_loss_equals_the_reference(tolerance: bool, gamma: float, seed: int):
    logits, truth = noise(2, 19, 6, 8, seed=seed), static_labels(labels(seed))
    found = static_loss(logits, truth, WEIGHTS.double(), gamma=gamma, tolerance=tolerance)
    expected = reference.static_loss(
        logits.tolist(), truth.tolist(), WEIGHTS.double().tolist(), gamma, 1 if tolerance else 0
    )
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_tolerance_forgives_a_label_that_is_one_pixel_off_and_no_more():
    truth = torch.zeros(1, 5, 9, dtype=torch.long)
    truth[:, :, 4:] = 2
    certain = torch.full((1, 19, 5, 9), -40.0, dtype=torch.float64)
    certain[:, 0, :, :5], certain[:, 2, :, 5:] = 40.0, 40.0  # The border one pixel further right.
    ones = torch.ones(19, dtype=torch.float64)
    assert float(static_loss(certain, truth, ones, gamma=1.0, tolerance=True)) < 1e-6
    assert float(static_loss(certain, truth, ones, gamma=1.0, tolerance=False)) > 1
    assert float(static_loss(certain.roll(2, dims=3), truth, ones, gamma=1.0, tolerance=True)) > 1


def test_tolerated_classes_never_hold_one_that_is_not_around():
    truth = static_labels(labels())
    found = tolerated_classes(truth, tolerance=True)
    assert not found[:, :, 3, 4].all()
    assert torch.equal(tolerated_classes(truth, tolerance=False).sum(dim=1), (truth < 11).long())


@pytest.mark.parametrize("seed", range(3))
def test_the_released_shifts_equal_the_reference_and_change_borders_alone(seed: int):
    truth = labels(seed)
    before = truth.clone()
    found = released_shifts(truth)
    assert torch.equal(truth, before)
    for image in range(2):
        assert found[image].tolist() == reference.released_shifts(truth[image].tolist())
    assert torch.equal(found[:, 2:-2, 2:-2], truth[:, 2:-2, 2:-2])
    assert not torch.equal(found, truth)


@pytest.mark.parametrize("seed", range(3))
def test_dannet_s_shifts_overwrite_the_labels_that_bi_mix_s_keep(seed: int):
    """What ``static_loss`` says of both releases; why only Bi-Mix's can be asked for."""
    truth = torch.randint(0, 11, (1, 48, 64), generator=torch.Generator().manual_seed(seed))
    kept = released_shifts(truth)[0]
    spoiled = torch.tensor(reference.dannet_shifts(truth[0].tolist()))
    border = 48 * 64 - 44 * 60
    assert (kept != truth[0]).sum() <= border
    assert (spoiled != truth[0]).sum() > 48 * 64 / 2
    with pytest.raises(RuntimeError, match="single memory location"):
        truth[:, 1:, :] = truth[:, :-1, :]
