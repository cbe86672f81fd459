"""UNIT against its paper: losses, which gradients reach what, and what it refuses and warns of."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.references import translation as reference
from trainers.context import PlainContext
from trainers.data.domains import DomainBatch
from trainers.errors import MethodWarning, UserError
from trainers.translation import losses
from trainers.translation.configs import TranslatorOptimizerConfig
from trainers.translation.discriminators import accuracy
from trainers.translation.training import Watch, as_bytes, draw_noise, signed
from trainers.translation.unit import UNITLearner, check, run
from trainers.translation.unit_config import Config

TINY: dict[str, Any] = {
    "source": "toy_city/day_train",
    "target": "toy_city/night_val",
    "height": 32,
    "width": 64,
    "batch_size": 2,
    "generator": {"width": 4, "blocks": 2},
    "discriminator": {"width": 4, "scales": 2},
    "augmentation": {},
    "loop": {"steps": 4, "score_every_steps": 2},
    "precision": "float32",
}


def config(**fields: Any) -> Config:
    return Config.model_validate({**TINY, **fields})


def learner(tmp_path: Path, frozen: nn.Module | None = None, **fields: Any) -> UNITLearner:
    torch.manual_seed(0)
    return UNITLearner(config(**fields), context=PlainContext(tmp_path), seed=0, features=frozen)


def batch(count: int = 2) -> DomainBatch:
    generator = torch.Generator().manual_seed(1)
    images, others = (
        torch.randint(0, 256, (count, 3, 32, 64), dtype=torch.uint8, generator=generator) for _ in range(2)
    )
    labels = torch.zeros(count, 32, 64, dtype=torch.uint8)
    return DomainBatch(images, labels, others, labels)


def share(values: Tensor) -> Tensor:
    return values.mean()


@pytest.mark.parametrize("kind", ["lsgan", "log"])
def test_adversarial_losses_equal_the_papers(kind: str):
    torch.manual_seed(0)
    real, fake = ([torch.randn(2, 1, 4, 8), torch.randn(2, 1, 2, 4)] for _ in range(2))
    found = losses.adversarial(real, is_real=True, gan_loss=kind, share=share) + losses.adversarial(
        fake, is_real=False, gan_loss=kind, share=share
    )
    lists = ([one.tolist() for one in maps] for maps in (real, fake))
    assert float(found) == pytest.approx(reference.discriminator_loss(*lists, kind), rel=1e-5)
    fooled = losses.adversarial(fake, is_real=True, gan_loss=kind, share=share)
    assert float(fooled) == pytest.approx(reference.generator_loss([one.tolist() for one in fake], kind), rel=1e-5)


def test_perceptual_and_code_losses_equal_the_slow_ones_and_ignore_light():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    found = losses.instance_normalized_distance(first, second, share)
    assert float(found) == pytest.approx(reference.perceptual(first.tolist(), second.tolist()), rel=1e-5)
    assert float(losses.instance_normalized_distance(first, 3 * first + 5, share)) == pytest.approx(0, abs=1e-5)
    assert float(losses.kl_to_standard_normal(first, share)) == pytest.approx(reference.mean_square(first.tolist()))
    assert float(losses.absolute(first, second, share)) == pytest.approx(
        reference.absolute(first.tolist(), second.tolist())
    )


class Edges(nn.Module):
    """Features without weights: differences of neighbors."""

    def forward(self, images: Tensor) -> Tensor:
        return images[..., 1:] - images[..., :-1]


@pytest.mark.parametrize("kl_first", ["twice", "once"])
@pytest.mark.parametrize("kind", ["lsgan", "log"])
def test_a_step_minimizes_the_paper_s_objective(kl_first: str, kind: str, tmp_path: Path):
    """All terms again from the networks as they were, with the noise as it was, by the slow functions."""
    weights = {"gan": 3.0, "kl": 0.2, "reconstruction": 50.0, "cycle_kl": 0.3, "cycle": 70.0, "perceptual": 5.0}
    fields = {"weights": weights, "gan_loss": kind, "kl_first": kl_first, "features": "vgg16:random"}
    fields["optimizer"] = {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0.0, "beta1": 0.0}
    made, given = learner(tmp_path, Edges(), **fields), batch()
    found = made.train_step(given, 1)
    with torch.no_grad():
        expected = objective(made, given, kind, twice=kl_first == "twice", weights=weights)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-4), name


def objective(made: UNITLearner, given: DomainBatch, kind: str, *, twice: bool, weights: dict[str, float]) -> Any:
    day, night = signed(given.images), signed(given.target_images)
    encoders, decoders = made.generators.encoders, made.generators.decoders
    noise = made._noise(day, 1)
    code_day, code_night = encoders["source"](day), encoders["target"](night)
    to_night, to_day = decoders["target"](code_day + noise[0]), decoders["source"](code_night + noise[1])
    again_day, again_night = encoders["target"](to_night), encoders["source"](to_day)
    lists = reference.absolute
    edges = Edges()
    terms = {
        "reconstruction": lists(decoders["source"](code_day + noise[0]).tolist(), day.tolist())
        + lists(decoders["target"](code_night + noise[1]).tolist(), night.tolist()),
        "cycle": lists(decoders["source"](again_day + noise[2]).tolist(), day.tolist())
        + lists(decoders["target"](again_night + noise[3]).tolist(), night.tolist()),
        "kl": reference.mean_square(code_day.tolist()) + reference.mean_square(code_night.tolist()),
        "cycle_kl": reference.mean_square(again_day.tolist()) + reference.mean_square(again_night.tolist()),
        "perceptual": reference.perceptual(*(edges((x + 1) * 127.5).tolist() for x in (to_night, day)))
        + reference.perceptual(*(edges((x + 1) * 127.5).tolist() for x in (to_day, night))),
    }
    judges = made.discriminators
    fake = {"source": to_day, "target": to_night}
    real = {"source": day, "target": night}
    patches = {name: [one.tolist() for one in judges[name](fake[name])] for name in fake}
    true = {name: [one.tolist() for one in judges[name](real[name])] for name in fake}
    terms["adversarial"] = sum(reference.generator_loss(patches[name], kind) for name in fake)
    judged = sum(reference.discriminator_loss(true[name], patches[name], kind) for name in fake)
    return {**terms, "loss": reference.unit_objective(terms, weights, twice=twice),
            "discriminator": weights["gan"] * judged}  # fmt: skip


def test_the_gradient_is_that_of_the_whole_objective(tmp_path: Path):
    """Of every term: a detached code or translation would leave all values as they are, and this gradient not."""
    weights = {"gan": 1000.0, "kl": 0.2, "reconstruction": 5.0, "cycle_kl": 0.3, "cycle": 7.0, "perceptual": 5.0}
    still = {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0.0, "beta1": 0.0}
    fields = {"weights": weights, "kl_first": "once", "features": "vgg16:random", "optimizer": still}
    made, given = learner(tmp_path, Edges(), **fields), batch()
    found = made.train_step(given, 1)
    gradients = [parameter.grad for parameter in made.generators.parameters()]
    terms = differentiable_terms(made, given)
    loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    assert float(found["loss"]) == pytest.approx(loss.item(), rel=1e-4)
    expected = torch.autograd.grad(loss, list(made.generators.parameters()), retain_graph=True)
    largest = max(float(one.abs().max()) for one in expected)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 * largest)
    for name, value in terms.items():  # Each matters, or the comparison would say nothing of it.
        part = torch.autograd.grad(value, list(made.generators.parameters()), retain_graph=True, allow_unused=True)
        assert max(float((weights[name] * one).abs().max()) for one in part if one is not None) > 1e-3 * largest, name


def differentiable_terms(made: UNITLearner, given: DomainBatch) -> dict[str, Tensor]:
    day, night = signed(given.images), signed(given.target_images)
    encoders, decoders = made.generators.encoders, made.generators.decoders
    noise, edges = made._noise(day, 1), Edges()
    code_day, code_night = encoders["source"](day), encoders["target"](night)
    to_night, to_day = decoders["target"](code_day + noise[0]), decoders["source"](code_night + noise[1])
    again_day, again_night = encoders["target"](to_night), encoders["source"](to_day)
    fooled = [made.discriminators["target"](to_night), made.discriminators["source"](to_day)]

    def absolute(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean()

    def perceptual(a: Tensor, b: Tensor) -> Tensor:
        x, y = (nn.functional.instance_norm(edges((one + 1) * 127.5)) for one in (a, b))
        return (x - y).square().mean()

    return {
        "gan": torch.stack([(one - 1).square().mean() for maps in fooled for one in maps]).sum(),
        "kl": code_day.square().mean() + code_night.square().mean(),
        "reconstruction": absolute(decoders["source"](code_day + noise[0]), day)
        + absolute(decoders["target"](code_night + noise[1]), night),
        "cycle_kl": again_day.square().mean() + again_night.square().mean(),
        "cycle": absolute(decoders["source"](again_day + noise[2]), day)
        + absolute(decoders["target"](again_night + noise[3]), night),
        "perceptual": perceptual(to_night, day) + perceptual(to_day, night),
    }


def test_gradients_reach_exactly_the_networks_that_they_should(tmp_path: Path):
    """Each half of a step changes its own networks; the generator's half leaves no gradient in a discriminator."""
    made = learner(tmp_path)
    made.train_step(batch(), 1)
    before = {name: value.clone() for name, value in made.generators.state_dict().items()}
    seen: dict[str, list[list[Tensor | None]]] = {}

    def watch(name: str, optimizer: torch.optim.Optimizer) -> None:
        step = optimizer.step

        def stepped() -> None:
            seen[name] = [gradients(made.generators), gradients(made.discriminators)]
            step()

        optimizer.zero_grad(set_to_none=True)
        optimizer.step = stepped  # type: ignore[method-assign, assignment]

    watch("judges", made.judge_optimizer)
    watch("generators", made.optimizer)
    made.train_step(batch(), 2)
    assert all(gradient is None for gradient in seen["judges"][0])
    assert all(gradient is not None and gradient.any() for gradient in seen["judges"][1])
    for after_judges, after_both in zip(seen["judges"][1], seen["generators"][1], strict=True):
        torch.testing.assert_close(after_both, after_judges, rtol=0, atol=0)
    assert all(gradient is not None for gradient in seen["generators"][0])
    changed = made.generators.state_dict()
    assert not any(torch.equal(value, before[name]) for name, value in changed.items())


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [None if one.grad is None else one.grad.clone() for one in network.parameters()]


def test_a_translation_at_test_time_has_no_noise_and_training_has(tmp_path: Path):
    made = learner(tmp_path)
    images = signed(batch().images)
    assert torch.equal(made.generators.translate(images, to="target"), made.generators.translate(images, to="target"))
    noise = made._noise(images, 1)
    assert [tuple(one.shape) for one in noise] == [(2, 16, 8, 16)] * 4
    assert torch.stack(noise).std() == pytest.approx(1, abs=0.05)
    assert not torch.equal(noise[0], made._noise(images, 2)[0])


def test_noise_is_the_slot_s_own_whatever_the_ranks():
    together = draw_noise((2, 3), [7, 8, 9], torch.device("cpu"))
    assert torch.equal(together[[0, 2]], draw_noise((2, 3), [7, 9], torch.device("cpu")))


def test_bytes_keep_the_fixed_range():
    dark = torch.full((1, 3, 2, 2), -0.9)
    dark[0, 0, 0, 0] = -0.78
    assert as_bytes(dark).unique().tolist() == [13, 28]  # Stretched, as the release saves, they would be 0 and 255.
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(as_bytes(signed(levels)), levels)


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [("halving", 300, {1: 1.0, 100: 1.0, 101: 0.5, 250: 0.25}), ("constant", 10, {10: 1.0}),
     ("linear_decay", 200, {1: 1.0, 101: 1.0, 151: 0.5, 200: 0.01})],
)  # fmt: skip
def test_schedules(schedule: str, steps: int, expected: dict[int, float]):
    optimizer = TranslatorOptimizerConfig.model_validate({"schedule": schedule, "halve_every_steps": 100})
    assert {step: pytest.approx(optimizer.factor(step, steps)) for step in expected} == expected


def test_defaults_are_the_paper_s():
    made = Config.model_validate({name: TINY[name] for name in ("source", "target", "height", "width")})
    weights = made.weights
    assert (weights.gan, weights.kl, weights.reconstruction, weights.cycle_kl, weights.cycle) == (
        10,
        0.1,
        100,
        0.1,
        100,
    )
    assert (made.kl_first, made.generator.weight_sharing, made.batch_size) == ("twice", "latent", 1)
    assert (made.optimizer.learning_rate, made.optimizer.beta1, made.optimizer.weight_decay) == (1e-4, 0.5, 1e-4)
    assert (made.augmentation.crop_height, made.augmentation.crop_width) == (256, 256)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"discriminator": {"scales": 3}}, "height 32 is less than the 64 that 3 scales of 4 layers need"),
        ({"height": 34}, "height 34 is not a multiple of 4, the generator's stride; the nearest is 32"),
        (
            {"augmentation": {"crop_height": 256, "crop_width": 256}},
            "a crop of height 256 is larger than the image's 32; set augmentation.crop_height to 32 at most",
        ),
        (
            {"augmentation": {"scale_min": 0.5}},
            "a crop of height 32 is larger than the image's 32, shrunk to 16 by augmentation.scale_min 0.5",
        ),
        ({"target_width": 32}, "source images have width 64 and target images 32"),
        ({"source": "toy_city/fog_train"}, "has no image of toy_city/fog_train"),
        ({"weights": {"perceptual": 1.0}, "features": "vgg16:/absent.pth"}, "/absent.pth"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(fields: dict[str, Any], words: str, toy_city: Path):
    with pytest.raises(UserError) as caught:
        check(config(**fields), {"toy_city": toy_city})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": {"perceptual": 1.0}}, "weights.perceptual needs features"),
        ({"target": "toy_city/day_train"}, "source and target are both toy_city/day_train"),
        ({"augmentation": {"photometric": {"probability": 0.5}}}, "would change what a domain looks like"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_configuration(fields: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        config(**fields)


def told(accuracy_: float, translated: Tensor, origin: Tensor, real: Tensor, *, step: int = 200) -> list[str]:
    watch = Watch(PlainContext(Path("unused")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MethodWarning)
        for _ in range(2):
            for _ in range(3):
                watch.see(torch.tensor(accuracy_), {"translations": (origin, translated, real)})
            watch.tell(step)
    return [str(one.message) for one in caught]


def test_a_collapse_a_shift_and_inverted_colors_are_told_once_each():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 8, 8) - 0.5
    assert told(0.7, image, image, image) == []
    (collapse,) = told(0.999, image, image, image)
    assert "judge 99.9 % of the patches right over 3 steps" in collapse
    (inversion,) = told(0.7, -image, image, -image)
    assert "dark where the images are bright (correlation -1.00" in inversion
    off = image.clone()
    off[:, 2] += 0.8
    (shift,) = told(0.7, off, image, image)
    assert "+102 grey levels in blue" in shift
    assert told(0.999, -off, image, image, step=199) == []


def test_a_domain_of_one_image_is_told(toy_city: Path, tmp_path: Path):
    one = config(target="toy_city/night_val:1", loop={"steps": 1}, generator={"width": 4, "blocks": 1})
    with pytest.warns(MethodWarning, match="toy_city/night_val:1 is a domain of one image"):
        run(one, {"toy_city": toy_city}, tmp_path, 0, PlainContext(tmp_path / "checkpoints"))


def test_accuracy_counts_patches_on_the_right_side_of_the_middle():
    maps = [torch.tensor([[[[0.6, 0.4], [0.9, 2.0]]]]), torch.tensor([[[[-1.0, 0.7]]]])]
    assert float(accuracy(maps, is_real=True, gan_loss="lsgan")) == pytest.approx((0.75 + 0.5) / 2)
    assert float(accuracy(maps, is_real=False, gan_loss="log")) == pytest.approx((0.0 + 0.5) / 2)
