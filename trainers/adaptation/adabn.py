"""Adaptive batch normalization: a trained segmenter takes the statistics of the target; no weight moves.

What every adaptation gets for nothing whose batches hold target images, and thus what its gain is to be compared with.
The input role ``segmenter`` is a training stage; its best and its last weights are treated alike.

Source: Li et al., Adaptive Batch Normalization for practical domain adaptation (arXiv 1603.04779).
Differs: there each neuron's mean and variance come from all target images, layer after layer; here they are means over
    the batches of one pass, in which each batch is normalized by its own statistics.
Returns ``mean_shift`` and ``log_variance_shift``: means over all channels of the distance that the mean moved, in
    standard deviations of before, and of the absolute logarithm of the variances' ratio.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adaptation.adabn_config import Config
from trainers.checkpoint import save_state
from trainers.context import TrainContext
from trainers.data.datasets import open_split
from trainers.data.domains import TargetImages
from trainers.data.loader import load
from trainers.errors import UserError
from trainers.networks.segmentation import check_size
from trainers.segmentation.trained import load_segmenter, read_description, write_description

BatchNorm = nn.modules.batchnorm._BatchNorm


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data, and sizes that the trained network cannot take."""
    if "segmenter" in inputs:
        trained = read_description(inputs["segmenter"])
        check_size(trained.network, height=config.height or trained.height, width=config.width or trained.width)
    if config.target.dataset in inputs:
        open_split(inputs, config.target)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``best.pt``, ``final.pt`` and ``segmenter.json``, as a training does; the shifts are the last weights'.

    Raises:
        UserError: the network has no batch norm.
    """
    shifts = {}
    for checkpoint in ("best", "final"):
        segmenter, trained, step = load_segmenter(inputs["segmenter"], checkpoint)
        layers = [module for module in segmenter.modules() if isinstance(module, BatchNorm)]
        if not layers:
            named = f"{trained.network.architecture}-{trained.network.encoder}"
            raise UserError(f"{named} has no batch norm, so there are no statistics to adapt; leave this stage out")
        height, width = config.height or trained.height, config.width or trained.width
        images = TargetImages(inputs, config.target, height=height, width=width)
        before = _statistics(layers)
        _set_statistics(layers, target_statistics(segmenter.to(context.device), layers, images, config, context))
        shifts = _shifts(before, _statistics(layers))
        if context.rank == 0:
            weights = {name: value.cpu() for name, value in segmenter.state_dict().items()}
            save_state(output / f"{checkpoint}.pt", {"weights": weights, "step": step})
            write_description(output, trained, seen=[config.target], initial=inputs["segmenter"])
    return {"unlabeled_images": len(images), **shifts}


@torch.no_grad()
def target_statistics(
    segmenter: nn.Module, layers: Sequence[BatchNorm], images: TargetImages, config: Config, context: TrainContext
) -> Tensor:
    """Means, then unbiased variances of all ``layers`` in a row: means over the batches of all ranks, by their images.

    Each rank takes every ``world_size``-th batch; a last batch of one image is left out, for it has no variance.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size = config.batch_size
    batches = [list(range(start, min(start + size, len(images)))) for start in range(0, len(images), size)]
    batches = [batch for batch in batches if len(batch) > 1]
    if not batches:
        raise UserError(f"{config.target} has {len(images)} image(s), and statistics need two; take a larger target")
    segmenter.eval()
    for layer in layers:
        layer.train()
    kept = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    total = torch.zeros_like(_statistics(layers), dtype=torch.float64)
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = 1.0, None  # The running statistics are the last batch's then.
    for batch, _ in load(images, batches[context.rank :: context.world_size], config.loader_workers, context):
        segmenter(batch)
        total += len(batch) * _statistics(layers).double()
    for layer, (momentum, tracked) in zip(layers, kept, strict=True):
        layer.momentum, layer.num_batches_tracked = momentum, tracked
    segmenter.eval()
    return context.all_reduce(total) / sum(map(len, batches))


def _statistics(layers: Sequence[BatchNorm]) -> Tensor:
    means, variances = zip(*((layer.running_mean, layer.running_var) for layer in layers), strict=True)
    return torch.cat([*means, *variances]).clone()


def _set_statistics(layers: Sequence[BatchNorm], statistics: Tensor) -> None:
    means, variances = statistics.float().chunk(2)
    sizes = [layer.num_features for layer in layers]
    for layer, mean, variance in zip(layers, means.split(sizes), variances.split(sizes), strict=True):
        layer.running_mean, layer.running_var = mean.clone(), variance.clone()


def _shifts(before: Tensor, after: Tensor) -> dict[str, float]:
    (mean, variance), (new_mean, new_variance) = before.double().chunk(2), after.to(before.device).double().chunk(2)
    tiny = 1e-5
    return {
        "mean_shift": float(((new_mean - mean).abs() / (variance + tiny).sqrt()).mean()),
        "log_variance_shift": float(((new_variance + tiny) / (variance + tiny)).log().abs().mean()),
    }
