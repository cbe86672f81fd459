"""Distances between sets of features against scipy's matrix root, pytorch-fid and sums written out."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg
from torch import Tensor

from trainers.components.frechet import Statistics, fit, frechet_distance, kernel_distance, root_trace
from trainers.errors import MethodWarning, UserError


def vectors(count: int, dimensions: int, seed: int, *, scale: float = 1.0) -> Tensor:
    """Correlated, with a spectrum that falls over four orders."""
    rng = np.random.default_rng(seed)
    falling = np.exp(-9 * np.arange(dimensions) / dimensions)
    mixing = np.linalg.qr(np.random.default_rng(99 + seed % 2).standard_normal((dimensions, dimensions)))[0]
    return torch.from_numpy(rng.standard_normal((count, dimensions)) * falling @ mixing * scale + 0.3 * seed)


def by_scipy(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Mean and covariance term from the definition."""
    means = [one.mean(axis=0) for one in (first, second)]
    spreads = [np.cov(one, rowvar=False) for one in (first, second)]
    root = linalg.sqrtm(spreads[0] @ spreads[1]).real
    return float(((means[0] - means[1]) ** 2).sum()), float(np.trace(spreads[0] + spreads[1] - 2 * root))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MethodWarning)
        yield


@pytest.mark.parametrize("dimensions", [3, 64, 192])
def test_it_equals_scipy_s_matrix_root(dimensions: int):
    first, second = vectors(500, dimensions, 1), vectors(400, dimensions, 2, scale=1.5)
    found = frechet_distance(fit(first), fit(second))
    mean_term, covariance_term = by_scipy(first.numpy(), second.numpy())
    assert found.mean_term == pytest.approx(mean_term, rel=1e-9)
    assert found.covariance_term == pytest.approx(covariance_term, rel=1e-6)
    assert found.total == pytest.approx(mean_term + covariance_term, rel=1e-6)


def test_it_equals_pytorch_fid_on_the_same_statistics():
    first, second = (fit(vectors(400, 128, seed)) for seed in (1, 2))
    expected = calculate_frechet_distance(
        first.mean.numpy(), first.covariance.numpy(), second.mean.numpy(), second.covariance.numpy()
    )
    assert frechet_distance(first, second).total == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("counts", [(20, 30), (20, 500), (500, 20), (64, 64)])
def test_it_is_right_with_fewer_images_than_dimensions(counts: tuple[int, int]):
    """Against the definition in the space that the vectors span, where nothing is singular beyond rounding."""
    first, second = vectors(counts[0], 64, 1), vectors(counts[1], 64, 2)
    statistics = [fit(one) for one in (first, second)]
    spreads = [one.covariance for one in statistics]
    values, basis = torch.linalg.eigh(spreads[0])
    root = basis * values.clamp_min(0).sqrt() @ basis.T
    middle = torch.linalg.svdvals(root @ _any_root(spreads[1])).sum()
    assert root_trace(*statistics) == pytest.approx(float(middle), rel=1e-6)
    swapped = frechet_distance(statistics[1], statistics[0])
    assert frechet_distance(*statistics).total == pytest.approx(swapped.total, rel=1e-9)


def test_sets_in_spaces_apart_have_no_common_spread_to_the_last_digit():
    """Square roots of eigenvalues that should be 0 are 1e-8: here they may not enter."""
    few = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 64)))
    turned = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((128, 128))))[0]
    first, second = (torch.cat(parts, dim=1) @ turned for parts in ((few, few * 0), (few * 0, few)))
    statistics = [fit(one) for one in (first, second)]
    trace = sum(float(one.covariance.trace()) for one in statistics)
    assert root_trace(*statistics) < 1e-12 * trace
    assert frechet_distance(*statistics).covariance_term == pytest.approx(trace, rel=1e-12)


def _any_root(covariance: Tensor) -> Tensor:
    values, basis = torch.linalg.eigh(covariance)
    return basis * values.clamp_min(0).sqrt()


def test_singular_statistics_without_their_vectors_are_taken_too():
    """As from another program's file: the eigenvalues' rounding is all that is lost."""
    low, full = fit(vectors(20, 64, 1)), fit(vectors(500, 64, 2))
    bare = Statistics(low.mean, low.covariance, low.count)
    assert root_trace(bare, full) == pytest.approx(root_trace(low, full), rel=1e-5)
    assert root_trace(full, bare) == pytest.approx(root_trace(low, full), rel=1e-5)
    flat = Statistics(low.mean, torch.zeros_like(low.covariance), 5)
    assert frechet_distance(flat, full).covariance_term == pytest.approx(float(full.covariance.trace()))


def test_the_distance_of_a_set_to_itself_is_none():
    for one in (vectors(500, 64, 1), vectors(20, 64, 1)):
        distance = frechet_distance(fit(one), fit(one))
        assert distance.mean_term == 0
        assert abs(distance.total) < 1e-7 * float(fit(one).covariance.trace())


def test_a_known_distance():
    """Of normal distributions with diagonal covariances: |m|² + Σ (σ - τ)²."""
    mean, zero = torch.tensor([1.0, 2.0]).double(), torch.zeros(2).double()
    first = Statistics(mean, torch.diag(torch.tensor([4.0, 9.0])).double(), 100)
    second = Statistics(zero, torch.diag(torch.tensor([1.0, 25.0])).double(), 100)
    distance = frechet_distance(first, second)
    assert (distance.mean_term, distance.covariance_term) == (5.0, pytest.approx(1.0 + 4.0))


def test_fewer_images_than_dimensions_are_warned_of():
    few, many = fit(vectors(64, 64, 1)), fit(vectors(65, 64, 2))
    with pytest.warns(MethodWarning, match="in 64 dimensions from 64 images is too large"):
        frechet_distance(few, many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(many, many)


def test_one_image_and_other_dimensions_are_refused():
    with pytest.raises(UserError, match="needs two images or more on each side, got 1"):
        fit(vectors(1, 8, 1))
    with pytest.raises(UserError, match="needs two images or more on each side, got 1"):
        kernel_distance(vectors(1, 8, 1), vectors(5, 8, 1))
    with pytest.raises(UserError, match="features of 8 and of 9 dimensions"):
        frechet_distance(fit(vectors(20, 8, 1)), fit(vectors(20, 9, 1)))


def slow_mmd(first: list[list[float]], second: list[list[float]]) -> float:
    def kernel(a: list[float], b: list[float]) -> float:
        return (sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(one: list[list[float]]) -> float:
        pairs = [kernel(a, b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j]
        return sum(pairs) / len(pairs)

    across = [kernel(a, b) for a in first for b in second]
    return within(first) + within(second) - 2 * sum(across) / len(across)


def test_the_kernel_distance_equals_its_double_sum():
    first, second = vectors(12, 5, 1), vectors(9, 5, 2)
    assert kernel_distance(first, second) == (pytest.approx(slow_mmd(first.tolist(), second.tolist())), None)


def test_subsets_of_a_large_set_have_the_mean_of_the_whole_and_a_deviation():
    first, second = vectors(300, 5, 1), vectors(300, 5, 2)
    whole, none = kernel_distance(first, second, subset_size=300)
    mean, deviation = kernel_distance(first, second, subsets=200, subset_size=100)
    assert none is None
    assert deviation is not None
    assert abs(mean - whole) < 4 * deviation / 200**0.5
    assert kernel_distance(first, second, subsets=20, subset_size=100) == kernel_distance(
        first, second, subsets=20, subset_size=100
    )


def test_the_kernel_distance_of_one_distribution_is_about_none():
    values = [kernel_distance(*(vectors(100, 5, 1)[torch.randperm(100)][:50] for _ in range(2)))[0] for _ in range(20)]
    assert min(values) < 0


def test_a_small_set_is_compared_with_a_part_of_a_huge_one():
    generator = torch.Generator().manual_seed(0)
    small, huge = torch.randn(20, 4, generator=generator), torch.randn(2000, 4, generator=generator)
    whole, _ = kernel_distance(small, huge)
    part, spread = kernel_distance(small, huge, subset_size=100)
    assert spread is None
    assert part != whole
    assert part == pytest.approx(whole, abs=0.2)
    assert kernel_distance(small, huge[:500], subset_size=100) == kernel_distance(small, huge[:500])
