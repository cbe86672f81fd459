"""Pseudo-labels: a network's own predictions on images without labels, and how far to believe them.

Shape legend: n images of this rank, c classes, h height, w width, b bins.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from trainers.components.losses import AllReduce
from trainers.data.label_spaces import IGNORE_LABEL, NUM_CLASSES

Confidence = Float[Tensor, "n h w"]
Predictions = Int64[Tensor, "n h w"]


def predict(logits: Float[Tensor, "n c h w"]) -> tuple[Predictions, Confidence]:
    """The most probable class of each pixel and its softmax probability."""
    confidence, labels = logits.softmax(dim=1).max(dim=1)
    return labels, confidence


def batch_weight(confidence: Confidence, threshold: float, all_reduce: AllReduce) -> Confidence:
    """q, the share of pixels at or above ``threshold`` in the batch of all ranks, on every pixel. Source: DACS."""
    counts = torch.stack([(confidence >= threshold).sum(), torch.full_like(confidence, 1).sum().long()])
    confident, pixels = all_reduce(counts).to(confidence.dtype)
    return (confident / pixels).expand_as(confidence)


def image_weight(confidence: Confidence, threshold: float, all_reduce: AllReduce) -> Confidence:
    """The same share, of each image alone: a hard image is not lent the confidence of an easy one."""
    share = (confidence >= threshold).to(confidence.dtype).mean(dim=(1, 2), keepdim=True)
    return share.expand_as(confidence)


def pixel_weight(confidence: Confidence, threshold: float, all_reduce: AllReduce) -> Confidence:
    """1 at or above ``threshold``, else 0."""
    return (confidence >= threshold).to(confidence.dtype)


def no_weight(confidence: Confidence, threshold: float, all_reduce: AllReduce) -> Confidence:
    """1 everywhere."""
    return torch.ones_like(confidence)


WEIGHTS: dict[str, Callable[[Confidence, float, AllReduce], Confidence]] = {
    "batch": batch_weight,
    "image": image_weight,
    "pixel": pixel_weight,
    "none": no_weight,
}
"""Every weight of pseudo-labeled pixels that a config may name."""


def weighted_cross_entropy(
    logits: Float[Tensor, "n c h w"], labels: Predictions, weight: Confidence, *, all_reduce: AllReduce = torch.detach
) -> Float[Tensor, ""]:
    """This rank's share of the mean of weight · CE over *all* pixels of all ranks; ignored ones add 0 but count.

    Source: vikolss/DACS, utils/loss.py.
    """
    per_pixel = functional.cross_entropy(logits, labels, ignore_index=IGNORE_LABEL, reduction="none")
    pixels = all_reduce(torch.full((), float(labels.numel()), dtype=logits.dtype, device=logits.device))
    return (weight * per_pixel).sum() / pixels


def count_confidences(labels: Predictions, confidence: Confidence, bins: int) -> Int64[Tensor, "c b"]:
    """Pixels by predicted class and by ``bins`` equal bins of confidence in [0, 1]; adds up over batches and ranks."""
    cells = labels * bins + _bin(confidence, bins)
    return torch.bincount(cells.flatten(), minlength=NUM_CLASSES * bins).view(NUM_CLASSES, bins)


def class_thresholds(counts: Int64[Tensor, "c b"], *, quantile: float, cap: float) -> Int64[Tensor, " c"]:
    """The lowest bin of each class that is kept: that of ``quantile``, but none above ``cap``.

    With n pixels of a class in ascending order v is the one at index round(quantile · n), at most n - 1, and the
    threshold min(v, cap): the top third of each class at .66, or everything at or above .9 if that is more. A class
    without pixels has bin 0.

    Source: Yang and Soatto, FDA; YanchaoYang/FDA, getSudoLabel_multi.py (.66, .9); liyunsheng13/BDL, SSL.py (.5, .9).
    Differs: the released code sorts every pixel's confidence in memory; bins of .001 move a threshold by less than one
        bin. It lets the index reach n.
    """
    bins = counts.shape[1]
    total = counts.sum(dim=1)
    index = torch.round(quantile * total.double()).long().minimum(total - 1)
    lowest = (counts.cumsum(dim=1) <= index[:, None]).sum(dim=1)
    lowest = lowest.where(total > 0, 0)
    return lowest.clamp_max(round(cap * bins))


def keep_confident(
    labels: Predictions, confidence: Confidence, thresholds: Int64[Tensor, " c"], bins: int
) -> Predictions:
    """``labels`` with ``IGNORE_LABEL`` where the confidence lies below the threshold of the predicted class."""
    kept: Bool[Tensor, "n h w"] = _bin(confidence, bins) >= thresholds[labels]
    return labels.where(kept, IGNORE_LABEL)


def _bin(confidence: Confidence, bins: int) -> Predictions:
    """Bin 0 … bins - 1; in float64 with a little added, so that .57 lies in bin 570 of 1000 and not in 569."""
    return (confidence.double() * bins + 1e-4).long().clamp(0, bins - 1)
