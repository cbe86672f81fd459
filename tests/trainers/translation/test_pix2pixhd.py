"""pix2pixHD against its paper: sizes, layers, losses, which gradients reach what, its two stages, what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.references import pix2pixhd as reference
from tests.references import translation as losses
from tests.trainers.translation.untrained import SMALL, global_generator
from trainers.context import PlainContext
from trainers.data.label_maps import LabelMapBatch
from trainers.errors import MethodWarning, UserError
from trainers.networks.features import build_features
from trainers.networks.features_config import FeatureConfig
from trainers.translation.configs import DiscriminatorConfig
from trainers.translation.pix2pixhd import GLOBAL, Pix2PixHDLearner, _build_learner, check, check_sources, run
from trainers.translation.pix2pixhd_config import Config, LabelGeneratorConfig
from trainers.translation.pix2pixhd_networks import ConditionalDiscriminator, Pix2PixHD, encode
from trainers.translation.training import signed
from trainers.translation.unit_config import Config as UNITConfig

SIZE = {"height": 32, "width": 64}
TINY: dict[str, Any] = {
    "train": "toy_city/day_train",
    **SIZE,
    "batch_size": 2,
    "generator": SMALL,
    "discriminator": {"width": 4, "layers": 2, "scales": 2},
    "weights": {"perceptual": 0.0},
    "loop": {"steps": 4, "score_every_steps": 2},
    "precision": "float32",
}
LOCAL = {**SMALL, "enhancer": "local", "enhancer_blocks": 1}


def config(**fields: Any) -> Config:
    return Config.model_validate({**TINY, **fields})


def learner(tmp_path: Path, frozen: nn.Module | None = None, **fields: Any) -> Pix2PixHDLearner:
    torch.manual_seed(0)
    colors = torch.zeros(35, 3, dtype=torch.uint8)
    return Pix2PixHDLearner(config(**fields), context=PlainContext(tmp_path), colors=colors, features=frozen)


def batch(count: int = 2) -> LabelMapBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 64), dtype=torch.uint8, generator=generator)
    ids = torch.randint(0, 35, (count, 1, 32, 64), dtype=torch.uint8, generator=generator)
    edges = torch.randint(0, 2, (count, 1, 32, 64), dtype=torch.uint8, generator=generator)
    return LabelMapBatch(images, torch.cat([ids, edges], dim=1))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def lively(network: nn.Module) -> nn.Module:
    """Biases that are not 0, and weights large enough to tell a layer from its neighbor."""
    torch.manual_seed(3)
    with torch.no_grad():
        for one in network.parameters():
            one.copy_(torch.randn_like(one) * 0.2)
    return network


def test_sizes_are_those_of_the_release():
    """182 546 755 parameters of the global generator, 2 801 601 of the discriminator at each scale."""
    channels = 35 + 1
    with torch.device("meta"):
        first, second = Pix2PixHD(LabelGeneratorConfig()), Pix2PixHD(LabelGeneratorConfig(enhancer="local"))
        judges = [ConditionalDiscriminator(DiscriminatorConfig(layers=3, scales=n), channels + 3) for n in (1, 2, 3)]
    last = reference.size_of(7, 64, 3)
    assert count(first) == reference.global_size(channels) + last == 182_546_755
    assert count(second) == reference.global_size(channels) + reference.enhancer_size(channels) == 182_857_059
    assert [count(one) for one in judges] == [n * reference.discriminator_size(channels + 3) for n in (1, 2, 3)]
    assert count(judges[1]) == 2 * 2_801_601
    assert (LabelGeneratorConfig().channels(), LabelGeneratorConfig(edges=False).channels()) == (36, 35)


def test_the_defaults_are_those_sizes():
    made = Config.model_validate({"train": TINY["train"], **SIZE})
    with torch.device("meta"):
        assert count(Pix2PixHD(made.generator)) == 182_546_755
        assert count(ConditionalDiscriminator(made.discriminator, made.generator.channels() + 3)) == 2 * 2_801_601
    assert (made.weights.feature_matching, made.weights.perceptual, made.batch_size) == (10, 10, 1)
    optimizer = made.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.beta1, optimizer.weight_decay) == ("adam", 2e-4, 0.5, 0)
    assert optimizer.schedule == "linear_decay"
    assert [str(one) for one in made.features] == [f"vgg19@relu{block}_1" for block in (1, 2, 3, 4, 5)]
    assert made.feature_weights == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    assert made.loop.steps == 200 * 2975


@pytest.mark.parametrize("fields", [SMALL, LOCAL, {**LOCAL, "downsamplings": 1, "blocks": 2, "enhancer_blocks": 3}])
def test_generators_compute_what_the_paper_s_layers_do(fields: dict[str, Any]):
    made = LabelGeneratorConfig.model_validate(fields)
    network, encoded = lively(Pix2PixHD(made)), torch.rand(2, 36, 32, 48)
    blocks = made.enhancer_blocks if made.enhancer == "local" else 0
    expected = reference.generate(network, encoded, downsamplings=made.downsamplings, count=made.blocks,
                                  enhancer_blocks=blocks)  # fmt: skip
    found = network(encoded)
    assert found.shape == (2, 3, 32, 48)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_discriminators_compute_what_the_paper_s_layers_do():
    network = lively(ConditionalDiscriminator(DiscriminatorConfig(width=4, layers=3, scales=3), 39))
    encoded, images = torch.rand(2, 36, 32, 64), torch.rand(2, 3, 32, 64)
    found, expected = network(encoded, images), reference.judge(network, encoded, images, scales=3, layers=3)
    assert [[one.shape[1] for one in maps] for maps in found] == [[4, 8, 16, 32, 1]] * 3
    assert found[0][-1].shape == (2, 1, 7, 11)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_plane_for_each_label_id_and_one_for_boundaries():
    planes = torch.tensor([[[[0, 34], [7, 7]], [[1, 0], [0, 1]]]], dtype=torch.uint8)
    encoded = encode(planes, 35)
    assert encoded.shape == (1, 36, 2, 2)
    assert encoded.sum(dim=1)[0].tolist() == [[2, 1], [1, 2]]
    assert (encoded[0, 0, 0, 0], encoded[0, 34, 0, 1], encoded[0, 7, 1].tolist()) == (1, 1, [1, 1])
    assert encoded[0, 35].tolist() == [[1, 0], [0, 1]]
    assert encode(planes[:, :1], 35).shape == (1, 35, 2, 2)


class Layers(nn.Module):
    """Features without weights, in the place of a trained network's."""

    def maps(self, images: Tensor, layers: list[str]) -> list[Tensor]:
        return [images[..., int(name) :] - images[..., : -int(name)] for name in layers]


PERCEPTUAL = {
    "weights": {"feature_matching": 7.0, "perceptual": 0.03},
    "features": ["segmenter@1", "segmenter@3"],
    "feature_weights": [0.5, 2.0],
}


def test_a_step_minimizes_the_paper_s_objective(tmp_path: Path):
    """Both losses again from the networks as they were before it, by the slow functions."""
    made, given = learner(tmp_path, Layers(), **PERCEPTUAL), batch()
    before = learner(tmp_path, Layers(), **PERCEPTUAL)
    for one, other in ((made.generator, before.generator), (made.discriminator, before.discriminator)):
        other.load_state_dict(lively(one).state_dict())
    found = made.train_step(given, 1)
    assert not torch.equal(made.generator.head[0].weight, before.generator.head[0].weight)
    with torch.no_grad():
        encoded, real = encode(given.label_maps, 35), signed(given.images)
        fake = before.generator(encoded)
        slow = [reference.judge(before.discriminator, encoded, one, scales=2, layers=2) for one in (fake, real)]
        shown = [(one + 1) * 127.5 for one in (fake, real)]
        perceptual = sum(
            weight * losses.absolute(*(Layers().maps(one, [layer])[0].tolist() for one in shown))
            for weight, layer in ((0.5, "1"), (2.0, "3"))
        )
        expected = reference.objective(*slow, perceptual, PERCEPTUAL["weights"])
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-4), name
    right = [
        [(maps[-1] > 0.5) == is_real for maps in judged] for judged, is_real in zip(slow, (False, True), strict=True)
    ]
    share = sum(float(one.float().mean()) for judged in right for one in judged) / 4
    assert float(found["discriminator_accuracy"]) == pytest.approx(share)


def test_gradients_reach_exactly_the_networks_that_they_should(tmp_path: Path):
    """The generator moves first, by its own loss alone; then the discriminators, and nothing comes back to it."""
    made = learner(tmp_path)
    seen: list[tuple[str, list[Tensor | None], list[Tensor | None]]] = []

    def watch(name: str, optimizer: torch.optim.Optimizer) -> None:
        step = optimizer.step

        def stepped() -> None:
            seen.append((name, gradients(made.generator), gradients(made.discriminator)))
            step()

        optimizer.step = stepped  # type: ignore[method-assign, assignment]

    watch("generator", made.optimizer)
    watch("discriminator", made.judge_optimizer)
    made.train_step(batch(), 1)
    (first, of_generator, none), (second, same, of_judges) = seen
    assert (first, second) == ("generator", "discriminator")
    assert all(one is not None and one.any() for one in of_generator)
    assert all(one is None for one in none)
    assert all(one is not None and one.any() for one in of_judges)
    for one, other in zip(of_generator, same, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [None if one.grad is None else one.grad.clone() for one in network.parameters()]


def test_the_discriminators_gradient_is_that_of_their_own_loss_at_a_fixed_image(tmp_path: Path):
    made, given = learner(tmp_path), batch()
    encoded, real = encode(given.label_maps, 35), signed(given.images)
    fake = made.generator(encoded).detach()
    judged = [reference.judge(made.discriminator, encoded, one, scales=2, layers=2) for one in (real, fake)]
    loss = sum(0.5 * ((maps[-1] - 1).square().mean() + other[-1].square().mean())
               for maps, other in zip(*judged, strict=True))  # fmt: skip
    expected = torch.autograd.grad(loss, list(made.discriminator.parameters()))
    made.train_step(given, 1)
    for one, other in zip(made.discriminator.parameters(), expected, strict=True):
        torch.testing.assert_close(one.grad, other, rtol=1e-3, atol=1e-6)


def test_layers_of_one_pass_are_those_of_networks_that_end_there():
    names = ["vgg19@relu1_1:random", "vgg19@relu2_1:random", "vgg19@relu3_1:random"]
    configs = [FeatureConfig.model_validate(name) for name in names]
    networks, images = [build_features(one, {}) for one in configs], torch.rand(1, 3, 16, 16) * 255
    for found, alone in zip(networks[-1].maps(images, [one.layer for one in configs]), networks, strict=True):
        torch.testing.assert_close(found, alone(images))
    assert [one.shape[1] for one in networks[-1].maps(images, ["relu3_1", "relu1_2"])] == [256, 64]


def test_the_enhancer_stands_around_the_trained_generator_which_joins_later(tmp_path: Path):
    inputs = {GLOBAL: global_generator(tmp_path / "global"), "toy_city": tmp_path}
    fields = {"generator": LOCAL, "global_frozen_steps": 2}
    check_sources(config(**fields), {GLOBAL: config()})
    made = _build_learner(config(**fields), inputs, None, 0, PlainContext(tmp_path))
    trained = torch.load(inputs[GLOBAL] / "final.pt", weights_only=True)["weights"]
    base = {name: one for name, one in trained.items() if name.startswith("base.")}
    assert len(base) == 2 * (1 + 2 + 2 + 2)

    def moved() -> set[str]:
        state = made.generator.state_dict()
        return {name for name, one in base.items() if not torch.equal(one, state[name])}

    head = made.generator.head[0].weight.clone()
    assert not moved()
    for step in (1, 2):
        made.train_step(batch(), step)
        assert not moved()
        assert all(one.grad is None for one in made.generator.base.parameters())
    assert not torch.equal(head, made.generator.head[0].weight)
    assert not any(one in made.optimizer.state for one in made.generator.base.parameters())
    made.train_step(batch(), 3)
    assert moved() == base.keys()
    (steps,) = {float(made.optimizer.state[one]["step"]) for one in made.generator.base.parameters()}
    assert steps == 1


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({}, "generator.enhancer local needs an input `global_generator`"),
        ({"width": 16}, r"another network \(width 16 there and 8 here\); give both the same"),
        ({"edges": False}, r"\(edges False there and True here\)"),
        ({"enhancer": "local"}, "has an enhancer itself"),
    ],
)
def test_a_global_generator_that_does_not_fit_is_refused(sources: dict[str, Any], words: str, tmp_path: Path):
    """Before it is trained and after."""
    ours = config(generator=LOCAL)
    trained = {GLOBAL: config(generator={**SMALL, **sources})} if sources else {}
    with pytest.raises(UserError, match=words):
        check_sources(ours, trained)
    if not sources:
        with pytest.raises(UserError, match=words):
            _build_learner(ours, {"toy_city": tmp_path}, None, 0, PlainContext(tmp_path))
        return
    other = global_generator(tmp_path / "other", **sources)
    with pytest.raises(UserError, match=words):
        check(ours, {GLOBAL: other})


def test_a_global_generator_of_another_method_is_refused(tmp_path: Path):
    ours, folder = config(generator=LOCAL), global_generator(tmp_path)
    unit = UNITConfig.model_validate({"source": "toy_city/day_train", "target": "toy_city/night_val", **SIZE})
    with pytest.raises(UserError, match="takes the training of a pix2pixhd"):
        check_sources(ours, {GLOBAL: unit})
    described = (folder / "translator.json").read_text()
    (folder / "translator.json").write_text(described.replace('"pix2pixhd"', '"unit"'))
    with pytest.raises(UserError, match=r"is of the method 'unit'; global_generator takes a pix2pixhd"):
        check(ours, {GLOBAL: folder})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"height": 34},
            "height 34 is no multiple of 4, the generator's stride, or less than two of it; the nearest is",
        ),
        ({"generator": {**LOCAL, "downsamplings": 4}}, "height 32 is no multiple of 32"),
        ({"train": "toy_city/fog_train"}, "has no image of toy_city/fog_train"),
        ({"train": "toy_city/fog_train", "generator": {**SMALL, "edges": False}}, "has no image of toy_city/fog_train"),
        ({"weights": {}, "features": ["vgg16:/absent.pth"], "feature_weights": [1.0]}, "/absent.pth"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(fields: dict[str, Any], words: str, toy_city: Path):
    with pytest.raises(UserError) as caught:
        check(config(**fields), {"toy_city": toy_city})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_instance_maps_are_refused_before_the_start(blocks: Path, tmp_path: Path):
    root = shutil.copytree(blocks, tmp_path / "blocks")
    for path in root.rglob("*_instanceIds.png"):
        path.unlink()
    with pytest.raises(
        UserError, match=r"city_000000_000000_gtFine_instanceIds.png does not exist \(and 6 more\); set"
    ):
        check(config(), {"toy_city": root})
    check(config(generator={**SMALL, "edges": False}), {"toy_city": root})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train": "toy_city/night_pool"}, "toy_city/night_pool has no labels to make images of"),
        (
            {"features": ["vgg19@relu1_1", "vgg16@relu1_1"], "feature_weights": [1, 1]},
            "different layers of one network",
        ),
        ({"features": ["vgg19@relu1_1"]}, "feature_weights needs one number for each of the 1 features, got 5"),
        ({"features": ["inception"], "feature_weights": [1]}, "vgg16, vgg19 or segmenter, got inception"),
        ({"features": [], "feature_weights": [], "weights": {}}, "weights.perceptual needs features"),
        ({"global_frozen_steps": 5}, "global_frozen_steps is for generator.enhancer local"),
        ({"augmentation": {"scale_max": 1.5}}, "would widen boundaries"),
        ({"augmentation": {"photometric": {"probability": 0.5}}}, "would change what images shall look like"),
        ({"augmentation": {"crop_height": 64, "crop_width": 64}}, "a crop of 64×64 is larger than the image of 32×64"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_configuration(fields: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        config(**fields)


def test_a_perceptual_loss_on_a_segmenter_needs_one():
    fields = {"features": ["segmenter@1"], "feature_weights": [1.0]}
    with pytest.raises(UserError, match="features segmenter@1 need an input `segmenter`"):
        check_sources(config(weights={"perceptual": 1.0}, **fields), {})
    check_sources(config(weights={"perceptual": 0.0}, **fields), {})


def test_one_image_is_told(toy_city: Path, tmp_path: Path):
    one = config(train="toy_city/day_train:1", loop={"steps": 1})
    with pytest.warns(MethodWarning, match="toy_city/day_train:1 is one image, which the discriminators will know"):
        run(one, {"toy_city": toy_city}, tmp_path, 0, PlainContext(tmp_path / "checkpoints"))
