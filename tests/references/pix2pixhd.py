"""pix2pixHD written once more from its paper's list of layers: functions over parameters in their order, and loops."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.references.translation import absolute, discriminator_loss, generator_loss


def size_of(kernel: int, inputs: int, outputs: int) -> int:
    """Weights and biases of a convolution."""
    return kernel * kernel * inputs * outputs + outputs


def global_size(inputs: int) -> int:
    """c7s1-64, d128, d256, d512, d1024, R1024 × 9, u512, u256, u128, u64: everything but the last c7s1-3."""
    down = sum(size_of(3, 64 * 2**i, 128 * 2**i) for i in range(4))
    up = sum(size_of(3, 128 * 2**i, 64 * 2**i) for i in range(4))
    return size_of(7, inputs, 64) + down + 9 * 2 * size_of(3, 1024, 1024) + up


def enhancer_size(inputs: int) -> int:
    """c7s1-32, d64, R64 × 3, u32, c7s1-3."""
    blocks = 3 * 2 * size_of(3, 64, 64)
    return size_of(7, inputs, 32) + size_of(3, 32, 64) + blocks + size_of(3, 64, 32) + size_of(7, 32, 3)


def discriminator_size(inputs: int) -> int:
    """C64, C128, C256, C512, and the convolution to one channel: of one scale."""
    ends = [(inputs, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    return sum(size_of(4, one, other) for one, other in ends)


def normed(features: Tensor) -> Tensor:
    """Each channel of each image less its mean, over its deviation."""
    center = features.mean(dim=(2, 3), keepdim=True)
    variance = (features - center).square().mean(dim=(2, 3), keepdim=True)
    return (features - center) / (variance + 1e-5).sqrt()


def mirrored(features: Tensor, parameters: Iterator[Tensor], border: int) -> Tensor:
    weight, bias = next(parameters), next(parameters)
    return F.conv2d(F.pad(features, (border,) * 4, mode="reflect"), weight, bias)


def blocks(features: Tensor, parameters: Iterator[Tensor], count: int) -> Tensor:
    for _ in range(count):
        inner = normed(mirrored(features, parameters, 1)).relu()
        features = features + normed(mirrored(inner, parameters, 1))
    return features


def down(features: Tensor, parameters: Iterator[Tensor], count: int) -> Tensor:
    """c7s1 and ``count`` × d."""
    features = normed(mirrored(features, parameters, 3)).relu()
    for _ in range(count):
        padded = F.pad(features, (1, 1, 1, 1))
        features = normed(F.conv2d(padded, next(parameters), next(parameters), stride=2)).relu()
    return features


def up(features: Tensor, parameters: Iterator[Tensor], count: int) -> Tensor:
    """``count`` × u: zeros between the pixels, then a convolution with the mirrored kernel."""
    for _ in range(count):
        weight, bias = next(parameters), next(parameters)
        spread = features.new_zeros(*features.shape[:2], 2 * features.shape[2], 2 * features.shape[3])
        spread[..., ::2, ::2] = features
        kernel = weight.flip(2, 3).transpose(0, 1)
        features = normed(F.conv2d(F.pad(spread, (1, 1, 1, 1)), kernel, bias)).relu()
    return features


def halved(images: Tensor) -> Tensor:
    """The mean over 3×3 around every second pixel; beyond the border nothing counts."""
    ones = torch.ones_like(images[:1, :1])
    kernel = torch.ones(1, 1, 3, 3)
    counts = F.conv2d(F.pad(ones, (1, 1, 1, 1)), kernel, stride=2)
    sums = F.conv2d(F.pad(images, (1, 1, 1, 1)), kernel.expand(images.shape[1], 1, 3, 3), stride=2,
                    groups=images.shape[1])  # fmt: skip
    return sums / counts


def generate(network: nn.Module, encoded: Tensor, *, downsamplings: int, count: int, enhancer_blocks: int) -> Tensor:
    """The image; ``enhancer_blocks`` 0: the global generator alone."""
    named = dict(network.named_parameters())

    def of(prefix: str) -> Iterator[Tensor]:
        return iter([one for name, one in named.items() if name.startswith(prefix)])

    base = of("base.")
    seen = halved(encoded) if enhancer_blocks else encoded
    features = up(blocks(down(seen, base, downsamplings), base, count), base, downsamplings)
    if enhancer_blocks:
        features, rest = features + down(encoded, of("enhancer.down."), 1), of("enhancer.up.")
        features = up(blocks(features, rest, enhancer_blocks), rest, 1)
    return mirrored(features, of("head."), 3).tanh()


def judge(network: nn.Module, encoded: Tensor, images: Tensor, *, scales: int, layers: int) -> list[list[Tensor]]:
    """Features of every layer, scale by scale."""
    parameters = iter(network.parameters())
    seen, judged = torch.cat([encoded, images], dim=1), []
    for scale in range(scales):
        seen = halved(seen) if scale else seen
        features, maps = seen, []
        for layer in range(layers + 2):
            padded = F.pad(features, (2, 2, 2, 2))
            features = F.conv2d(padded, next(parameters), next(parameters), stride=2 if layer < layers else 1)
            features = normed(features) if 0 < layer <= layers else features
            features = F.leaky_relu(features, 0.2) if layer <= layers else features
            maps.append(features)
        judged.append(maps)
    return judged


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> float:
    """Sum over scales and layers of 1 / scales · 4 / layers · mean |difference|; the patches are no layer."""
    total = 0.0
    for made, true in zip(fake, real, strict=True):
        for one, other in list(zip(made, true, strict=True))[:-1]:
            total += 4 / (len(made) - 1) / len(fake) * absolute(one.tolist(), other.tolist())
    return total


def objective(
    fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]], perceptual: float, weights: Mapping[str, float]
) -> dict[str, float]:
    """Both losses of a step, from what the discriminators make of the generated and of the real images."""
    patches, true = ([maps[-1].tolist() for maps in judged] for judged in (fake, real))
    terms = {
        "adversarial": generator_loss(patches, "lsgan"),
        "feature_matching": feature_matching(fake, real),
        "perceptual": perceptual,
        "discriminator": 0.5 * discriminator_loss(true, patches, "lsgan"),
    }
    weighed = weights["feature_matching"] * terms["feature_matching"] + weights["perceptual"] * perceptual
    return {**terms, "loss": terms["adversarial"] + weighed}


def boundaries(instances: Sequence[Sequence[int]]) -> list[list[bool]]:
    """Pixel by pixel: whether one of the four neighbors is of another instance."""
    height, width = len(instances), len(instances[0])

    def differs(y: int, x: int) -> bool:
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [(b, a) for b, a in near if 0 <= b < height and 0 <= a < width]
        return any(instances[b][a] != instances[y][x] for b, a in inside)

    return [[differs(y, x) for x in range(width)] for y in range(height)]
