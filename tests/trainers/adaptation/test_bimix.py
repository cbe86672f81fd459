"""DANNet and Bi-Mix on random images: who learns from what, the released faults, what is refused and warned of."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.references import pairs as reference
from tests.trainers.data.miniatures import pairs_of_blocks
from trainers.adaptation import dannet
from trainers.adaptation.bimix import BiMixLearner
from trainers.adaptation.bimix_config import Config as BiMixConfig
from trainers.adaptation.dannet import DANNetLearner
from trainers.components.class_weights import CITYSCAPES_FREQUENCIES
from trainers.components.configs import AugmentationConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, check_split, open_split
from trainers.data.images import PairImages, SplitImages
from trainers.data.pairs import AugmentedPairs, PairBatch, check_pairs
from trainers.errors import UserError
from trainers.registry import method

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


@pytest.fixture
def dark_zurich(tmp_path: Path) -> Path:
    return pairs_of_blocks(tmp_path / "dark_zurich")


def refusal(inputs: dict[str, Path], name: str = "bimix", **fields: Any) -> str:
    kind = method(name)
    with pytest.raises(UserError) as caught:
        kind.load().check(kind.config.model_validate({**COMMON, **fields}), inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_that_cannot_be_are_refused_before_anything_starts(dark_zurich: Path, toy_city: Path, tmp_path: Path):
    inputs = {"dark_zurich": dark_zurich, "toy_city": toy_city}
    kind = method("bimix")
    kind.load().check(kind.config.model_validate(COMMON), inputs)
    assert "dark_zurich/train_night has no pairs of day and night" in refusal(inputs, target="dark_zurich/train_night")
    day = dark_zurich / "rgb_anon/train/day/GOPR0345/GOPR0345_frame_000002_rgb_anon.png"
    small = np.zeros((16, 32, 3), dtype=np.uint8)
    shutil.copy(day, tmp_path / "kept.png")
    Image.fromarray(small).save(day)
    (text,) = {problem for problem in check_split(dark_zurich, open_split(inputs, PAIRS), PAIRS) if problem}
    assert f"is 64×32 but its partner {day} is 32×16; both images of a pair must have one size" in text
    with pytest.raises(UserError, match="both images of a pair must have one size"):
        PairImages(inputs, PAIRS, height=32, width=64)[2]
    day.unlink()
    assert f"{day}, which does not exist" in refusal(inputs)
    shutil.copy(tmp_path / "kept.png", day)
    listing = dark_zurich / "zurich_dn_pair_train.csv"
    night = "train/night/GOPR0351/GOPR0351_frame_000001"
    listing.write_text(listing.read_text() + f"train/night/GOPR0351/GOPR0351_frame_000002,{night}\n")
    text = refusal(inputs)
    assert f"{night}_rgb_anon.png is the night of one pair and the day of another; give it one role" in text


def test_a_miniature_pair_list_has_its_counts(dark_zurich: Path):
    pairs = PairImages({"dark_zurich": dark_zurich}, PAIRS, height=32, width=64)
    assert len(pairs) == len({sample.image for sample in pairs.samples}) == 5
    assert len({sample.partner for sample in pairs.samples}) == 3
    check_pairs({"dark_zurich": dark_zurich}, PAIRS)


def test_night_and_day_of_a_pair_move_alike(dark_zurich: Path):
    """Both images of a pair made of one image stay one through flip, scale and crop."""
    for night in (dark_zurich / "rgb_anon/train/night/GOPR0351").iterdir():
        for day in (dark_zurich / "rgb_anon/train/day/GOPR0345").iterdir():
            shutil.copy(dark_zurich / "rgb_anon/train/day/GOPR0345/GOPR0345_frame_000001_rgb_anon.png", night)
            if day.name.endswith("1_rgb_anon.png"):
                continue
            shutil.copy(dark_zurich / "rgb_anon/train/day/GOPR0345/GOPR0345_frame_000001_rgb_anon.png", day)
    pairs = PairImages({"dark_zurich": dark_zurich}, PAIRS, height=32, width=64)
    augmentation = AugmentationConfig(scale_min=0.8, scale_max=1.3, crop_height=32, crop_width=32)
    samples = AugmentedPairs(pairs, augmentation, batch_size=4, seed=0)
    drawn = [samples[step, slot] for step in (1, 2) for slot in range(4)]
    for night, day in drawn:
        assert night.shape == (3, 32, 32)
        assert torch.equal(night, day)
    assert len({night.numpy().tobytes() for night, _ in drawn}) > 4


def test_what_would_be_ignored_or_cannot_be_is_refused(dark_zurich: Path, toy_city: Path):
    inputs = {"dark_zurich": dark_zurich, "toy_city": toy_city}
    for fields, says in (
        ({"loss": {"alpha": 0.5}}, "cross-entropy with class_weights"),
        ({"feature_distance": {"weight": 0.1}}, "no feature distance"),
        ({"pair_augmentation": {"photometric": {"probability": 0.5}}}, "colors of pairs are left alone"),
    ):
        with pytest.raises(ValueError, match=says):
            BiMixConfig.model_validate({**COMMON, **fields})
    crop = {"pair_augmentation": {"crop_height": 32, "crop_width": 32}}
    assert "pairs are 32×32 after augmentation and source images 32×64" in refusal(inputs, "dannet", **crop)
    own = {"target_height": 64, "target_width": 96, "pair_augmentation": {"crop_height": 32, "crop_width": 64}}
    kind = method("bimix")
    kind.load().check(kind.config.model_validate({**COMMON, **own}), inputs)
    assert "day_to_night trains the relighting, and relighting.kind is none" in refusal(
        inputs, relighting={"kind": "none"}
    )
    assert "hold no patch of light.patch 33 pixels; set it to 16 or less" in refusal(inputs, light={"patch": 33})


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
