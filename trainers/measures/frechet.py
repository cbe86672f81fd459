"""The distance between two sets of images, from their features: the input roles ``features`` and ``reference``.

Source: see ``components.frechet``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.components.frechet import Distance, fit, frechet_distance, kernel_distance
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.errors import UserError
from trainers.measures.features import Features, check_alike, check_sources_alike
from trainers.measures.frechet_config import Config

ENGINE = "symmetric eigenvalues, float64"
ROLES = ("features", "reference")


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse features that have no distance, where both are there already."""
    if set(ROLES) <= set(inputs):
        check_alike(*(Features.open(inputs[role]) for role in ROLES))


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a missing input, and features of two networks or two sizes, before they are taken."""
    if missing := [role for role in ROLES if role not in sources]:
        raise UserError(f"a distance needs the inputs features and reference; {' and '.join(missing)} missing")
    check_sources_alike(*(sources[role] for role in ROLES))


def described(distance: Distance, features: Features, counts: tuple[int, int]) -> dict[str, Any]:
    """A distance as rows of the leaderboard hold it, with all that it depends on."""
    return {
        "fid": distance.total,
        "fid_mean_term": distance.mean_term,
        "fid_covariance_term": distance.covariance_term,
        "fid_features": f"{features.name}, {counts[0]} and {counts[1]} images, {ENGINE}",
        "fid_weights_hash": features.weights_hash,
    }


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Measure.

    Returns:
        ``fid`` (of whatever features: its name is that of the leaderboard), ``fid_mean_term``, ``fid_covariance_term``,
        ``kid`` with ``kid_deviation`` and ``kid_subset``, ``fid_features`` (network, layer, numbers of images and
        engine: distances compare only where all are alike), ``fid_weights_hash``, ``dimensions``, ``images``,
        ``reference_images``.
    """
    images, reference = (Features.open(inputs[role]) for role in ROLES)
    check_alike(images, reference)
    distance = frechet_distance(fit(images.vectors), fit(reference.vectors))
    kid, deviation = kernel_distance(
        images.vectors, reference.vectors, subsets=config.subsets, subset_size=config.subset_size,
        seed=config.subset_seed,
    )  # fmt: skip
    counts = (len(images.vectors), len(reference.vectors))
    return {
        **described(distance, images, counts),
        "kid": kid,
        "kid_deviation": deviation,
        "kid_subset": min(*counts, config.subset_size) if deviation is not None else None,
        "dimensions": images.vectors.shape[1],
        "images": counts[0],
        "reference_images": counts[1],
    }
