import math

import numpy as np
import pytest
import torch

from tests.references import adaptation as reference
from trainers.components.entropy import robust_entropy


@pytest.mark.parametrize("eta", [1.0, 1.7, 2.0, 3.0])
def test_it_equals_the_reference(eta: float):
    logits = torch.tensor(np.random.default_rng(0).normal(size=(2, 19, 3, 4)) * 3)
    probabilities = logits.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, 19).tolist()
    assert float(robust_entropy(logits, eta)) == pytest.approx(reference.robust_entropy(probabilities, eta), rel=1e-9)


def test_uniform_is_1_and_certain_is_0():
    assert float(robust_entropy(torch.zeros(1, 19, 2, 2).double(), 2.0)) == pytest.approx(1, abs=1e-7)
    certain = torch.zeros(1, 19, 2, 2).double()
    certain[:, 3] = 500
    assert float(robust_entropy(certain, 2.0)) == pytest.approx(1e-16, rel=1e-6)


def test_it_pushes_unsure_pixels_far_more_than_sure_ones():
    unsure, sure = torch.zeros(1, 19, 1, 1), torch.zeros(1, 19, 1, 1)
    unsure[0, 0], sure[0, 0] = 1.0, 12.0
    slopes = []
    for logits in (unsure, sure):
        logits.requires_grad_(True)
        robust_entropy(logits, 2.0).backward()
        slopes.append(float(logits.grad.abs().max()))
    assert slopes[0] > 1e4 * slopes[1] > 0


def test_ranks_share_one_mean():
    logits = torch.randn(4, 19, 2, 2)
    shares = [robust_entropy(part, 2.0, all_reduce=lambda pixels: 2 * pixels) for part in logits.chunk(2)]
    assert math.isclose(float(sum(shares)), float(robust_entropy(logits, 2.0)), rel_tol=1e-6)
