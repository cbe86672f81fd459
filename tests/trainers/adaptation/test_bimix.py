"""DANNet and Bi-Mix on random images: who learns from what, and what is warned of."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.references import pairs as reference
from trainers.adaptation import dannet
from trainers.adaptation.bimix import BiMixLearner
from trainers.adaptation.bimix_config import Config as BiMixConfig
from trainers.adaptation.dannet import DANNetLearner
from trainers.components.class_weights import CITYSCAPES_FREQUENCIES
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.pairs import PairBatch

PAIRS = DataSplit(dataset="dark_zurich", split="pairs")
COMMON: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/day_val",
    "target": "dark_zurich/pairs",
    "height": 32,
    "width": 64,
    "batch_size": 2,
    "relighting": {"width": 4},
    "light": {"patch": 8},
    "adversarial": {"width": 4},
    "network": {"dropout": 0.0},
    "precision": "float32",
}


def batch(seed: int = 0) -> PairBatch:
    rng = np.random.default_rng(seed)
    images = [torch.tensor(rng.integers(0, 256, (2, 3, 32, 64)), dtype=torch.uint8) for _ in range(3)]
    labels = torch.tensor(rng.integers(0, 19, (2, 4, 8)).repeat(8, axis=1).repeat(8, axis=2), dtype=torch.uint8)
    return PairBatch(images[0], labels, images[1], images[2])


def learner(kind: type[DANNetLearner], tmp_path: Path, **fields: Any) -> Any:
    torch.manual_seed(0)
    config = BiMixConfig.model_validate({**COMMON, **fields})
    select = SplitImages.__new__(SplitImages)
    context = PlainContext(tmp_path)
    return kind(config, frequencies=CITYSCAPES_FREQUENCIES, select=select, context=context, pretrained=False)


def moved(network: nn.Module, act: Callable[[], object]) -> bool:
    """Whether ``act`` changes a parameter."""
    before = [parameter.detach().clone() for parameter in network.parameters()]
    act()
    return any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def gradients(loss: Tensor, network: nn.Module) -> bool:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return any(one is not None and bool(one.any()) for one in found)


def test_adversarial_parts_train_only_the_networks_that_they_should(tmp_path: Path):
    """The segmenter's step moves no discriminator, a discriminator's step only itself."""
    one = learner(DANNetLearner, tmp_path, optimizer={"name": "sgd", "learning_rate": 0.1})
    one.training_mode()
    views = one.views(batch())
    parts = one.common_losses(batch(), views)
    for judge in one.judges.values():
        assert gradients(parts["adversarial"], judge)  # Which is why a step closes them:
    assert gradients(parts["adversarial"], one.segmenter.relighting)
    seen = {}
    one._judge = lambda name: seen.setdefault(name, torch.zeros(()))
    for judge in one.judges.values():
        assert not moved(judge, lambda: one.train_step(batch(), 1))
        assert all(parameter.grad is None for parameter in judge.parameters())
        assert all(parameter.requires_grad for parameter in judge.parameters())
    del one._judge
    for name, other in (("day", "night"), ("night", "day")):
        assert moved(one.judges[name], lambda name=name: one._judge(name))
        assert not moved(one.judges[other], lambda name=name: one._judge(name))
        assert not moved(one.segmenter, lambda name=name: one._judge(name))
    assert set(seen) == {"day", "night"}


def test_a_discriminator_s_loss_is_that_of_least_squares_with_source_zero_and_target_one(tmp_path: Path):
    one = learner(DANNetLearner, tmp_path)
    one.views(batch())
    with torch.no_grad():
        source, target = (one.judges["day"](one._probabilities[name]) for name in ("source", "day"))
    expected = float(((source**2).mean() + ((target - 1) ** 2).mean()) / 2)
    assert float(one._judge("day")) == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        closer = float(((one.judges["day"](one._probabilities["day"]) - 1) ** 2).mean())
    assert closer < float(((target - 1) ** 2).mean())


def test_the_light_losses_are_the_references_with_their_weights(tmp_path: Path):
    one = learner(DANNetLearner, tmp_path)
    view = one.look(batch().day_images)
    brightness = torch.tensor(0.2)
    normalized, residual = view.relit.normalized.double(), view.relit.residual.detach().double()
    lit = normalized + residual
    similarity = [
        reference.ssim_distance(lit[n, c].tolist(), normalized[n, c].tolist()) for n in range(2) for c in range(3)
    ]
    expected = (
        10 * reference.total_variation(residual.tolist())
        + float(np.mean(similarity))
        + float(np.mean([reference.exposure(image.tolist(), 0.2, 8) for image in lit]))
    )
    assert float(one.light(view, brightness).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_the_sum_of_its_parts_with_the_published_weights(tmp_path: Path):
    one = learner(BiMixLearner, tmp_path)
    one.training_mode()
    losses = one.train_step(batch(), 1)
    weights = {"cross_entropy": 1, "light": 1, "light_target": 0.01, "adversarial": 0.01, "static": 1,
               "source_to_night": 0.001, "day_to_night": 0.001}  # fmt: skip
    expected = sum(weight * float(losses[name]) for name, weight in weights.items())
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-5)


def test_without_both_directions_a_step_is_dannet_s(tmp_path: Path):
    off = {"source_to_night": {"weight": 0.0}, "day_to_night": {"consistency_weight": 0.0}}
    losses = [learner(kind, tmp_path, **off).train_step(batch(), 1) for kind in (DANNetLearner, BiMixLearner)]
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_auxiliary_heads_learn_from_the_source(tmp_path: Path):
    network = {"architecture": "bisenet", "encoder": "resnet18"}
    losses = learner(DANNetLearner, tmp_path, network=network).train_step(batch(), 1)
    expected = losses["cross_entropy"] + losses["auxiliary"] + losses["light"] + losses["static"]
    expected = expected + 0.01 * (losses["light_target"] + losses["adversarial"])
    assert float(losses["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_bfloat16_changes_the_precision_of_networks_and_of_no_loss(tmp_path: Path):
    exact, rounded = (
        learner(BiMixLearner, tmp_path, precision=precision).train_step(batch(), 1)
        for precision in ("float32", "bfloat16")
    )
    assert all(value.dtype == torch.float32 and value.isfinite() for value in rounded.values())
    for name in ("cross_entropy", "light", "discriminator_day"):
        assert float(rounded[name]) == pytest.approx(float(exact[name]), rel=0.05)
        assert float(rounded[name]) != float(exact[name])


def told(one: DANNetLearner, *values: float) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one._warn(*values)
        one._warn(*values)
    return [str(warning.message) for warning in caught]


def test_a_relighting_that_saturates_and_a_discriminator_that_wins_are_told_once(tmp_path: Path):
    assert not told(learner(DANNetLearner, tmp_path), 0.5, 0.2, 0.2)
    (text,) = told(learner(DANNetLearner, tmp_path), 0.99, 0.2, 0.2)
    assert "99 % of what relighting (resnet) gives lies at the end of its range" in text
    (text,) = told(learner(DANNetLearner, tmp_path), 0.0, 0.2, 0.004)
    assert "the discriminator of night tells every prediction from the source's (loss 0.0040" in text


def test_curves_that_are_all_at_their_end_are_told_by_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No clamp tells of them: in [0, 1] they leave nothing to clamp."""
    monkeypatch.setattr(dannet.AdaptationLearner, "score", lambda self: {})
    one = learner(DANNetLearner, tmp_path, relighting={"kind": "curves", "width": 4})
    with torch.no_grad():
        one.segmenter.relighting.last.bias.fill_(-20.0)
    one.train_step(batch(), 1)
    with pytest.warns(UserWarning, match=r"100 % of what relighting \(curves\) gives lies at the end of its range"):
        one.score()


def test_what_is_watched_is_the_mean_of_the_steps_since_the_last_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = learner(DANNetLearner, tmp_path)
    seen: list[tuple[float, ...]] = []
    monkeypatch.setattr(one, "_warn", lambda *values: seen.append(values))
    monkeypatch.setattr(dannet.AdaptationLearner, "score", lambda self: {})
    for saturated, judged in ((0.2, 0.1), (0.4, 0.3)):
        found = {"saturated": torch.tensor(saturated), "loss": torch.zeros(())}
        one._watch(found, {"day": torch.tensor(judged), "night": torch.tensor(2 * judged)})
    one.score()
    one.score()
    assert seen == [pytest.approx((0.3, 0.2, 0.4))]


def test_defaults_are_the_published_ones():
    config = BiMixConfig.model_validate({"train": COMMON["train"], "select": COMMON["select"], "height": 32,
                                         "width": 64, "target": COMMON["target"]})  # fmt: skip
    assert (config.relighting.kind, config.relighting.channels(), config.class_weights.strength) == ("resnet", 64, 0.05)
    assert (config.light.total_variation, config.light.similarity, config.light.exposure) == (10, 1, 1)
    assert (config.light.patch, config.light.source_weight, config.light.target_weight) == (32, 1, 0.01)
    assert (config.adversarial.weight, config.adversarial.learning_rate, config.adversarial.width) == (0.01, 1e-4, 64)
    assert (config.static.day_weight, config.static.logit_threshold, config.static.gamma) == (0.8, 0.4, 1)
    assert (config.source_to_night.weight, config.source_to_night.threshold) == (0.001, 0.968)
    assert (config.day_to_night.consistency_weight, config.day_to_night.light_weight) == (0.001, 0)
