"""Scores of single images, by which a pool is sorted: lower is better, or lies in a band. All read features taken once.

Shape legend: n images of the pool, m images of the reference, d dimensions, r images whose distances are computed at
once.

Source: the night thesis, sections 4.2.2.3 (brightness; a "FID" of single images with threshold 450); Kynkäänniemi et
    al., Improved Precision and Recall (nearest neighbors); Lee et al., A Simple Unified Framework (Mahalanobis).
Differs: the Fréchet distance of one image is not defined in pytorch-fid: one vector has no covariance. What the same
    formula gives as copies of an image replace it is, so that is ``frechet_dirac``.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from trainers.components.frechet import Statistics
from trainers.errors import UserError

ROWS_AT_ONCE = 1024
"""Images whose distances to the whole reference are held in memory."""

Vectors = Float[Tensor, "n d"]
Scores = Float[Tensor, " n"]


def frechet_dirac(vectors: Vectors, reference: Statistics) -> Scores:
    """|f - m|² + Tr S: the squared Fréchet distance of the point f and the normal distribution of mean m, covariance S.

    It sorts as the Euclidean distance to m does. An image of the reference itself has 2 Tr S on average.
    """
    distance = (vectors.double() - reference.mean).square().sum(dim=1)
    return distance + reference.covariance.trace()


def mahalanobis(vectors: Vectors, reference: Statistics, *, shrinkage: float) -> Scores:
    """(f - m)ᵀ C⁻¹ (f - m) with C = (1 - s) S + s (Tr S / d) I.

    Raises:
        UserError: C is singular, as without shrinkage where images are fewer than dimensions.
    """
    dimensions = len(reference.mean)
    # Rounding may hide a singular covariance from the factorization.
    singular = shrinkage == 0 and reference.count <= dimensions
    scale = reference.covariance.trace() / dimensions
    identity = torch.eye(dimensions, dtype=torch.float64)
    factor, failed = torch.linalg.cholesky_ex((1 - shrinkage) * reference.covariance + shrinkage * scale * identity)
    if singular or int(failed):
        raise UserError(
            f"the covariance of {reference.count} images in {dimensions} dimensions cannot be inverted with shrinkage "
            f"{shrinkage:g}; raise shrinkage, or take a layer of fewer dimensions"
        )
    whitened = torch.linalg.solve_triangular(factor, (vectors.double() - reference.mean).T, upper=False)
    return whitened.square().sum(dim=0)


def knn_precision(
    vectors: Vectors, reference: Float[Tensor, "m d"], *, neighbors: int, are_the_reference: bool = False
) -> Scores:
    """The smallest |f - r| / ρ(r) over the images r of the reference.

    ρ(r) is the distance of r to its k-th neighbor there. At most 1 where f lies in such a ball, which is the published
    rule. ``are_the_reference``: the vectors are the reference's own, and none is compared with itself.

    Raises:
        UserError: the reference has no k-th neighbor.
    """
    if len(reference) <= neighbors:
        raise UserError(
            f"neighbors {neighbors} needs more than {neighbors} images of the reference, got {len(reference)}"
        )
    vectors, reference = vectors.double(), reference.double()
    radii = torch.cat([_neighbor_distance(rows, reference, neighbors) for rows in reference.split(ROWS_AT_ONCE)])
    found = []
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        distances = torch.cdist(vectors[start : start + ROWS_AT_ONCE], reference)
        ratios = distances / radii.clamp_min(torch.finfo(torch.float64).tiny)
        if are_the_reference:
            ratios[torch.arange(len(ratios)), torch.arange(start, start + len(ratios))] = torch.inf
        found.append(ratios.min(dim=1).values)
    return torch.cat(found)


def _neighbor_distance(rows: Float[Tensor, "r d"], reference: Float[Tensor, "m d"], k: int) -> Float[Tensor, " r"]:
    """To the k-th neighbor; the nearest one is the image itself."""
    return torch.cdist(rows, reference).kthvalue(k + 1, dim=1).values
