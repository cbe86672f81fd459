"""Small trainings of several networks, written with ``trainers.distributed`` alone; each runs on one rank or on two."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers import distributed
from trainers.context import TrainContext

IMAGES, STEPS = 5, 3
"""Five images: rank 0 gets three and rank 1 two."""


def shard(context: TrainContext, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's sources, targets and valid pixels of a step; all pixels of rank 1 are invalid in the last step."""
    generator = torch.Generator().manual_seed(step)
    sources, targets = (torch.randn(IMAGES, 3, 8, 8, generator=generator) for _ in range(2))
    valid = torch.rand(IMAGES, 1, 8, 8, generator=generator) < 0.7
    if step == STEPS - 1:
        valid[1::2] = False
    mine = slice(context.rank, None, context.world_size)
    return sources[mine], targets[mine], valid[mine].float()


def generator(norm: type[nn.Module] | None = None) -> nn.Sequential:
    middle = nn.GroupNorm(2, 4) if norm is None else norm(4)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), middle, nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


def adversarial(context: TrainContext) -> dict[str, Tensor]:
    """A generator that is called three times in its step, a discriminator, an optimizer each, a teacher."""
    torch.manual_seed(0)
    forth, back = generator(), generator()
    judge = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 2))
    teacher = copy.deepcopy(forth).requires_grad_(False)

    def losses(sources: Tensor, targets: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
        fake = forth(sources)
        cycle = (back(fake) - sources).abs()
        same = (forth(targets) - targets).square().mean(dim=1, keepdim=True)
        fooled = functional.softplus(-judge(fake))
        return {
            "fooled": distributed.mean_share(fooled, context),
            "cycle": distributed.mean_share(cycle, context),
            "same": distributed.mean_share(same, context, weights=valid),
        }

    generators = distributed.parallel(distributed.WholeStep(losses, forth=forth, back=back), context)
    parallel_judge = distributed.parallel(judge, context)
    for_generators = torch.optim.SGD(generators.parameters(), lr=0.1)
    for_judge = torch.optim.SGD(judge.parameters(), lr=0.1)
    for step in range(STEPS):
        sources, targets, valid = shard(context, step)
        with torch.no_grad():
            fake = forth(sources)
        # Two forwards of one wrapped network before one backward.
        real_loss = distributed.mean_share(functional.softplus(-parallel_judge(targets)), context)
        fake_loss = distributed.mean_share(functional.softplus(parallel_judge(fake)), context)
        for_judge.zero_grad()
        distributed.backward(real_loss + fake_loss, context)
        for_judge.step()
        for_generators.zero_grad()
        with distributed.without_gradients(judge):
            shares = generators(sources, targets, valid)
            distributed.backward(sum(shares.values(), torch.zeros(())), context)
        for_generators.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), forth.parameters(), strict=True):
                slow.lerp_(fast, 0.5)
    networks = {"forth": forth, "back": back, "judge": judge, "teacher": teacher}
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


def batch_norm(context: TrainContext) -> dict[str, Tensor]:
    """Batch statistics of each rank's own shard, two forwards per step."""
    torch.manual_seed(1)
    network = distributed.prepare(generator(nn.BatchNorm2d), "local", context)
    wrapped = distributed.parallel(network, context)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(STEPS):
        sources, targets, _ = shard(context, step)
        first, second = wrapped(sources), wrapped(targets)
        loss = distributed.mean_share((first - targets).square() + (second - sources).square(), context)
        optimizer.zero_grad()
        distributed.backward(loss, context)
        optimizer.step()
    before = {f"own.{name}": value.clone() for name, value in network.named_buffers()}
    distributed.take_buffers_of_rank_0(network, context)
    return {**network.state_dict(), **before}


def batch_norm_of_shards(ranks: list[TrainContext]) -> dict[str, Tensor]:
    """The same in one process: the shards one after the other, one set of parameters, statistics for each shard."""
    torch.manual_seed(1)
    network = generator(nn.BatchNorm2d)
    parameters = dict(network.named_parameters())
    statistics = [{name: value.clone() for name, value in network.named_buffers()} for _ in ranks]
    for step in range(STEPS):
        total, count = torch.zeros(()), 0
        for rank, buffers in zip(ranks, statistics, strict=True):
            sources, targets, _ = shard(rank, step)
            call = torch.func.functional_call
            first = call(network, {**parameters, **buffers}, (sources,))
            second = call(network, {**parameters, **buffers}, (targets,))
            errors = (first - targets).square() + (second - sources).square()
            total, count = total + errors.sum(), count + errors.numel()
        gradients = torch.autograd.grad(total / count, list(parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                parameter -= 0.1 * gradient
    own = {f"own.{name}": value for name, value in statistics[ranks[-1].rank].items()}
    return {**{name: value.detach() for name, value in parameters.items()}, **statistics[0], **own}
