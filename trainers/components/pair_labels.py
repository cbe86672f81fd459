"""Pseudo-labels of a night image from its own prediction and that of the day image of its place.

The two were taken metres apart, on different visits: only what does not move (road … sky, train ids 0 … 10) is
believed of the day image, and a label counts as right wherever one of the 3×3 pixels around has it.

Shape legend: n images of this rank, c classes, h height, w width; s = 11 static classes.

Source: Wu et al., DANNet, sections 3.3 and 3.4; W-zx-Y/DANNet, train.py and network/loss.py; ygjwd12345/BiMix,
    train.py.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from trainers.components.losses import AllReduce
from trainers.data.label_spaces import IGNORE_LABEL

Logits = Float[Tensor, "n c h w"]
Predictions = Int64[Tensor, "n h w"]

NUM_STATIC = 11
"""The first train ids: what stands where it stood by day."""
EPSILON = 1e-7


def fused_labels(
    day: Logits, night: Logits, weights: Float[Tensor, " c"], *, day_weight: float, threshold: float
) -> Predictions:
    """argmax of class weight · fused logits, all 19 classes; carries no gradient.

    The logit of a static class is ``day_weight`` · day + (1 - ``day_weight``) · night where the day's *logit* lies
    above ``threshold``, and the other way round where it does not; that of any other class is the night's.
    """
    day, night = day.detach(), night.detach()
    static = day[:, :NUM_STATIC]
    share = torch.where(static > threshold, day_weight, 1 - day_weight)
    fused = torch.cat([share * static + (1 - share) * night[:, :NUM_STATIC], night[:, NUM_STATIC:]], dim=1)
    return (fused * weights[:, None, None]).argmax(dim=1)


def static_labels(labels: Predictions) -> Predictions:
    """``labels`` with ``IGNORE_LABEL`` in place of everything that may move."""
    return labels.where(labels < NUM_STATIC, IGNORE_LABEL)


def moving_mask(labels: Predictions, *, first: int = NUM_STATIC) -> Bool[Tensor, "n h w"]:
    """Where the class is ``first`` or a later one, and not ignored."""
    return (labels >= first) & (labels != IGNORE_LABEL)


def tolerated_classes(labels: Predictions, *, tolerance: bool) -> Bool[Tensor, "n s h w"]:
    """The static classes that count as right at each pixel: its own and, with ``tolerance``, those around it."""
    ids = torch.arange(NUM_STATIC, device=labels.device)[:, None, None]
    own = (labels[:, None] == ids).float()
    return (functional.max_pool2d(own, 3, stride=1, padding=1) if tolerance else own) > 0


def static_loss(
    logits: Logits,
    labels: Predictions,
    weights: Float[Tensor, " c"],
    *,
    gamma: float,
    tolerance: bool,
    all_reduce: AllReduce = torch.detach,
) -> Float[Tensor, ""]:
    """This rank's share of the mean of -(1 - q)^gamma ln q over the valid pixels of all ranks; 0 where none is.

    q = max of w_c p_c over the classes that count as right, clamped to [1e-7, 1 - 1e-7]; p is the softmax over the
    static classes alone.

    Differs: in the released code the eight shifted copies of the labels are the labels themselves, so only a pixel's
        own label counts; ``tolerance`` false is that, but for what the shifts leave of the labels. Bi-Mix's copies
        before it shifts, which changes the borders alone (``released_shifts``). DANNet's reads what it is writing: of
        random labels most pixels have another one afterwards (2,185 of 3,072 where it was measured; a copy in the order
        of memory spreads the first pixel over the image), and PyTorch now refuses it; nothing here does that. A
        released version has gamma 0; the paper, and Bi-Mix's release, 1.
    """
    probability = logits[:, :NUM_STATIC].softmax(dim=1)
    right = tolerated_classes(labels, tolerance=tolerance)
    best = (weights[:NUM_STATIC, None, None] * probability * right).max(dim=1).values.clamp(EPSILON, 1 - EPSILON)
    valid = labels < NUM_STATIC
    per_pixel = -((1 - best) ** gamma) * best.log() * valid
    return per_pixel.sum() / all_reduce(valid.sum().to(logits.dtype)).clamp_min(1)


def released_shifts(labels: Predictions) -> Predictions:
    """What the release's loss does to the labels that it is given: eight shifts, one after the other, in place.

    Inside the image they undo each other; near its border labels of neighbors remain. The same tensor serves as label
    of the mix afterwards. A fault, reproduced to compare with.

    Source: ygjwd12345/BiMix, network/loss.py.
    """
    labels = labels.clone()
    head, tail, whole = slice(None, -1), slice(1, None), slice(None)
    for rows, columns, from_rows, from_columns in (
        (head, whole, tail, whole),
        (tail, whole, head, whole),
        (whole, tail, whole, head),
        (whole, head, whole, tail),
        (head, tail, tail, head),
        (tail, tail, head, head),
        (tail, head, head, tail),
        (head, head, tail, tail),
    ):
        labels[:, rows, columns] = labels[:, from_rows, from_columns].clone()
    return labels
