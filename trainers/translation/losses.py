"""Losses of translators, each as this rank's share of the mean over all ranks.

Shape legend: n images, d channels, (y, x) cells; c classes, h height, w width. Labels are train ids; 255 is ignored.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from trainers import distributed
from trainers.components.losses import true_log_probability
from trainers.context import TrainContext
from trainers.data.label_spaces import COLORS, IGNORE_LABEL, NUM_CLASSES

Share = Callable[[Tensor], Tensor]
"""Values → this rank's share of their mean over all ranks (``distributed.mean_share``)."""

Maps = Sequence[Float[Tensor, "n 1 _ _"]]
"""A discriminator's patches, scale by scale."""


def least_squares(patches: Tensor, is_real: bool) -> Tensor:
    """(D - 1)² where real, D² where not. Source: Mao et al., LSGAN, without its factor of a half."""
    return (patches - 1).square() if is_real else patches.square()


def logarithmic(patches: Tensor, is_real: bool) -> Tensor:
    """-log D where real, -log(1 - D) where not, D the sigmoid of the patches."""
    return F.softplus(-patches if is_real else patches)


GAN_LOSSES: dict[str, Callable[[Tensor, bool], Tensor]] = {"lsgan": least_squares, "log": logarithmic}
"""Each: patches, whether they are to be judged real → the loss of every patch."""


def adversarial(maps: Maps, *, is_real: bool, gan_loss: str, share: Share) -> Float[Tensor, ""]:
    """Sum over scales of the mean loss of patches that are (to pass for) real, or not.

    A generator takes it with ``is_real`` on its translations: it maximizes log D instead of minimizing log(1 - D),
    which has no gradient where D is sure (Goodfellow et al., section 3); the release does so too.
    """
    return torch.stack([share(GAN_LOSSES[gan_loss](one.float(), is_real)) for one in maps]).sum()


def kl_to_standard_normal(codes: Float[Tensor, "n d y x"], share: Share) -> Float[Tensor, ""]:
    """Mean of μ²: twice the divergence of N(μ, 1) from N(0, 1). Source: the release; the paper has μ² / 2."""
    return share(codes.float().square())


def absolute(first: Tensor, second: Tensor, share: Share) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return share((first.float() - second.float()).abs())


def squared(first: Tensor, second: Tensor, share: Share) -> Float[Tensor, ""]:
    """Mean squared difference."""
    return share((first.float() - second.float()).square())


def feature_matching(made: Sequence[Tensor], real: Sequence[Tensor], *, scales: int, share: Share) -> Float[Tensor, ""]:
    """Mean absolute difference of a discriminator's features of a generated and the real image, times 4 / ``scales``.

    That is its mean over scales, and over the layers of each times four. Features of all scales and layers in a row.
    Source: NVIDIA/pix2pixHD, pix2pixHD_model.py: the factor is 1 for each of the published four layers.
    """
    layers = len(made) / scales
    terms = [absolute(one, other, share) for one, other in zip(made, real, strict=True)]
    return torch.stack(terms).sum() * (4 / layers / scales)


def instance_normalized_distance(
    first: Float[Tensor, "n d y x"], second: Float[Tensor, "n d y x"], share: Share
) -> Float[Tensor, ""]:
    """Mean squared difference of feature maps whose channels have mean 0 and deviation 1 in each image.

    The mean and deviation of a channel are what a domain's light changes most; what is left is where things are.
    Source: mingyuliutw/UNIT, trainer.py, compute_vgg_loss.
    """
    return share((F.instance_norm(first.float()) - F.instance_norm(second.float())).square())


Logits = Float[Tensor, "n c h w"]
Labels = Integer[Tensor, "n h w"]


def cross_entropy(logits: Logits, labels: Labels, context: TrainContext) -> Float[Tensor, ""]:
    """Mean of -log p_t over the pixels that are not ignored."""
    valid = (labels != IGNORE_LABEL).float()
    return distributed.mean_share(-true_log_probability(logits, labels.long()), context, weights=valid)


def color_distance(logits: Logits, labels: Labels, context: TrainContext) -> Float[Tensor, ""]:
    """Mean squared difference of expected and true color, in [-1, 1], over the pixels that are not ignored.

    Source: DFS, whose segmenter itself puts out colors. A class is as wrong as its color is far, and the mean of two
    colors may be a third class's.
    Differs: colors are expected ones under the softmax, for the segmenter here has classes; ignored pixels are left
        out, where the source learns to paint them black.
    """
    colors = logits.new_tensor(COLORS) / 127.5 - 1
    valid = labels != IGNORE_LABEL
    expected = torch.einsum("nchw,cd->nhwd", logits.softmax(dim=1), colors)
    difference = (expected - colors[labels.long().where(valid, 0)]).square().mean(dim=3)
    return distributed.mean_share(difference, context, weights=valid.float())


def soft_iou(logits: Logits, labels: Labels, context: TrainContext) -> Float[Tensor, ""]:
    """1 - the mean over the classes present in the batch of Σ p·y / Σ (p + y - p·y), pixels of all ranks together.

    Source: Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks, eq. 3 to 5, class by class.
    """
    classes = torch.arange(NUM_CLASSES, device=labels.device).view(-1, 1, 1)
    truth = (labels[:, None] == classes).float()
    probability = logits.softmax(dim=1) * (labels != IGNORE_LABEL)[:, None]
    both, either = (_over_ranks(values.sum(dim=(0, 2, 3)), context)
                    for values in (probability * truth, probability + truth - probability * truth))  # fmt: skip
    present = (context.all_reduce(truth.sum(dim=(0, 2, 3))) > 0).float()
    iou = both / either.clamp_min(torch.finfo(either.dtype).tiny)
    loss = 1 - (iou * present).sum() / present.sum().clamp_min(1)
    loss = loss * (present.sum() > 0)  # Nothing but ignored pixels: nothing to learn.
    # Every rank has the whole value and the gradient of its own pixels; its share of the value is an equal part.
    return loss - loss.detach() * (1 - 1 / context.world_size)


def _over_ranks(sums: Tensor, context: TrainContext) -> Tensor:
    """The sum over ranks, with this rank's gradient."""
    return sums + (context.all_reduce(sums.detach()) - sums.detach())


SEGMENTATION_LOSSES: dict[str, Callable[[Logits, Labels, TrainContext], Tensor]] = {
    "l2_color": color_distance,
    "ce": cross_entropy,
    "soft_iou": soft_iou,
}
"""Each: logits of a frozen segmenter in float32, train ids, context → this rank's share."""
