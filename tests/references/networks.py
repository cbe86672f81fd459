"""Forward passes written out from a state dict, in the words of the papers' figures, for sizes that 32 divides."""

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def norm(features: Tensor, state: State, name: str) -> Tensor:
    """Batch norm in evaluation mode."""
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scaled = (features - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def block(features: Tensor, state: State, name: str, *, stride: int = 1) -> Tensor:
    """Convolution, batch norm, ReLU."""
    weight = state[f"{name}.0.weight"]
    convolved = functional.conv2d(features, weight, stride=stride, padding=weight.shape[-1] // 2)
    return norm(convolved, state, f"{name}.1").clamp_min(0)


def affine(features: Tensor, state: State, name: str, *, padding: int = 0) -> Tensor:
    """Convolution with bias."""
    return functional.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)


def up(features: Tensor, factor: int) -> Tensor:
    """Bilinear, corners not aligned."""
    return functional.interpolate(features, scale_factor=factor, mode="bilinear")


def mean(features: Tensor) -> Tensor:
    """Over height and width."""
    return features.flatten(2).mean(2)[:, :, None, None]


def bisenet(images: Tensor, at_16: Tensor, at_32: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
    """The report's BiSeNet from the ResNet's last two features: logits, and those of its two auxiliary heads."""

    def refined(features: Tensor, name: str) -> Tensor:
        weights = torch.sigmoid(norm(affine(mean(features), state, f"{name}.convolution"), state, f"{name}.norm"))
        return features * weights

    spatial = images
    for number in range(3):
        spatial = block(spatial, state, f"spatial_path.{number}", stride=2)
    context_16 = up(refined(at_16, "attention_16"), 2)
    context_32 = up(refined(at_32, "attention_32") * mean(at_32), 4)
    fused = block(torch.cat([spatial, context_16, context_32], 1), state, "fusion.fusion")
    squeezed = affine(mean(fused), state, "fusion.squeeze").clamp_min(0)
    fused = fused * torch.sigmoid(affine(squeezed, state, "fusion.excite")) + fused
    logits = affine(up(fused, 8), state, "classifier")
    heads = (up(affine(context_16, state, "auxiliary_16"), 8), up(affine(context_32, state, "auxiliary_32"), 8))
    return logits, *heads


def panoptic_fpn(stages: list[Tensor], state: State) -> Tensor:
    """The semantic branch from the ResNet's features at strides 4, 8, 16 and 32."""
    level = affine(stages[3], state, "laterals.3")
    levels = [level]
    for number in (2, 1, 0):
        level = affine(stages[number], state, f"laterals.{number}") + level.repeat_interleave(2, 2).repeat_interleave(
            2, 3
        )
        levels.insert(0, level)
    total = torch.zeros(())
    for number, level in enumerate(levels):
        features = affine(level, state, f"outputs.{number}", padding=1)
        for step in range(max(1, number)):
            name = f"branches.{number}.{step}"
            features = functional.conv2d(features, state[f"{name}.0.weight"], padding=1)
            grouped = features.unflatten(1, (32, -1))
            deviation, center = torch.std_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
            features = ((grouped - center) / (deviation**2 + 1e-5).sqrt()).flatten(1, 2)
            features = features * state[f"{name}.1.weight"][:, None, None] + state[f"{name}.1.bias"][:, None, None]
            features = features.clamp_min(0)
            features = up(features, 2) if number else features
        total = total + features
    return up(affine(total, state, "classifier"), 4)


def dilated_sum(features: Tensor, weights: list[tuple[Tensor, Tensor, int]]) -> Tensor:
    """Sum of 3×3 convolutions (weight, bias, dilation), each as nine shifted products."""
    height, width = features.shape[-2:]
    total = torch.zeros(())
    for weight, bias, rate in weights:
        padded = functional.pad(features, [rate] * 4)
        for row in range(3):
            for column in range(3):
                shifted = padded[:, :, row * rate : row * rate + height, column * rate : column * rate + width]
                total = total + torch.einsum("oi,nihw->nohw", weight[:, :, row, column], shifted)
        total = total + bias[:, None, None]
    return total


def released_stages(
    features: Tensor, state: State, *, blocks: tuple[int, int, int, int], output_stride: int, caffe: bool
) -> list[Tensor]:
    """The four stages of a ResNet of bottlenecks behind its pooling, as hszhao/semseg and vikolss/DACS change them.

    Their stages 3 and 4 have no stride and dilation 2 and 4 (at stride 8), in each block, the first one too. The stride
    of a stage is in its first block: in the 3×3 convolution, with ``caffe`` in the 1×1 before it.
    """
    stages = []
    for stage, number in enumerate(blocks, start=1):
        unchanged = 2 ** (stage + 1)
        rate = max(1, unchanged // output_stride)
        for index in range(number):
            name = f"layer{stage}.{index}"
            stride = 2 if index == 0 and stage > 1 and rate == 1 else 1
            first, second = (stride, 1) if caffe else (1, stride)
            inner = functional.conv2d(features, state[f"{name}.conv1.weight"], stride=first)
            inner = norm(inner, state, f"{name}.bn1").clamp_min(0)
            weight = state[f"{name}.conv2.weight"]
            inner = functional.conv2d(inner, weight, stride=second, padding=rate, dilation=rate)
            inner = norm(inner, state, f"{name}.bn2").clamp_min(0)
            inner = norm(functional.conv2d(inner, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
            if index == 0:
                features = functional.conv2d(features, state[f"{name}.downsample.0.weight"], stride=stride)
                features = norm(features, state, f"{name}.downsample.1")
            features = (features + inner).clamp_min(0)
        stages.append(features)
    return stages
