import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import adaptation as reference
from trainers.components.feature_distance import THINGS, feature_distance, thing_cells


def labels() -> Tensor:
    """Cells of 4 × 4 that a class fills wholly, three quarters, or half."""
    rng = np.random.default_rng(0)
    label = rng.choice([0, 2, 6, 11, 13, 18, 255], (2, 3, 5)).repeat(4, axis=1).repeat(4, axis=2)
    other = rng.random(label.shape) < 0.2
    label[other] = 13
    return torch.tensor(label, dtype=torch.uint8)


def test_cells_equal_the_reference():
    expected = [reference.thing_cells(label.tolist(), 3, 5, THINGS) for label in labels()]
    assert thing_cells(labels(), 3, 5).tolist() == expected
    assert 0 < np.mean(expected) < 1


def test_exactly_three_quarters_count():
    label = torch.zeros(1, 4, 4, dtype=torch.uint8)
    label[0, :3] = 13
    assert thing_cells(label, 1, 1).all()
    label[0, 2, 0] = 12  # Two things that share a cell are not one.
    assert not thing_cells(label, 1, 1).any()


def test_the_distance_is_the_mean_norm_over_thing_cells():
    features, fixed = torch.randn(2, 7, 3, 5), torch.randn(2, 7, 3, 5)
    cells = thing_cells(labels(), 3, 5)
    expected = [float((features - fixed)[n, :, r, k].norm()) for n, r, k in cells.nonzero().tolist()]
    assert float(feature_distance(features, fixed, labels())) == pytest.approx(np.mean(expected), rel=1e-5)


def test_it_starts_at_0_with_a_finite_slope_and_is_0_without_things():
    features = torch.randn(2, 7, 3, 5, requires_grad=True)
    distance = feature_distance(features, features.detach(), labels())
    distance.backward()
    assert float(distance.detach()) < 1e-5
    assert features.grad.isfinite().all()
    nothing = torch.full((2, 12, 20), 255, dtype=torch.uint8)
    assert float(feature_distance(features, torch.zeros_like(features), nothing)) == 0
