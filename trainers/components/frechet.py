"""Distances between two sets of feature vectors: Fréchet distance and kernel distance.

Shape legend: n vectors, m vectors of the other set, d dimensions.

Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule (Fréchet distance); Bińkowski et al., Demystifying
    MMD GANs (kernel distance); mseitzer/pytorch-fid for the quantity that is compared with published tables.
Differs: pytorch-fid takes the square root of a product that is not symmetric, which may come out complex, and adds
    1e-6 to both diagonals where it fails. Here Tr (S1 S2)^½ is a sum of square roots of eigenvalues of a symmetric
    matrix, and where there are fewer vectors than dimensions a sum of singular values that is exact.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainers.errors import MethodWarning, UserError


@dataclass(frozen=True)
class Statistics:
    """A normal distribution that was fitted to feature vectors."""

    mean: Float[Tensor, " d"]
    """float64."""
    covariance: Float[Tensor, "d d"]
    """Of a sample (divided by count - 1), float64."""
    count: int
    """Vectors that it was fitted to."""
    centered: Float[Tensor, "n d"] | None = None
    """The vectors less their mean, over √(n - 1): kept where there are fewer than dimensions."""


@dataclass(frozen=True)
class Distance:
    """A squared Fréchet distance, and what it adds up from."""

    total: float
    mean_term: float
    """|m1 - m2|²: the sets' middles differ."""
    covariance_term: float
    """Tr(S1 + S2 - 2 (S1 S2)^½): their spread differs."""


def fit(vectors: Float[Tensor, "n d"]) -> Statistics:
    """Mean and covariance.

    Raises:
        UserError: one vector has no covariance.
    """
    count, dimensions = vectors.shape
    if count < 2:
        raise UserError(f"a Fréchet distance needs two images or more on each side, got {count}")
    vectors = vectors.double()
    mean = vectors.mean(dim=0)
    centered = (vectors - mean) / (count - 1) ** 0.5
    return Statistics(mean, centered.T @ centered, count, centered if count <= dimensions else None)


def frechet_distance(first: Statistics, second: Statistics) -> Distance:
    """|m1 - m2|² + Tr(S1 + S2 - 2 (S1 S2)^½); warns where a covariance is not of full rank.

    Raises:
        UserError: the two have different dimensions.
    """
    if first.mean.shape != second.mean.shape:
        raise UserError(
            f"features of {len(first.mean)} and of {len(second.mean)} dimensions have no distance; take both from one "
            "layer of one network"
        )
    dimensions, fewest = len(first.mean), min(first.count, second.count)
    if fewest <= dimensions:
        warnings.warn(
            f"a Fréchet distance in {dimensions} dimensions from {fewest} images is too large by an amount that "
            "depends on the number: compare it only with one from as many images, or take a layer of fewer "
            "dimensions, or kid",
            MethodWarning,
            stacklevel=2,
        )
    mean_term = float((first.mean - second.mean).square().sum())
    trace = float(first.covariance.trace() + second.covariance.trace())
    covariance_term = trace - 2 * root_trace(first, second)
    return Distance(mean_term + covariance_term, mean_term, covariance_term)


def root_trace(first: Statistics, second: Statistics) -> float:
    """Tr (S1 S2)^½.

    With S1 = F Fᵀ it is the sum of the square roots of the eigenvalues of Fᵀ S2 F, which is symmetric; with S2 = G Gᵀ
    too that of the singular values of Fᵀ G, which loses no digits where eigenvalues are 0.
    """
    if first.centered is not None and second.centered is not None:
        return float(torch.linalg.svdvals(first.centered @ second.centered.T).sum())
    if first.centered is None and second.centered is None:
        factor = _factor(first.covariance)
        eigenvalues = torch.linalg.eigvalsh(factor.T @ second.covariance @ factor)
        return float(eigenvalues.clamp_min(0).sqrt().sum())
    low, full = (first, second) if first.centered is not None else (second, first)
    assert low.centered is not None
    return float(torch.linalg.svdvals(low.centered @ _factor(full.covariance)).sum())


def _factor(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """F with F Fᵀ = ``covariance``: Cholesky's, or by eigenvalues where it is singular."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not int(failed):
        return factor
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    return vectors * eigenvalues.clamp_min(0).sqrt()


def kernel_distance(
    first: Float[Tensor, "n d"], second: Float[Tensor, "m d"], *, subsets: int = 100, subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float | None]:  # fmt: skip
    """Squared kernel distance with (x · y / d + 1)³, unbiased: it may be below 0, and does not depend on the counts.

    The mean over random subsets and its standard deviation over them; where a set has no more vectors than
    ``subset_size``, that of all its vectors with all of the other, of which five times as many do, and no deviation.

    Raises:
        UserError: a set has one vector.
    """
    fewest = min(len(first), len(second))
    if fewest < 2:
        raise UserError(f"a kernel distance needs two images or more on each side, got {fewest}")
    first, second = first.double(), second.double()
    rng = np.random.default_rng(seed)
    if fewest <= subset_size:  # A kernel of 15,000 vectors would take 1.8 GB.
        most = 5 * subset_size
        parts = (
            one if len(one) <= most else one[torch.from_numpy(rng.choice(len(one), most, replace=False))]
            for one in (first, second)
        )
        return _squared_mmd(*parts), None
    found = []
    for _ in range(subsets):
        parts = (one[torch.from_numpy(rng.choice(len(one), subset_size, replace=False))] for one in (first, second))
        found.append(_squared_mmd(*parts))
    return float(np.mean(found)), float(np.std(found, ddof=1))


def _squared_mmd(first: Tensor, second: Tensor) -> float:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(one: Tensor) -> Tensor:
        values = kernel(one, one)
        return (values.sum() - values.diagonal().sum()) / (len(one) * (len(one) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())
