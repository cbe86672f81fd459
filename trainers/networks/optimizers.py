"""Optimizers by name, with a learning rate of its own for the head, and a decay that can spare norms and biases."""

import torch
from torch import nn

from trainers.components.configs import OptimizerConfig
from trainers.components.schedules import learning_rate_factor
from trainers.networks.segmentation import Segmenter


def build_optimizer(segmenter: Segmenter, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Two parameter groups, encoder and head; each remembers its base rate for ``set_learning_rate``.

    Where norms and biases are not decayed, each of the two is followed by a group of these.
    """
    spared = set() if config.decay_norms_and_biases else undecayed(segmenter)
    factors = (
        (segmenter.encoder_parameters(), 1.0),
        (segmenter.head_parameters(), config.head_learning_rate_factor),
    )
    groups = []
    for parameters, factor in factors:
        rate = config.learning_rate * factor
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        own = {"lr": rate, "base_learning_rate": rate}
        groups.append({"params": [one for one in trainable if id(one) not in spared], **own})
        if spared:
            groups.append({"params": [one for one in trainable if id(one) in spared], **own, "weight_decay": 0.0})
    # Fused: one pass over each tensor; of a small network's step on a CPU the default form takes a quarter.
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, betas=(config.momentum, 0.999), weight_decay=config.weight_decay, fused=True)


def undecayed(network: nn.Module) -> set[int]:
    """The ``id`` of each parameter of one dimension, and of those that a module of timm's wants spared by name."""
    spared = {id(parameter) for parameter in network.parameters() if parameter.ndim <= 1}
    for module in network.modules():
        if hasattr(module, "no_weight_decay"):
            names = module.no_weight_decay()  # type: ignore[operator]
            spared |= {id(parameter) for name, parameter in module.named_parameters() if name in names}
    return spared


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int, *, steps: int) -> None:
    """Set every group's rate for ``step`` (1 … steps)."""
    factor = learning_rate_factor(
        config.schedule, step, steps=steps, power=config.power, warmup_steps=config.warmup_steps
    )
    for group in optimizer.param_groups:
        group["lr"] = group["base_learning_rate"] * factor
