"""Choose images of an unlabeled pool by a score of each of them: the data set ``selected``.

Input roles: ``features`` and ``reference`` are passes over the pool and over what it shall resemble, ``colors`` a pass
over the pool with the network ``colors``; a scorer needs its own, and with the first two every scorer's choice is
measured. The images of the reference may be of any set but one that is reported (the caller's graph is checked for
it). ``scores.parquet`` holds image, score, accepted and chosen for the whole pool.

Source: the night thesis, section 4.2.2.3; see ``selection.scorers``.
Differs: it filters by a threshold alone; here a ratio to the labeled images bounds what is taken, and an order says
    which, for the nearest images are less diverse than any others (their Fréchet distance to the reference, by mean
    and covariance, is part of the result).
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.components.frechet import fit, frechet_distance
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import content_files, label_map_of, name_of, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.image_files import decode, to_rgb
from trainers.data.references import Reference, write_references
from trainers.data.samples import Sample
from trainers.data.sampling import derive_seed
from trainers.errors import MethodWarning, UserError
from trainers.measures.features import COLORS, Features, check_alike, check_sources_alike
from trainers.measures.frechet import described
from trainers.pictures import evenly_spaced, write_panel
from trainers.selection.choosing import accept, take
from trainers.selection.light import brightness_score
from trainers.selection.scorers import frechet_dirac, knn_precision, mahalanobis
from trainers.selection.select_images_config import WITH_REFERENCE, Config

SCORES = "scores.parquet"
SPLIT = "train"
ROLES = ("features", "reference")


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data, and features that cannot be compared, where they are there already."""
    for split in (config.pool, *config.labeled):
        if split.dataset in inputs:
            open_split(inputs, split)
    if set(ROLES) <= set(inputs):
        check_alike(*(Features.open(inputs[role]) for role in ROLES))


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse missing inputs, and features of two networks or of another split, before they are taken."""
    needed = ROLES if config.scorer in WITH_REFERENCE else ("colors",) if config.scorer == "histogram" else ()
    if missing := [role for role in needed if role not in sources]:
        raise UserError(
            f"scorer {config.scorer} needs the inputs {' and '.join(needed)}; {' and '.join(missing)} missing"
        )
    if set(ROLES) <= set(sources):
        check_sources_alike(*(sources[role] for role in ROLES))
    for role in ("features", "colors"):
        split = getattr(sources.get(role), "split", config.pool)
        if split != config.pool:
            raise UserError(f"the input {role} is of {split}, and images are selected from {config.pool}")


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``references.json`` and ``scores.parquet``.

    Returns:
        ``images`` taken, ``accepted``, ``pool_images``, ``labeled_images``, ``unlabeled_ratio`` as it came out,
        ``selection_threshold`` and ``selection_quantile`` (absent without an upper bound), ``quantiles`` of the score
        (of 0, 10, … 100 %), and with features ``trace`` of the reference's covariance and the distance of the chosen
        images to the reference, named as ``frechet`` names it.
    """
    samples = open_split(inputs, config.pool)
    scores, wanted = scores_of(config, inputs, len(samples))
    accepted = accept(
        scores, lower=config.lower, threshold=config.threshold, quantile=config.quantile, what=str(config.pool)
    )
    labeled = sum(len(open_split(inputs, split)) for split in config.labeled)
    seed_of_order = derive_seed(config.selection_seed, "order")
    chosen = take(
        scores, accepted, _count(config, labeled, accepted.positions, context), order=config.order, seed=seed_of_order,
        wanted=wanted,
    )  # fmt: skip
    names = [name_of(sample, inputs, config.pool) for sample in samples]
    if context.rank == 0:
        _write_index(config, inputs, samples, [names[position] for position in chosen.tolist()], output)
        _write_scores(names, scores, accepted.positions, chosen, output)
        _draw(samples, scores, chosen, config.pictures, output)
    return {
        "images": len(chosen),
        "accepted": len(accepted.positions),
        "pool_images": len(samples),
        "labeled_images": labeled,
        "unlabeled_ratio": len(chosen) / labeled,
        "selection_threshold": accepted.threshold,
        "selection_quantile": accepted.quantile,
        "quantiles": np.quantile(scores, np.linspace(0, 1, 11)).tolist(),
        **_measured(inputs, chosen),
    }


def scores_of(config: Config, inputs: Mapping[str, Path], images: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The score of each image of the pool in float64 (n,), and those of the reference where they are to be matched.

    Raises:
        UserError: features are of another split, or of another network than the reference's.
    """
    if config.scorer == "random":
        return np.random.default_rng(derive_seed(config.selection_seed, "scores")).random(images), None
    if config.scorer == "histogram":
        colors = _of_pool(config, Features.open(inputs["colors"]), images)
        if colors.name != COLORS:
            raise UserError(f"scorer histogram reads mean colors, and its input colors is of {colors.name}")
        return brightness_score(colors.vectors.double().numpy(), alpha=config.red_weight, scale=config.scale), None
    pool, reference = _of_pool(config, Features.open(inputs["features"]), images), Features.open(inputs["reference"])
    check_alike(pool, reference)
    statistics = None if config.scorer == "knn_precision" else fit(reference.vectors)

    def score(vectors: Tensor, *, own: bool) -> np.ndarray:
        if statistics is None:
            found = knn_precision(vectors, reference.vectors, neighbors=config.neighbors, are_the_reference=own)
        elif config.scorer == "mahalanobis":
            found = mahalanobis(vectors, statistics, shrinkage=config.shrinkage)
        else:
            found = frechet_dirac(vectors, statistics)
        return found.numpy()

    wanted = score(reference.vectors, own=True) if config.order == "quantile_match" else None
    return score(pool.vectors, own=False), wanted


def _of_pool(config: Config, features: Features, images: int) -> Features:
    if features.split != str(config.pool) or len(features.vectors) != images:
        raise UserError(
            f"the features are of {len(features.vectors)} images of {features.split}, and {config.pool} has {images}"
        )
    return features


def _count(config: Config, labeled: int, accepted: np.ndarray, context: TrainContext) -> int:
    """Images to take; says so where fewer are accepted than the ratio asks for."""
    if config.unlabeled_ratio is None:
        return len(accepted)
    asked = round(config.unlabeled_ratio * labeled)
    if asked < 1:
        raise UserError(
            f"unlabeled_ratio {config.unlabeled_ratio:g} of {labeled} labeled images is less than one image"
        )
    if asked > len(accepted) and context.rank == 0:
        warnings.warn(
            f"unlabeled_ratio {config.unlabeled_ratio:g} asks for {asked} images of {config.pool}, and {len(accepted)} "
            f"are accepted: all are taken, which is {len(accepted) / labeled:.3g}; widen the threshold for more",
            MethodWarning,
            stacklevel=2,
        )
    return min(asked, len(accepted))


def _measured(inputs: Mapping[str, Path], chosen: np.ndarray) -> dict[str, Any]:
    """The distance of the chosen images to the reference, where both were passed over."""
    if not set(ROLES) <= set(inputs):
        return {}
    pool, reference = (Features.open(inputs[role]) for role in ROLES)
    statistics = fit(reference.vectors)
    found = {"trace": float(statistics.covariance.trace()), "reference_images": statistics.count}
    if len(chosen) < 2:  # One image has no covariance.
        return found
    vectors = pool.vectors[torch.from_numpy(chosen)]
    return {**found, **described(frechet_distance(fit(vectors), statistics), pool, (len(chosen), statistics.count))}


def _write_index(
    config: Config, inputs: Mapping[str, Path], samples: list[Sample], names: list[str], output: Path
) -> None:
    root = inputs[config.pool.dataset]
    whole = fingerprint(root, content_files(root, config.pool, samples))
    references = {SPLIT: Reference(str(config.pool), tuple(names), None)}
    label_map = label_map_of(config.pool.dataset, root)
    write_references(output, references, label_map=label_map, fingerprints={SPLIT: whole})


def _write_scores(names: list[str], scores: np.ndarray, accepted: np.ndarray, chosen: np.ndarray, output: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {"image": names, "score": scores}
    for name, positions in (("accepted", accepted), ("chosen", chosen)):
        columns[name] = np.isin(np.arange(len(names)), positions)
    parquet.write_table(pa.table(columns), output / SCORES)


def _draw(samples: list[Sample], scores: np.ndarray, chosen: np.ndarray, count: int, output: Path) -> None:
    """Chosen images and others, by score."""
    left = np.setdiff1d(np.arange(len(samples)), chosen)
    for kind, positions in (("chosen", chosen), ("not chosen", left)):
        ranked = positions[np.argsort(scores[positions], kind="stable")]
        for number, place in enumerate(evenly_spaced(count, len(ranked))):
            position = int(ranked[place])
            image = samples[position].image
            tile = {kind: np.array(to_rgb(decode(image), image))}
            caption = f"{image.stem}: score {scores[position]:.4g}"
            write_panel(output, f"{kind}-{number}", tile, title=f"{kind}, {number + 1}", caption=caption)
