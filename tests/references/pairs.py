"""Class weights, light losses, labels of pairs and curve maps as loops over numbers, from the papers and releases.

Images are nested lists: channel, row, column.
"""

import math
from collections.abc import Sequence

Map = list[list[float]]
Image = list[Map]
Label = list[list[int]]


def class_weights(frequencies: Sequence[float], strength: float) -> list[float]:
    """(mean - ln f) / sd · strength + 1, sd with n - 1."""
    logarithms = [math.log(f) for f in frequencies]
    mean = sum(logarithms) / len(logarithms)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in logarithms) / (len(logarithms) - 1))
    return [(mean - one) / deviation * strength + 1 for one in logarithms]


def softmax(values: Sequence[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [one / sum(exponentials) for one in exponentials]


def weighted_cross_entropy(logits: Sequence[Image], labels: Sequence[Label], weights: Sequence[float]) -> float:
    """sum w_y (-ln p_y) / sum w_y over valid pixels."""
    above = below = 0.0
    for image, label in zip(logits, labels, strict=True):
        for y, row in enumerate(label):
            for x, train_id in enumerate(row):
                if train_id == 255:
                    continue
                p = softmax([channel[y][x] for channel in image])[train_id]
                above -= weights[train_id] * math.log(p)
                below += weights[train_id]
    return above / below


def total_variation(batch: Sequence[Image]) -> float:
    """2 · (sum down² / ((h - 1) w) + sum across² / (h (w - 1))) / n, sums over images and channels."""
    height, width = len(batch[0][0]), len(batch[0][0][0])
    down = across = 0.0
    for image in batch:
        for channel in image:
            for y in range(height):
                for x in range(width):
                    if y + 1 < height:
                        down += (channel[y + 1][x] - channel[y][x]) ** 2
                    if x + 1 < width:
                        across += (channel[y][x + 1] - channel[y][x]) ** 2
    return 2 * (down / ((height - 1) * width) + across / (height * (width - 1))) / len(batch)


def mirrored(index: int, length: int) -> int:
    """Reflection without repeating the border."""
    index = abs(index)
    return index if index < length else 2 * (length - 1) - index


def ssim_distance(x: Map, y: Map) -> Map:
    """(1 - SSIM) / 2, clamped to [0, 1], of the 3×3 pixels around each pixel of one channel."""
    height, width = len(x), len(x[0])
    result = []
    for row in range(height):
        result.append([])
        for column in range(width):
            places = [(mirrored(row + i, height), mirrored(column + j, width)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            xs, ys = [x[i][j] for i, j in places], [y[i][j] for i, j in places]
            mx, my = sum(xs) / 9, sum(ys) / 9
            vx, vy = sum((a - mx) ** 2 for a in xs) / 9, sum((b - my) ** 2 for b in ys) / 9
            cov = sum((a - mx) * (b - my) for a, b in zip(xs, ys, strict=True)) / 9
            c1, c2 = 0.0001, 0.0009
            ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
            result[-1].append(min(1.0, max(0.0, (1 - ssim) / 2)))
    return result


def exposure(image: Image, brightness: float, patch: int) -> float:
    """Mean over whole patches of (mean of patch over pixels and channels - brightness)²."""
    height, width = len(image[0]), len(image[0][0])
    squares = []
    for top in range(0, height - patch + 1, patch):
        for left in range(0, width - patch + 1, patch):
            values = [
                channel[y][x] for channel in image for y in range(top, top + patch) for x in range(left, left + patch)
            ]
            squares.append((sum(values) / len(values) - brightness) ** 2)
    return sum(squares) / len(squares)


def fused_label(day: Sequence[float], night: Sequence[float], weights: Sequence[float]) -> int:
    """The fused class of one pixel: .8 of the day where its logit is above .4, else .2; things from the night."""
    best, best_value = -1, -math.inf
    for train_id in range(19):
        value = night[train_id]
        if train_id <= 10:
            share = 0.8 if day[train_id] > 0.4 else 0.2
            value = share * day[train_id] + (1 - share) * night[train_id]
        if value * weights[train_id] > best_value:
            best, best_value = train_id, value * weights[train_id]
    return best


def static_loss(
    logits: Sequence[Image], labels: Sequence[Label], weights: Sequence[float], gamma: float, tolerance: int
) -> float:
    """Mean over pixels with a static label of -(1 - q)^gamma ln q, q the best w p of the labels around."""
    total, pixels = 0.0, 0
    for image, label in zip(logits, labels, strict=True):
        for y, row in enumerate(label):
            for x, train_id in enumerate(row):
                if train_id > 10:
                    continue
                p = softmax([channel[y][x] for channel in image[:11]])
                around = {
                    label[i][j]
                    for i in range(max(0, y - tolerance), min(len(label), y + tolerance + 1))
                    for j in range(max(0, x - tolerance), min(len(row), x + tolerance + 1))
                }
                best = max(weights[one] * p[one] for one in around if one <= 10)
                best = min(1 - 1e-7, max(1e-7, best))
                total -= (1 - best) ** gamma * math.log(best)
                pixels += 1
    return total / pixels if pixels else 0.0


def released_shifts(label: Label) -> Label:
    """Eight moves of all labels by one pixel, each on the result of the one before; what nothing moves onto stays."""
    height, width = len(label), len(label[0])
    for down, right in ((-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)):
        moved = [list(row) for row in label]
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - right < width:
                    moved[y][x] = label[y - down][x - right]
        label = moved
    return label


def curved(value: float, curves: Sequence[float]) -> float:
    """The increment of the last of eight curves at one value; the fourth and the last are not clamped."""
    *first, last = curves
    for number, a in enumerate(first):
        value = value + a * (value * value - value)
        if number != 3:
            value = min(2.64, max(-2.1179, value))
    return last * (value * value - value)


def dannet_shifts(label: Label) -> Label:
    """DANNet's eight moves: without a copy before each, so that a move reads what it has written, in memory's order."""
    label = [list(row) for row in label]
    height, width = len(label), len(label[0])
    for down, right in ((-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)):
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - right < width:
                    label[y][x] = label[y - down][x - right]
    return label
