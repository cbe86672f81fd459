"""The features of a split as an artifact: distances, selections and trials share one pass over the images.

The input role ``segmenter`` is a training stage, where ``features`` names one. ``features.npy`` holds the vectors
(n d, float32) in the order of the split; ``statistics.npz`` is what pytorch-fid reads in place of a folder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor

from trainers.components.frechet import fit
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import TargetImages
from trainers.data.loader import evaluation_batches
from trainers.described import read_described
from trainers.errors import UserError
from trainers.measures.features_config import Config
from trainers.networks.features import FeatureNetwork, build_features, check_feature_source, check_features

VECTORS, STATISTICS, DESCRIPTION = "features.npy", "statistics.npz", "features.json"
COLORS = "colors@rgb"
"""Name of features that are mean colors."""


class _Description(BaseModel):
    """What stands in the file."""

    height: int
    width: int
    features: str
    weights_hash: str
    split: str


@dataclass(frozen=True)
class Features:
    """What such a stage left behind."""

    vectors: Float[Tensor, "n d"]
    name: str
    """Network and layer."""
    weights_hash: str
    size: tuple[int, int]
    """Height and width of the images."""
    split: str
    """What was passed over."""

    @classmethod
    def open(cls, folder: Path) -> "Features":
        """Read the vectors and what they are of.

        Raises:
            UserError: the folder holds none.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            raise UserError(f"{folder} holds no features of a split: {DESCRIPTION} is missing")
        described: _Description = read_described(path, _Description)
        vectors = torch.from_numpy(np.load(folder / VECTORS, allow_pickle=False))
        size = (described.height, described.width)
        return cls(vectors, described.features, described.weights_hash, size, described.split)


def check_alike(first: Features, second: Features) -> None:
    """Refuse two passes whose vectors cannot be compared.

    Raises:
        UserError: the networks, their weights or the sizes of the images differ.
    """
    for what, one, other in (
        ("the network is", first.name, second.name),
        ("the weights are", first.weights_hash, second.weights_hash),
        ("images are resized to", first.size, second.size),
    ):
        if one != other:
            raise UserError(f"{what} {one} for one set and {other} for the other; a distance needs both alike")


def check_sources_alike(first: BaseConfig, second: BaseConfig) -> None:
    """The same refusal before anything is taken, of the stages' configurations."""
    one, other = dict(first), dict(second)
    for name in ("features", "height", "width"):
        if name in one and name in other and one[name] != other[name]:
            raise UserError(f"{name} is {one[name]} of one set and {other[name]} of the other; give both the same")


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data and absent weights."""
    check_features(config.features, inputs)
    if config.split.dataset in inputs:
        open_split(inputs, config.split)


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """Refuse a segmenter's features without a segmenter."""
    check_feature_source(config.features, sources)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write vectors and statistics, in float32 whatever the training used.

    Returns:
        ``images``, ``dimensions``, ``features`` (network and layer), ``weights_hash``, ``mean_square`` (mean of |f|²)
        and ``trace`` of the covariance: the natural scale of a distance of single images.
    """
    network = build_features(config.features, inputs).to(context.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    images = TargetImages(inputs, config.split, height=config.height, width=config.width, cache_bytes=0)
    vectors = all_vectors(network, images, config, context)
    described: dict[str, Any] = {"features": network.name, "weights_hash": network.weights_hash}
    trace = None
    if context.rank == 0:
        np.save(output / VECTORS, vectors.numpy(), allow_pickle=False)
        content = {**described, "split": str(config.split), "height": config.height, "width": config.width}
        (output / DESCRIPTION).write_text(json.dumps(content, indent=1))
    if len(vectors) > 1:
        statistics = fit(vectors)
        trace = float(statistics.covariance.trace())
        if context.rank == 0:
            mean, covariance = statistics.mean.numpy(), statistics.covariance.numpy()
            np.savez(output / STATISTICS, mu=mean, sigma=covariance)
    squares = float(vectors.double().square().sum(dim=1).mean())
    return {"images": len(vectors), "dimensions": vectors.shape[1], **described, "mean_square": squares, "trace": trace}


@torch.inference_mode()
def all_vectors(
    network: FeatureNetwork, images: TargetImages, config: Config, context: TrainContext
) -> Float[Tensor, "n d"]:
    """The vectors of all ranks' images in the order of the split, on every rank, on the CPU."""
    batches = evaluation_batches(images, batch_size=config.batch_size, workers=config.loader_workers, context=context)
    mine = [network.vectors(batch.images).cpu() for batch in batches]
    probe = torch.zeros(1, 3, config.height, config.width, device=context.device)
    dimensions = mine[0].shape[1] if mine else network.vectors(probe).shape[1]  # A rank may have no image.
    vectors = torch.zeros(len(images), dimensions)
    if mine:
        vectors[context.rank :: context.world_size] = torch.cat(mine)
    return context.all_reduce(vectors.to(context.device)).cpu()
