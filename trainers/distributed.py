"""What every method that trains on several ranks needs, so that N ranks compute what one process would.

The rules: a loss is a **share** — this rank's sum divided by a count over all ranks — and ``backward`` makes the
gradients those of the sum of shares. Each optimizer's network is wrapped by ``parallel``; a teacher is not: it
has no gradients, and follows the plain network. A step of several networks of one optimizer (encode, decode,
reconstruct) is one ``WholeStep``, so that it is one forward. Where a loss passes through a network that is not to learn
now (a discriminator in the generator's step), call that one plain and ``without_gradients``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.components.configs import BatchNormPolicy
from trainers.context import TrainContext
from trainers.networks.segmentation import freeze_affine, freeze_batch_norm

Network = TypeVar("Network", bound=nn.Module)


def prepare(network: Network, policy: BatchNormPolicy, context: TrainContext) -> Network:
    """``network`` on its device with its normalization as ``policy`` says; before its optimizer is built."""
    if policy == "frozen":
        freeze_batch_norm(network)
    if policy == "frozen_affine":
        freeze_affine(network)
    if policy == "sync" and context.world_size > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # Of the same type, unless it is a norm itself.
    return network.to(context.device)


def parallel(network: nn.Module, context: TrainContext) -> nn.Module:
    """What to call in training instead of ``network``; itself where there is one rank.

    Buffers are not broadcast: a second forward of the step would change them under the first one's backward. Every
    rank keeps its own running statistics until ``take_buffers_of_rank_0``.
    """
    if context.world_size == 1 or not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    return DistributedDataParallel(network, broadcast_buffers=False)


class WholeStep(nn.Module):
    """A step of several networks as one forward: wrap this by ``parallel``, not the networks one by one."""

    def __init__(self, step: Callable[..., Mapping[str, Tensor]], **networks: nn.Module) -> None:
        """``step`` calls the networks as it likes, each as often as it likes."""
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self._step = step

    def forward(self, *inputs: Any) -> Mapping[str, Tensor]:
        """What ``step`` returns for ``inputs``."""
        return self._step(*inputs)


def mean_share(values: Tensor, context: TrainContext, *, weights: Tensor | None = None) -> Tensor:
    """This rank's share of the (weighted) mean of ``values`` over all ranks; 0 where nothing counts anywhere.

    Shards may be uneven: what is divided by is the count over all ranks.
    """
    total = values.sum() if weights is None else (values * weights).sum()
    count = total.new_full((), values.numel()) if weights is None else weights.sum().to(total.dtype)
    return total / context.all_reduce(count).clamp_min(torch.finfo(total.dtype).tiny)


def backward(loss_share: Tensor, context: TrainContext) -> None:
    """Gradients of the sum of all ranks' shares: DDP averages, and the factor makes that the sum again."""
    (loss_share * context.world_size).backward()


@contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Gradients pass through ``network`` and do not stay in it."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def take_buffers_of_rank_0(network: nn.Module, context: TrainContext) -> None:
    """Make running statistics those of the checkpoint, which is written by rank 0; training reads none of them."""
    if context.world_size == 1:
        return
    for buffer in network.buffers():
        buffer.copy_(context.all_reduce(buffer if context.rank == 0 else torch.zeros_like(buffer)))
