"""Losses of translators, each as this rank's share of the mean over all ranks.

Shape legend: n images, d channels, (y, x) cells.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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
