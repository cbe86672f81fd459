import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score
from torch import Tensor

from tests.references import evaluation as reference
from trainers.data.label_spaces import CLASS_SETS, NUM_CLASSES
from trainers.data.loader import Batch
from trainers.evaluation import Scores, Tally, confusion_matrix, miou_batchmean, scores, tally_split

ALL = CLASS_SETS["cityscapes19"]


def random_maps(seed: int, *, classes: tuple[int, ...] = ALL, images: int = 3) -> tuple[Tensor, Tensor]:
    """Truth, a seventh of it ignored, and predictions that are right in half of the pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, size=(images, 6, 7))
    predicted = np.where(rng.random(truth.shape) < 0.5, truth, rng.choice(classes, size=truth.shape))
    truth = np.where(rng.random(truth.shape) < 1 / 7, 255, truth)
    return torch.from_numpy(truth).to(torch.uint8), torch.from_numpy(predicted)


def score(truth: Tensor, predicted: Tensor, class_set: tuple[int, ...] = ALL) -> Scores:
    return scores(confusion_matrix(truth, predicted).numpy(), class_set)


def test_confusion_matrix_equals_a_loop_and_scikit_learn():
    truth, predicted = random_maps(0)
    slow = np.zeros((19, 19), dtype=np.int64)
    for t, p in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if t != 255:
            slow[t, p] += 1
    fast = confusion_matrix(truth, predicted)
    assert fast.dtype == torch.int64
    assert np.array_equal(fast, slow)
    valid = truth != 255
    assert np.array_equal(fast, sklearn_confusion(truth[valid], predicted[valid], labels=range(19)))
    assert fast[:5, 5:].sum() != fast[5:, :5].sum()  # Else the transpose would pass too.


def test_shards_add_up_to_the_whole():
    truth, predicted = random_maps(1, images=5)
    parts = [confusion_matrix(truth[rank::2], predicted[rank::2]) for rank in range(2)]
    assert torch.equal(parts[0] + parts[1], confusion_matrix(truth, predicted))


def test_every_ignored_value_is_left_out():
    truth = torch.tensor([[[0, 19, 200, 255]]], dtype=torch.uint8)
    assert confusion_matrix(truth, torch.zeros(1, 1, 4, dtype=torch.int64)).sum() == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shown", "class_set"), [(ALL, ALL), ((0, 1, 2, 13), ALL), (CLASS_SETS["camvid11"], CLASS_SETS["camvid11"]),
                             ((0, 1, 2, 9, 13), CLASS_SETS["camvid11"])],
)  # fmt: skip
def test_scores_equal_sets_of_pixels(seed: int, shown: tuple[int, ...], class_set: tuple[int, ...]):
    truth, predicted = random_maps(seed, classes=shown)
    sets = reference.class_sets(truth.flatten().tolist(), predicted.flatten().tolist(), NUM_CLASSES)
    fast = score(truth, predicted, class_set)
    assert fast.pixel_accuracy == pytest.approx(reference.pixel_accuracy(sets), rel=1e-12)
    assert fast.class_accuracy == pytest.approx(reference.class_accuracy(sets), rel=1e-12)
    assert fast.miou == pytest.approx(reference.miou(sets, class_set), rel=1e-12)
    assert fast.miou_zeros == pytest.approx(reference.miou_zeros(sets, class_set), rel=1e-12)
    assert fast.fwiou == pytest.approx(reference.frequency_weighted_iou(sets), rel=1e-12)
    assert fast.iou == tuple(one.iou for one in sets)


def test_iou_equals_scikit_learn():
    truth, predicted = random_maps(2)
    valid = truth != 255
    labels = sorted(set(truth[valid].tolist()) | set(predicted[valid].tolist()))
    expected = jaccard_score(truth[valid], predicted[valid], labels=labels, average=None)
    assert [score(truth, predicted).iou[label] for label in labels] == pytest.approx(expected.tolist(), rel=1e-12)


def test_an_absent_class_has_no_iou_rather_than_zero():
    truth, predicted = random_maps(3, classes=(0, 1))
    result = score(truth, predicted)
    assert result.iou[2:] == (None,) * 17
    assert result.miou == pytest.approx((result.iou[0] + result.iou[1]) / 2)
    assert result.miou_zeros == pytest.approx((result.iou[0] + result.iou[1]) / 19)


def test_a_class_that_is_only_predicted_counts_as_zero():
    truth = torch.zeros(1, 1, 4, dtype=torch.uint8)
    result = score(truth, torch.tensor([[[0, 0, 0, 5]]]))
    assert result.iou[5] == 0.0
    assert result.miou == pytest.approx(0.75 / 2)
    assert result.class_accuracy == pytest.approx(0.75)


def test_classes_outside_the_set_do_not_enter_its_mean():
    truth = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8)
    result = score(truth, torch.tensor([[[0, 9, 1, 1]]]), CLASS_SETS["camvid11"])
    assert 9 not in CLASS_SETS["camvid11"]
    assert result.miou == pytest.approx((0.5 + 1) / 2)
    assert result.miou_zeros == pytest.approx((0.5 + 1) / 11)


def test_a_split_without_valid_pixels_has_no_scores():
    result = score(torch.full((1, 2, 2), 255, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.int64))
    assert result == Scores(None, None, None, None, None, (None,) * 19)


def infomax(logits: Tensor) -> float:
    tally = Tally.empty(torch.device("cpu"))
    tally.add(logits, torch.zeros(len(logits), *logits.shape[2:], dtype=torch.uint8))
    return tally.infomax()


def test_infomax_of_uniform_predictions_is_zero():
    assert infomax(torch.zeros(2, 19, 3, 4)) == pytest.approx(0, abs=1e-6)


def test_infomax_of_sure_and_balanced_predictions_is_one():
    logits = torch.full((1, 19, 1, 19), -1e4)
    logits[0, range(19), 0, range(19)] = 1e4
    assert infomax(logits) == pytest.approx(1, abs=1e-6)


def test_infomax_of_sure_predictions_of_one_class_is_zero():
    logits = torch.zeros(1, 19, 2, 2)
    logits[:, 3] = 1e4
    assert infomax(logits) == 0


def test_infomax_equals_the_reference():
    logits = 2 * torch.randn(2, 19, 3, 4, generator=torch.Generator().manual_seed(0))
    probabilities = logits.double().softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, 19).tolist()
    assert infomax(logits) == pytest.approx(reference.infomax(probabilities), rel=1e-5)


def test_a_tally_does_not_depend_on_how_the_split_is_cut():
    logits = torch.randn(5, 19, 4, 4, generator=torch.Generator().manual_seed(1))
    truth, _ = random_maps(4, images=5)
    images, labels = torch.zeros(5, 3, 4, 4, dtype=torch.uint8), truth[:, :4, :4]
    images[:, 0, 0, 0] = torch.arange(5)

    def run(shares: list[list[int]]) -> Tally:
        batches = [Batch(images[share], labels[share]) for share in shares]
        return tally_split(
            lambda batch: logits[batch[:, 0, 0, 0].long()], batches, device=torch.device("cpu"), all_reduce=torch.detach
        )

    whole, parts = run([[0, 1, 2, 3, 4]]), [run([[0, 2], [4]]), run([[1, 3]])]
    assert whole.images == 5
    assert whole.pixels == 80
    for name, value in vars(whole).items():
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), value)
    others = {id(part): part for part in parts}
    shared = iter(vars(others.pop(id(parts[1]))).values())
    reduced = parts[0].reduced(lambda part: part + next(shared))
    assert torch.equal(reduced.confusion, whole.confusion)
    assert reduced.infomax() == pytest.approx(whole.infomax(), abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_the_batchwise_mean_is_that_of_the_slow_loop(batch_size: int):
    """Sum of the classes' IoU in each batch, absent ones 0, over 19 times the batches."""
    truth, predicted = random_maps(3, classes=(0, 2, 7, 13), images=5)
    total, batches = 0.0, 0
    for start in range(0, 5, batch_size):
        part = slice(start, start + batch_size)
        pairs = [(t, p) for t, p in zip(truth[part].flatten().tolist(), predicted[part].flatten().tolist(), strict=True)
                 if t != 255]  # fmt: skip
        sets = reference.class_sets([t for t, _ in pairs], [p for _, p in pairs], 19)
        total += sum(one.iou or 0.0 for one in sets)
        batches += 1
    confusions = torch.stack([confusion_matrix(truth[[i]], predicted[[i]]) for i in range(5)]).numpy()
    assert miou_batchmean(confusions, batch_size) == pytest.approx(total / (19 * batches))


def test_the_batchwise_mean_over_one_batch_is_the_score_with_zeros_and_else_another():
    truth, predicted = random_maps(3, classes=(0, 2, 7, 13), images=5)
    truth[:3], predicted[:3] = 0, 0
    confusions = torch.stack([confusion_matrix(truth[[i]], predicted[[i]]) for i in range(5)]).numpy()
    assert miou_batchmean(confusions, 5) == pytest.approx(score(truth, predicted).miou_zeros)
    assert miou_batchmean(confusions, 1) < 0.8 * miou_batchmean(confusions, 5)


def test_each_image_has_its_confusion_matrix_in_order():
    truth, predicted = random_maps(4, images=5)
    logits = torch.nn.functional.one_hot(predicted.long(), 19).movedim(-1, 1).float()
    given = iter([logits[:2], logits[2:4], logits[4:]])
    batches = [Batch(torch.zeros(len(part), 3, 6, 7, dtype=torch.uint8), part) for part in truth.split(2)]
    each: list[Tensor] = []

    def watch(labels: Tensor, found: Tensor) -> None:
        each.extend(confusion_matrix(labels[[i]], found[[i]]) for i in range(len(found)))

    cpu = torch.device("cpu")
    tally = tally_split(lambda _: next(given), batches, device=cpu, all_reduce=lambda x: x, watch=watch)
    assert [one.tolist() for one in each] == [confusion_matrix(truth[[i]], predicted[[i]]).tolist() for i in range(5)]
    assert torch.equal(torch.stack(each).sum(dim=0), tally.confusion)
