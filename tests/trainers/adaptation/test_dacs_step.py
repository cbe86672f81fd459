"""One whole step of DACS against the same step written out: who predicts what, what weighs what, who moves when."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.references import adaptation as reference
from trainers.adaptation.dacs import DACSLearner
from trainers.adaptation.dacs_config import Config
from trainers.context import PlainContext
from trainers.data.domains import DomainBatch
from trainers.data.images import SplitImages
from trainers.errors import MethodWarning, UserError

RATE, UNLABELED, LEARNING_RATE, STEP = 0.4, 0.3, 0.01, 2

pytestmark = pytest.mark.usefixtures("deterministic")


def configuration(**changes: Any) -> Config:
    return Config.model_validate(
        {
            "train": ["toy_city/day_train"],
            "select": "toy_city/day_val",
            "target": "toy_city/night_val",
            "height": 32,
            "width": 64,
            "batch_size": 2,
            "precision": "float32",
            "network": {"dropout": 0.0},
            "loss": {"alpha": 1.0},
            "optimizer": {"name": "sgd", "learning_rate": LEARNING_RATE, "momentum": 0.0, "weight_decay": 0.0,
                          "schedule": "constant"},
            "unlabeled_weight": UNLABELED,
            "threshold": 0.0,
            "mix": {"jitter_probability": 0.0, "blur_probability": 0.0},
            "loop": {"steps": 10},
            **changes,
        }
    )  # fmt: skip


def build(config: Config, toy_city: Path, folder: Path) -> DACSLearner:
    torch.manual_seed(0)
    select = SplitImages({"toy_city": toy_city}, config.select, height=32, width=64)
    return DACSLearner(config, select=select, context=PlainContext(folder), pretrained=False)


def batch_of() -> DomainBatch:
    """Source values are even and the target's odd, so that a mix tells where each of its pixels comes from."""
    random = torch.Generator().manual_seed(1)
    images, targets = (torch.randint(0, 128, (2, 3, 32, 64), generator=random) * 2 for _ in range(2))
    labels = torch.randint(0, 5, (2, 4, 8), generator=random).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :6] = 255  # Part of the source has no label.
    none = torch.full((2, 32, 64), 255)
    return DomainBatch(images.byte(), labels.byte(), (targets + 1).byte(), none.byte())


def in_batch_mode(network: nn.Module) -> nn.Module:
    """A copy that normalizes by what it is shown, without dropout."""
    found = copy.deepcopy(network).eval()
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return found


def nested(tensor: Tensor) -> Any:
    return tensor.tolist()


def cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, pixels: int) -> Tensor:
    """Sum of weight · -log p over labeled pixels, by the number of ``pixels``; with a gradient."""
    known = labels < 255
    log_probability = logits.log_softmax(dim=1).gather(1, labels.clamp_max(18).long()[:, None])[:, 0]
    return -(weight * log_probability * known).sum() / pixels


@pytest.mark.parametrize("teacher", ["ema", "student"])
@pytest.mark.parametrize("kind", ["batch", "image", "none"])
def test_a_step_is_the_paper_s(teacher: str, kind: str, toy_city: Path, tmp_path: Path):
    batch = batch_of()
    draft = build(configuration(), toy_city, tmp_path)
    confidence = in_batch_mode(draft.segmenter)(batch.target_images).softmax(dim=1).max(dim=1).values
    # Between pixels, so that a part of them is sure, and none near enough to change sides by rounding.
    ordered = confidence.flatten().sort().values
    threshold = float((ordered[1499] + ordered[1500]) / 2)
    config = configuration(teacher={"kind": teacher, "rate": RATE}, weight=kind, threshold=threshold)
    learner = build(config, toy_city, tmp_path)
    if teacher == "ema":  # Another network than the student, as after many steps.
        torch.manual_seed(1)
        for parameter in learner.teacher.parameters():
            parameter.mul_(1 + 1e-3 * torch.randn(()))
    student, slow = copy.deepcopy(learner.segmenter), copy.deepcopy(learner.teacher)

    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    consistency = learner._consistency
    learner._consistency = lambda *given: (seen.append(given), consistency(*given))[1]  # type: ignore[method-assign]
    shown: list[set[str]] = []
    learner.show = lambda step, tiles: shown.append(set(tiles))  # type: ignore[method-assign]
    found = learner.train_step(batch, STEP)
    assert shown == [{"source", "target", "mixed", "mixed label", "pseudo-label", "confidence"}]
    ((mixed, mixed_labels, mixed_weight),) = seen

    # The teacher sees the clean target, normalizes by it, and its best class is the label.
    probability = in_batch_mode(slow)(batch.target_images).softmax(dim=1)
    sure, labels = probability.max(dim=1)
    weights = torch.tensor(reference.weights(nested(sure), threshold, kind), dtype=torch.float32)
    assert 0.05 < float((sure >= threshold).float().mean()) < 0.95
    # Where the mix is even it is the source's: whole classes, half of those that there are, rounded up.
    pasted = mixed[:, 0] % 2 == 0
    torch.testing.assert_close(mixed, batch.images.float().where(pasted[:, None], batch.target_images.float()))
    for image in range(2):
        there = reference.classes_of(nested(batch.labels[image]))
        chosen = set(batch.labels[image][pasted[image]].tolist())
        assert chosen < set(there)
        assert len(chosen) == (len(there) + 1) // 2
        assert all((batch.labels[image] != one).logical_or(pasted[image]).all() for one in chosen)
    assert torch.equal(mixed_labels.long(), batch.labels.long().where(pasted, labels))
    torch.testing.assert_close(mixed_weight, torch.ones(()).where(pasted, weights))

    # The student, before the step, by batch statistics of each pass.
    moving = copy.deepcopy(student).train()
    source = moving(batch.images)
    supervised = cross_entropy(source, batch.labels, torch.ones(()), int((batch.labels < 255).sum()))
    unlabeled = cross_entropy(moving(mixed), mixed_labels, mixed_weight, mixed_labels.numel())
    loss = supervised + UNLABELED * unlabeled
    for name, value in {"loss": loss, "cross_entropy": supervised, "unlabeled": unlabeled}.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5), name
    assert float(found["confident"]) == pytest.approx(float((sure >= threshold).float().mean()))
    gradients = torch.autograd.grad(loss, list(moving.parameters()))
    after = [one.detach() - LEARNING_RATE * slope for one, slope in zip(moving.parameters(), gradients, strict=True)]
    torch.testing.assert_close(list(learner.segmenter.parameters()), after, rtol=1e-4, atol=1e-6)

    # The teacher follows once the student has moved: alpha = min(1 - 1 / 2, 1 - .4).
    kept = [one.detach() for one in slow.parameters()]
    expected = [0.5 * old + 0.5 * new for old, new in zip(kept, after, strict=True)] if teacher == "ema" else after
    torch.testing.assert_close(list(learner.teacher.parameters()), expected, rtol=1e-4, atol=1e-6)


def test_scores_warn_of_a_threshold_that_nothing_reaches(toy_city: Path, tmp_path: Path):
    learner = build(configuration(threshold=1.0), toy_city, tmp_path)
    learner.train_step(batch_of(), 1)
    with pytest.warns(MethodWarning, match=r"0\.0 % of the target's pixels reach threshold 1"):
        learner.score()
    learner.train_step(batch_of(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.score()


def test_a_checkpoint_s_teacher_of_another_network_is_refused(toy_city: Path, tmp_path: Path):
    learner = build(configuration(), toy_city, tmp_path)
    state = learner.state_dict()
    other = {name: value[:1] if value.ndim else value for name, value in state["teacher"].items()}
    with pytest.raises(UserError, match="the checkpoint's teacher does not fit this network"):
        learner.load_state_dict({**state, "teacher": other})
