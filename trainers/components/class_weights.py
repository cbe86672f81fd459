"""Weights of classes by how rare they are: in the loss of a training, and on the logits of a test.

Shape legend: n images of this rank, c classes, h height, w width. Labels are train ids; 255 is ignored.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from trainers.components.losses import AllReduce
from trainers.data.label_spaces import CLASS_NAMES, IGNORE_LABEL
from trainers.errors import UserError

CITYSCAPES_FREQUENCIES = (
    0.36869696, 0.06084986, 0.22824049, 0.00655399, 0.00877272, 0.01227341, 0.00207795, 0.0055127, 0.15928651,
    0.01157818, 0.04018982, 0.01218957, 0.00135122, 0.06994545, 0.00267456, 0.00235192, 0.00232904, 0.00098658,
    0.00413907,
)  # fmt: skip
"""Share of each class among the labeled pixels of Cityscapes. Source: W-zx-Y/DANNet, train.py."""


def class_weights(frequencies: Sequence[float], strength: float) -> Float[Tensor, " c"]:
    """1 + strength · (mean(l) - l_c) / sd(l) with l_c = ln frequency: rare classes above 1, frequent ones below.

    Mean and standard deviation (n - 1) are those of the classes that occur; a class that does not has weight 1.

    Raises:
        UserError: fewer than two classes occur, or a weight would not be positive.

    Source: Wu et al., DANNet; W-zx-Y/DANNet, train.py (strength .05 in training, .16 in its test).
    Differs: there every class occurs.
    """
    shares = np.array(frequencies)
    present = shares > 0
    if present.sum() < 2:
        raise UserError(f"class weights need two classes or more that occur in the labels, found {present.sum()}")
    logarithms = np.log(np.where(present, shares, 1.0))
    mean, deviation = logarithms[present].mean(), logarithms[present].std(ddof=1)
    weights = np.where(present, 1 + strength * (mean - logarithms) / deviation, 1.0)
    if weights.min() <= 0:
        most = deviation / (logarithms[present].max() - mean)
        raise UserError(
            f"strength {strength:g} gives {CLASS_NAMES[weights.argmin()]} a class weight of {weights.min():.2f}; "
            f"it must stay below {most:.2f}, where the most frequent class loses all weight"
        )
    return torch.tensor(weights, dtype=torch.float32)


def class_weighted_cross_entropy(
    logits: Float[Tensor, "n c h w"],
    labels: Integer[Tensor, "n h w"],
    weights: Float[Tensor, " c"],
    *,
    all_reduce: AllReduce = torch.detach,
) -> Float[Tensor, ""]:
    """This rank's share of sum(w_y · CE) / sum(w_y) over the valid pixels of all ranks; 0 where none is valid."""
    labels = labels.long()
    valid = labels != IGNORE_LABEL
    per_pixel = functional.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE_LABEL, reduction="none")
    weight = (weights[labels.where(valid, 0)] * valid).sum()
    return per_pixel.sum() / all_reduce(weight).clamp_min(1e-12)
