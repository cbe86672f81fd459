import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import adaptation as reference
from trainers.components.pseudo_labels import (
    WEIGHTS,
    class_thresholds,
    count_confidences,
    keep_confident,
    predict,
    weighted_cross_entropy,
)

BINS = 1000


def confidences(seed: int = 0, count: int = 3) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).uniform(0.9, 1, (count, 4, 5)))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_equal_the_reference(kind: str):
    found = WEIGHTS[kind](confidences(), 0.968, torch.detach)
    np.testing.assert_allclose(found, reference.weights(confidences().tolist(), 0.968, kind), rtol=1e-12)


@pytest.mark.parametrize("kind", ["batch", "image"])
def test_a_quarter_of_sure_pixels_weighs_a_quarter_and_the_threshold_itself_counts(kind: str):
    sure = torch.full((2, 4, 4), 0.5, dtype=torch.float64)
    sure[:, 0] = 0.97
    assert WEIGHTS[kind](sure, 0.968, torch.detach).unique().tolist() == [0.25]
    sure[:, 0] = 0.968
    assert WEIGHTS[kind](sure, 0.968, torch.detach).unique().tolist() == [0.25]


def test_a_hard_image_is_lent_confidence_by_the_batch_only():
    uneven = torch.stack([torch.full((2, 2), 0.99), torch.full((2, 2), 0.3)])
    assert WEIGHTS["batch"](uneven, 0.968, torch.detach)[1].unique().tolist() == [0.5]
    assert WEIGHTS["image"](uneven, 0.968, torch.detach)[1].unique().tolist() == [0.0]


def test_the_batch_is_that_of_all_ranks():
    """The other rank has as many pixels, none of them sure."""
    alone = WEIGHTS["batch"](torch.ones(1, 2, 2), 0.9, torch.detach)
    shared = WEIGHTS["batch"](torch.ones(1, 2, 2), 0.9, lambda counts: counts + torch.tensor([0, 4]))
    assert alone.unique().tolist() == [1.0]
    assert shared.unique().tolist() == [0.5]


def test_the_loss_equals_the_reference_and_ignored_pixels_count_in_the_divisor():
    rng = np.random.default_rng(0)
    logits, weight = torch.tensor(rng.normal(size=(2, 19, 3, 4))), torch.tensor(rng.random((2, 3, 4)))
    labels = torch.tensor(rng.integers(0, 19, (2, 3, 4)))
    labels[0, 0] = 255
    expected = reference.weighted_cross_entropy(logits.tolist(), labels.tolist(), weight.tolist())
    assert float(weighted_cross_entropy(logits, labels, weight)) == pytest.approx(expected, rel=1e-12)
    assert float(weighted_cross_entropy(logits, torch.full_like(labels, 255), weight)) == 0


def test_predictions_are_the_arg_max_and_its_probability():
    logits = torch.zeros(1, 19, 1, 2)
    logits[0, 7, 0, 0] = math.log(18)
    labels, confidence = predict(logits)
    assert int(labels[0, 0, 0]) == 7
    assert confidence[0, 0].tolist() == pytest.approx([0.5, 1 / 19])


def thresholds_of(values: list[float], *, train_id: int = 4, quantile: float = 0.66, cap: float = 0.9) -> Tensor:
    confidence = torch.tensor(values, dtype=torch.float32).view(1, 1, -1)
    counts = count_confidences(torch.full((1, 1, len(values)), train_id), confidence, BINS)
    return class_thresholds(counts, quantile=quantile, cap=cap)


def test_a_third_of_a_hundred_confidences_is_kept():
    values = [number / 100 for number in range(100)]
    thresholds = thresholds_of(values)
    assert int(thresholds[4]) == 660
    labels = torch.full((1, 1, 100), 4)
    kept = keep_confident(labels, torch.tensor(values).view(1, 1, -1), thresholds, BINS)
    assert int((kept == 4).sum()) == 34
    assert set(kept.flatten().tolist()) == {4, 255}


def test_above_the_cap_everything_is_kept():
    values = [0.95 + number / 1000 for number in range(40)]
    thresholds = thresholds_of(values)
    assert int(thresholds[4]) == 900
    kept = keep_confident(torch.full((1, 1, 40), 4), torch.tensor(values).view(1, 1, -1), thresholds, BINS)
    assert int((kept == 4).sum()) == 40


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999])
@pytest.mark.parametrize(("quantile", "cap"), [(0.66, 0.9), (0.5, 0.9), (0.0, 1.0), (1.0, 1.0), (0.8, 0.3)])
def test_thresholds_equal_those_of_sorted_confidences_to_a_bin(count: int, quantile: float, cap: float):
    values = np.random.default_rng(count).random(count).astype(np.float32).tolist()
    expected = reference.class_threshold(values, quantile, cap)
    found = int(thresholds_of(values, quantile=quantile, cap=cap)[4]) / BINS
    assert abs(found - expected) <= 1 / BINS + 1e-6


def test_a_class_without_pixels_has_no_threshold_and_counts_add_up():
    assert thresholds_of([0.5, 0.7])[[0, 18]].tolist() == [0, 0]
    rng = np.random.default_rng(0)
    labels, confidence = torch.tensor(rng.integers(0, 19, (4, 5, 6))), torch.tensor(rng.random((4, 5, 6)))
    parts = [count_confidences(labels[rows], confidence[rows], BINS) for rows in (slice(0, 1), slice(1, 4))]
    assert torch.equal(parts[0] + parts[1], count_confidences(labels, confidence, BINS))
    assert int(parts[0].sum()) == 30


def test_a_decimal_lies_in_its_own_bin():
    values = [number / 1000 for number in range(1000)]
    counts = count_confidences(torch.zeros(1, 1, 1000, dtype=torch.long), torch.tensor(values).view(1, 1, -1), BINS)
    assert (counts[0] == 1).all()
