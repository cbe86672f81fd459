"""Scores of a segmenter on a split: one int64 confusion matrix, and everything that follows from it.

Shape legend: n images, c classes, h height, w width. A confusion matrix has the truth in its rows.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from trainers.components.losses import AllReduce
from trainers.data.label_spaces import NUM_CLASSES
from trainers.data.loader import Batch


def confusion_matrix(labels: Integer[Tensor, "n h w"], predictions: Int64[Tensor, "n h w"]) -> Int64[Tensor, "c c"]:
    """Pixel counts, truth in rows; ignored pixels are left out. Adds up over batches, ranks and splits."""
    # One extra row takes the ignored pixels: no boolean indexing, so nothing waits for the device.
    rows = labels.long().clamp_max(NUM_CLASSES)
    counts = torch.bincount((rows * NUM_CLASSES + predictions).flatten(), minlength=(NUM_CLASSES + 1) * NUM_CLASSES)
    return counts.view(NUM_CLASSES + 1, NUM_CLASSES)[:NUM_CLASSES]


@dataclass(frozen=True)
class Scores:
    """All in [0, 1]; ``None`` where the split leaves a score undefined."""

    pixel_accuracy: float | None
    class_accuracy: float | None
    miou: float | None
    miou_zeros: float | None
    fwiou: float | None
    iou: tuple[float | None, ...]


def scores(confusion: np.ndarray, class_set: Sequence[int]) -> Scores:
    """Scores over the classes of ``class_set`` (train ids).

    With TP, FP, FN of a class: IoU = TP / (TP + FP + FN); ``miou`` is its mean over the classes where that is
    defined, ``miou_zeros`` over the whole class set with 0 where it is not. Pixel accuracy = trace / total; class
    accuracy = mean recall over classes with pixels; frequency-weighted IoU = sum of frequency · IoU.

    Source: jfzhang95/pytorch-deeplab-xception, utils/metrics.py; mcordts/cityscapesScripts.
    Differs: the thesis's eq. 4.3 for pixel accuracy counts true negatives, (TP + TN) / (TP + TN + FP + FN), which its
        tables cannot have used (19 classes would lift every score above .94); and its text says that
        frequency-weighted IoU weighs dominant classes down, where the formula weighs them up.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    true_positive = matrix.diagonal()
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    union = truth + predicted - true_positive
    total = matrix.sum()
    iou = [float(tp / u) if u > 0 else None for tp, u in zip(true_positive, union, strict=True)]
    recall = [tp / t for tp, t in zip(true_positive, truth, strict=True) if t > 0]
    defined = [iou[train_id] for train_id in class_set if iou[train_id] is not None]
    return Scores(
        pixel_accuracy=float(true_positive.sum() / total) if total else None,
        class_accuracy=float(np.mean(recall)) if recall else None,
        miou=_mean(defined),
        miou_zeros=_mean([iou[train_id] or 0.0 for train_id in class_set]) if total else None,
        fwiou=float(sum(t / total * i for t, i in zip(truth, iou, strict=True) if i is not None)) if total else None,
        iou=tuple(iou),
    )


def miou_batchmean(confusions: Int64[np.ndarray, "n c c"], batch_size: int) -> float:
    """Mean over batches of consecutive images of the mean IoU of each; a class that is absent from a batch counts as 0.

    A defect, not a score: the number changes with the batch size and is mostly too low. Only to compare with tables
    that were made this way.

    Source: ardaerendogru/uda-segmentation, training/train_engine.py.
    """
    means = []
    for start in range(0, len(confusions), batch_size):
        matrix = confusions[start : start + batch_size].sum(axis=0).astype(np.float64)
        true_positive = matrix.diagonal()
        union = matrix.sum(axis=0) + matrix.sum(axis=1) - true_positive
        means.append((true_positive / np.maximum(union, 1)).mean())
    return float(np.mean(means))


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


@dataclass
class Tally:
    """What a pass over a split adds up; sums only, so ranks combine by addition."""

    confusion: Tensor
    probability_sum: Tensor
    """Softmax probability per class, summed over pixels (float64, c)."""
    entropy_sum: Tensor
    """Entropy of the softmax in nats, summed over pixels (float64, scalar)."""
    pixels: Tensor
    images: Tensor

    @classmethod
    def empty(cls, device: torch.device) -> "Tally":
        """All zeros."""
        integer = {"dtype": torch.int64, "device": device}
        real = {"dtype": torch.float64, "device": device}
        return cls(
            torch.zeros(NUM_CLASSES, NUM_CLASSES, **integer),  # type: ignore[call-overload]
            torch.zeros(NUM_CLASSES, **real),  # type: ignore[call-overload]
            torch.zeros((), **real),  # type: ignore[call-overload]
            torch.zeros((), **integer),  # type: ignore[call-overload]
            torch.zeros((), **integer),  # type: ignore[call-overload]
        )

    def add(self, logits: Float[Tensor, "n c h w"], labels: Integer[Tensor, "n h w"]) -> None:
        """Count one batch."""
        self.add_predictions(labels, logits.argmax(dim=1))
        self.add_probabilities(logits)

    def add_predictions(self, labels: Integer[Tensor, "n h w"], predictions: Int64[Tensor, "n h w"]) -> None:
        """Count what became of the labeled pixels."""
        self.confusion += confusion_matrix(labels, predictions)

    def add_probabilities(self, logits: Float[Tensor, "n c h w"]) -> None:
        """Count the images, and what ``infomax`` is made of."""
        log_probability = logits.float().log_softmax(dim=1)
        probability = log_probability.exp()
        self.probability_sum += probability.sum(dim=(0, 2, 3)).double()
        self.entropy_sum -= (probability * log_probability).sum().double()
        self.pixels += logits[:, 0].numel()
        self.images += len(logits)

    def reduced(self, all_reduce: AllReduce) -> "Tally":
        """The sum over ranks."""
        return Tally(*(all_reduce(part) for part in vars(self).values()))

    def infomax(self) -> float:
        """(H(mean p) - mean H(p)) / ln C in [0, 1]: confident on each pixel, diverse over all; needs no labels."""
        mean = self.probability_sum / self.pixels
        entropy_of_mean = -(mean * mean.clamp_min(1e-300).log()).sum()
        value = (entropy_of_mean - self.entropy_sum / self.pixels) / math.log(NUM_CLASSES)
        return min(1.0, max(0.0, float(value)))  # Rounding can leave the interval by 1e-16.


@torch.inference_mode()
def tally_split(
    network: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    *,
    device: torch.device,
    all_reduce: AllReduce,
    watch: Callable[[Tensor, Tensor], None] | None = None,
    own_labels: Iterator[Tensor] | None = None,
) -> Tally:
    """Run ``network`` over this rank's ``batches`` and add up over all ranks.

    Args:
        network: images to logits.
        batches: with labels at the input's size.
        device: of the network.
        all_reduce: sum over ranks.
        watch: sees the labels and the predicted classes (n, h, w) of every image of this rank, in order.
        own_labels: the label of each of these images at its own size (h, w); with them each image's logits are resized
            to that, one image at a time, and compared there.
    """
    tally = Tally.empty(device)
    for batch in batches:
        logits = network(batch.images)
        tally.add_probabilities(logits)
        for labels, predictions in _compared(batch, logits, own_labels):
            tally.add_predictions(labels, predictions)
            if watch is not None:
                watch(labels, predictions)
    return tally.reduced(all_reduce)


def _compared(
    batch: Batch, logits: Float[Tensor, "n c h w"], own_labels: Iterator[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels and predictions of one size: the whole batch at the input's, or image by image at each label's."""
    if own_labels is None:
        yield batch.labels, logits.argmax(dim=1)
        return
    for own_logits in logits:  # Of 1024×2048 pixels the logits of a single image take 160 MB.
        label = next(own_labels).to(logits.device)
        yield label[None], predicted_at(own_logits, tuple(label.shape))[None]


def predicted_at(logits: Float[Tensor, "c h w"], size: tuple[int, ...]) -> Int64[Tensor, "h2 w2"]:
    """The best class of each pixel at ``size`` (height, width): of logits that were resized bilinearly."""
    if tuple(logits.shape[1:]) != size:
        logits = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    return logits.argmax(dim=0)
