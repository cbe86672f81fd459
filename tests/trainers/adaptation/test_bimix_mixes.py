"""The two mixes of Bi-Mix: their pixels, labels and losses, and what the release does otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references import pairs as reference
from tests.references.adaptation import weighted_cross_entropy
from tests.trainers.adaptation.test_bimix import batch, gradients, learner
from trainers.adaptation import bimix
from trainers.adaptation.bimix import BiMixLearner
from trainers.data.pairs import PairBatch


def mixed(one: Any) -> dict[str, Any]:
    """What the losses of a step are made of: labels that each is given, and images that the segmenter sees."""
    found: dict[str, Any] = {"given": [], "seen": [], "segmented": []}
    static, segment = one.static, one.segmenter.segment

    def spy_static(logits: Tensor, labels: Tensor) -> Tensor:
        found["given"].append((logits, labels))
        result: Tensor = static(logits, labels)
        return result

    def spy_segment(images: Tensor, **options: Any) -> Any:
        found["segmented"].append(images)
        return segment(images, **options)

    one.static, one.segmenter.segment = spy_static, spy_segment
    one.training_mode()
    found |= one.step_losses(batch(), 1)
    return found


def full_labels(one: Any) -> Tensor:
    """Fused labels of which many move: the segmenter's bias sees to it."""
    labels: Tensor = one.fused(one.views(batch()))
    return labels


def make_things_move(one: Any) -> None:
    """Every class is predicted somewhere, persons and riders more often than others."""
    one.training_mode()
    head = one.segmenter.network.segmentation_head[0]
    with torch.no_grad():
        logits = one.segmenter.segment(batch().day_images)
        head.bias -= logits.mean(dim=(0, 2, 3))
        head.bias[11:13] += logits.std(dim=(0, 2, 3)).mean()


@pytest.mark.parametrize("as_released", [False, True])
def test_the_released_faults_are_there_as_released_and_absent_otherwise(as_released: bool, tmp_path: Path):
    weights = {"source_to_night": {"weight": 1.0, "share": 0.0}}  # Nothing pasted: the mix's label is the night's.
    one = learner(BiMixLearner, tmp_path, as_released=as_released, relighting={"kind": "curves", "width": 4}, **weights)
    make_things_move(one)
    found = mixed(one)
    one.training_mode()
    fused = full_labels(one)
    assert (fused >= 11).any()
    label = found["tile mixed label"]
    ((logits, static),) = found["given"]
    night = batch().night_images.float()
    raw = [bool(torch.equal(images.float(), night)) for images in found["segmented"]]
    if as_released:
        assert not ((label >= 11) & (label != 255)).any()  # The alias: what moves is gone from the mix,
        assert torch.equal(label, static[0])  # which is labeled by what the static loss has shifted,
        standing = fused[0].where(fused[0] < 11, 255)
        assert label.tolist() == reference.released_shifts(standing.tolist())
        assert any(raw)  # the mix is predicted without relighting,
        assert logits.grad_fn is not None
        with torch.no_grad():
            views = one.views(batch())
        assert not torch.allclose(logits, views["night"].logits[0], atol=1e-5)  # and the static loss looks at it.
    else:
        assert torch.equal(label, fused[0])
        assert torch.equal(static[0], fused[0].where(fused[0] < 11, 255))
        assert not any(raw)
        with torch.no_grad():
            views = one.views(batch())
        torch.testing.assert_close(logits, views["night"].logits[0])


@pytest.mark.parametrize(("as_released", "first"), [(False, 11), (True, 12)])
def test_the_day_s_moving_pixels_lie_on_the_night_and_persons_do_unless_as_released(
    as_released: bool, first: int, tmp_path: Path
):
    one = learner(BiMixLearner, tmp_path, as_released=as_released)
    make_things_move(one)
    one.training_mode()
    views = one.views(batch())
    parts, tiles = one.day_to_night(batch(), views)
    with torch.no_grad():
        classes = one.segmenter.segment(batch().day_images).argmax(dim=1)
    mask = classes >= first
    assert 0 < float(mask.float().mean()) < 1
    assert float(parts["pasted"]) == pytest.approx(float(mask.float().mean()))
    tile, day, night = tiles["tile day on night"], batch().day_images[0].float(), batch().night_images[0].float()
    assert torch.equal(tile[:, mask[0]], day[:, mask[0]])
    assert torch.equal(tile[:, ~mask[0]], night[:, ~mask[0]])


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every mask that something is pasted by."""
    seen: list[Tensor] = []

    def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
        seen.append(mask)
        return torch.where(mask[:, None], source, target)

    monkeypatch.setattr(bimix, "paste", paste)
    return seen


def test_source_on_night_counts_whole_where_it_was_pasted_and_by_the_sure_share_elsewhere(
    tmp_path: Path, masks: list[Tensor]
):
    one, given = learner(BiMixLearner, tmp_path), batch()
    make_things_move(one)
    views = one.views(given)
    night, labels = views["night"].logits[0], one.fused(views)
    confidence = night.detach().softmax(dim=1).amax(dim=1)
    threshold = float(confidence.median())
    mixing = one.config.source_to_night.model_copy(update={"threshold": threshold})
    one.config = one.config.model_copy(update={"source_to_night": mixing})
    logits, parts, tiles = one.source_to_night(given, labels, night, 1)
    (mask,) = masks
    for image in range(2):
        pasted = set(given.labels[image][mask[image]].tolist())
        assert not pasted & set(given.labels[image][~mask[image]].tolist())
        assert len(pasted) == -(-len(given.labels[image].unique()) // 2)
    expected = torch.where(mask, given.labels.long(), labels)
    assert torch.equal(tiles["tile mixed label"], expected[0])
    assert torch.equal(
        tiles["tile source on night"], torch.where(mask[0], given.images[0], given.night_images[0]).float()
    )
    sure = (confidence >= threshold).float()
    assert 0 < float(sure.mean()) < 1
    assert float(parts["confident"]) == pytest.approx(float(sure.mean()))
    weight = torch.where(mask, torch.ones_like(sure), sure.mean())
    arguments = (logits.tolist(), expected.tolist(), weight.tolist())
    assert float(parts["source_to_night"].detach()) == pytest.approx(weighted_cross_entropy(*arguments), rel=1e-4)


def test_the_consistency_is_the_mean_absolute_difference_of_what_is_added(tmp_path: Path, masks: list[Tensor]):
    one = learner(BiMixLearner, tmp_path)
    make_things_move(one)
    one.segmenter.eval()  # So that a second pass gives what the first gave.
    parts, _ = one.day_to_night(batch(), one.views(batch()))
    (mask,) = masks
    mixed = torch.where(mask[:, None], batch().day_images, batch().night_images)
    added = [one.segmenter.relight(images.float()).residual.tolist() for images in (mixed, batch().day_images)]
    differences = np.abs(np.subtract(*added))
    assert float(parts["day_to_night"].detach()) == pytest.approx(differences.mean(), rel=1e-4)
    assert differences.mean() > 0


def test_the_consistency_trains_the_relighting_alone_and_vanishes_where_both_are_one_image(tmp_path: Path):
    one = learner(BiMixLearner, tmp_path)
    one.training_mode()
    parts, _ = one.day_to_night(batch(), one.views(batch()))
    assert gradients(parts["day_to_night"], one.segmenter.relighting)
    assert not gradients(parts["day_to_night"], one.segmenter.network)
    whole = batch()
    same = PairBatch(whole.images, whole.labels, whole.day_images, whole.day_images)
    parts, _ = one.day_to_night(same, one.views(same))
    assert float(parts["day_to_night"].detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("as_released", [False, True])
def test_the_mix_trains_the_relighting_too_unless_as_released(as_released: bool, tmp_path: Path):
    one = learner(BiMixLearner, tmp_path, as_released=as_released)
    one.training_mode()
    views = one.views(batch())
    _, parts, _ = one.source_to_night(batch(), one.fused(views), views["night"].logits[0], 1)
    assert gradients(parts["source_to_night"], one.segmenter.network)
    assert gradients(parts["source_to_night"], one.segmenter.relighting) != as_released
