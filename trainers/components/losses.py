"""Segmentation losses: per pixel, over the pixels that are not ignored, right under any number of ranks.

Shape legend: n images of this rank, c classes, h height, w width. Labels are train ids; 255 is ignored.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from trainers.components.configs import LossConfig
from trainers.data.label_spaces import IGNORE_LABEL

AllReduce = Callable[[Tensor], Tensor]
"""Sum over ranks, without gradient."""


def true_log_probability(logits: Float[Tensor, "n c h w"], labels: Integer[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """log p_t, the log softmax probability of the true class; 0 where the label is ignored."""
    return -functional.cross_entropy(logits, labels, ignore_index=IGNORE_LABEL, reduction="none")


def focal_modulation(log_probability: Float[Tensor, "n h w"], gamma: float) -> Float[Tensor, "n h w"]:
    """(1 - p_t)^gamma.

    1 - p_t is floored at 1e-7: below, the derivative of a power under 1 is infinite at p_t = 1 and its product
    with log p_t = 0 is NaN.
    """
    return (-torch.expm1(log_probability)).clamp_min(1e-7) ** gamma


def combined_loss(
    logits: Float[Tensor, "n c h w"],
    labels: Integer[Tensor, "n h w"],
    config: LossConfig,
    *,
    all_reduce: AllReduce = torch.detach,
) -> dict[str, Float[Tensor, ""]]:
    """``loss`` = alpha · ``cross_entropy`` + (1 - alpha) · ``focal``.

    Each is this rank's sum over its pixels divided by the number of valid pixels of *all* ranks, so the sum over
    ranks is the loss of the whole batch (an all-ignored batch gives 0, not NaN). The focal weights multiply each
    pixel's focal loss and do not enter the divisor.

    Source: cross-entropy and focal loss per pixel, Lin et al. (p_t is the softmax probability of the true class);
        the combination, night thesis eq. 3.12.
    Differs: segmentation-models-pytorch's ``FocalLoss`` is a one-vs-rest sigmoid loss averaged over classes. The
        code base behind the thesis reduces cross-entropy to its batch mean first and modulates that one number:
        ``focal_form: batch_mean_legacy``.
    """
    labels = labels.long()
    valid = labels != IGNORE_LABEL
    pixels = all_reduce(valid.sum().to(logits.dtype)).clamp_min(1)
    log_probability = true_log_probability(logits, labels)
    total = -log_probability.sum()
    cross_entropy = total / pixels
    if config.focal_form == "batch_mean_legacy":
        cross_entropy, focal = _batch_mean_legacy(total, pixels, len(labels), config.gamma, all_reduce)
        loss = config.alpha * cross_entropy + (1 - config.alpha) * focal
        return {"loss": loss, "cross_entropy": cross_entropy.detach(), "focal": focal.detach()}

    with torch.set_grad_enabled(config.alpha < 1 and torch.is_grad_enabled()):  # At 1 the focal term is only logged.
        modulation = focal_modulation(log_probability, config.gamma) * valid
        per_pixel = -modulation * log_probability
        if config.focal_class_weights is not None:
            weights = logits.new_tensor(config.focal_class_weights)
            per_pixel = per_pixel * weights[labels.where(valid, 0)]
        divisor = all_reduce(modulation.detach().sum()).clamp_min(1e-12) if config.normalise_focal else pixels
        focal = per_pixel.sum() / divisor
    loss = config.alpha * cross_entropy + (1 - config.alpha) * focal
    return {"loss": loss, "cross_entropy": cross_entropy.detach(), "focal": focal.detach()}


def _batch_mean_legacy(
    total: Float[Tensor, ""], pixels: Float[Tensor, ""], images: int, gamma: float, all_reduce: AllReduce
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L / N and .5 (1 - e^-L)^gamma L / N, L the mean cross-entropy and N the images of the batch of all ranks.

    There is no focus on hard pixels: a batch of L = .3 counts a thirtieth. ``total`` is this rank's sum over its
    ``images``, ``pixels`` the valid ones of all ranks. The results are shares: in value by the part of L, in gradient
    by the derivative at L.

    Source: jfzhang95/pytorch-deeplab-xception, utils/loss.py.
    """
    share = total / pixels
    mean = (all_reduce(total.detach()) / pixels).clamp_min(1e-12)
    count = all_reduce(torch.full_like(share.detach(), images)).clamp_min(1)
    wrong = -torch.expm1(-mean)  # 1 - p, p = e^-L.
    value = 0.5 * wrong**gamma
    slope = value + 0.5 * gamma * wrong ** (gamma - 1) * torch.exp(-mean) * mean
    focal = value * share.detach() + slope * (share - share.detach())
    return share / count, focal / count
