"""DFS against its release: sizes, losses, which gradients reach what, what it warns of while it trains."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.references import dehazing as slow
from tests.references import translation as reference
from tests.trainers.data import miniatures
from trainers.components.image_quality import psnr
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.label_spaces import IGNORE_LABEL
from trainers.data.matched import MatchedBatch, MatchedImages
from trainers.errors import MethodWarning
from trainers.translation.dfs import DFSLearner
from trainers.translation.dfs_config import Config, PatchConfig, UNetConfig
from trainers.translation.dfs_networks import PairDiscriminator, UNet
from trainers.translation.losses import SEGMENTATION_LOSSES
from trainers.translation.training import signed

HAZY, CLEAR = (DataSplit.model_validate(f"dehazing/{name}") for name in ("hazy", "clear"))
TINY: dict[str, Any] = {
    "source": "dehazing/hazy:5",
    "target": "dehazing/clear",
    "select": "dehazing/hazy:-2",
    "select_target": "dehazing/clear",
    "height": 32,
    "width": 64,
    "batch_size": 2,
    "generator": {"width": 4, "depth": 3},
    "discriminator": {"width": 4, "layers": 2},
    "features": "vgg16@relu1_1:random",
    "loop": {"steps": 4, "score_every_steps": 2},
    "precision": "float32",
}


def config(**fields: Any) -> Config:
    return Config.model_validate({**TINY, **fields})


@pytest.fixture(scope="module")
def haze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.blocks_in_haze(tmp_path_factory.mktemp("haze"))


class Colors(nn.Module):
    """A segmenter without memory: a norm over the batch, then a class for each mixture of colors."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.classes = nn.Conv2d(3, 19, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classes(self.norm(images / 255))
        return logits


class Edges(nn.Module):
    """Features without weights: differences of neighbors."""

    def forward(self, images: Tensor) -> Tensor:
        return images[..., 1:] - images[..., :-1]


def learner(haze: Path, tmp_path: Path, frozen: nn.Module | None = None, **fields: Any) -> DFSLearner:
    made = config(**fields)
    select = MatchedImages({"dehazing": haze}, [made.select], made.select_target, height=32, width=64)
    torch.manual_seed(0)
    return DFSLearner(made, select=select, context=PlainContext(tmp_path), segmenter=frozen, features=Edges())


def batch(count: int = 2) -> MatchedBatch:
    generator = torch.Generator().manual_seed(1)
    images, partners = (torch.randint(0, 256, (count, 3, 32, 64), generator=generator).to(torch.uint8) for _ in "ab")
    labels = torch.randint(0, 19, (count, 32, 64), generator=generator).to(torch.uint8)
    labels[:, :5] = 255
    return MatchedBatch(images, labels, partners)


def colors() -> Colors:
    torch.manual_seed(3)
    return Colors()


def test_sizes_are_those_of_pix2pix():
    """Its release prints 54.414 M for ``unet_256`` and 2.769 M for the discriminator of two images."""
    generator, judge = UNet(UNetConfig()), PairDiscriminator(PatchConfig())
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (generator, judge)]
    assert [round(one / 1e6, 3) for one in count] == [54.414, 2.769]
    assert judge(torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_a_patch_sees_70_pixels():
    judge = PairDiscriminator(PatchConfig(width=4)).eval()  # In training, statistics would reach from border to border.
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    judge(torch.rand(1, 3, 128, 128), image)[0, 0, 7, 7].backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70


def test_the_u_net_passes_what_goes_down_across():
    """Without the innermost path a pixel is still seen; every level's map is used."""
    network = UNet(UNetConfig(width=4, depth=3)).eval()
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    whole = network(images)
    assert whole.shape == images.shape
    assert whole.abs().max() <= 1
    for level in range(3):
        handle = network.down[level].register_forward_hook(lambda module, given, made: torch.zeros_like(made))
        assert not torch.equal(network(images), whole), level
        handle.remove()
    assert [len(list(network.up[number].parameters())) for number in range(3)] == [3, 3, 2]


@pytest.mark.parametrize("kind", SEGMENTATION_LOSSES)
def test_segmentation_losses_equal_the_slow_ones(kind: str, tmp_path: Path):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 19, 4, 5) * 2, torch.randint(0, 6, (2, 4, 5))
    labels[0, 1:3] = 255
    names = {"ce": slow.cross_entropy, "l2_color": slow.color_distance, "soft_iou": slow.soft_iou}
    expected = names[kind](logits.tolist(), labels.tolist())
    loss = SEGMENTATION_LOSSES[kind]
    context = PlainContext(tmp_path)
    assert float(loss(logits, labels.to(torch.uint8), context)) == pytest.approx(expected, rel=1e-5)
    sure = torch.nn.functional.one_hot(labels.clamp_max(18), 19).permute(0, 3, 1, 2) * 50.0
    assert float(loss(sure, labels.to(torch.uint8), context)) == pytest.approx(0, abs=1e-5)
    nothing = loss(logits.requires_grad_(), torch.full_like(labels, 255).to(torch.uint8), context)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", SEGMENTATION_LOSSES)
def test_a_loss_on_two_ranks_is_that_of_all_pixels(kind: str, tmp_path: Path):
    """Shares add up, and so do their gradients, also where the ranks see other classes and fewer valid pixels."""
    torch.manual_seed(0)
    logits = torch.randn(2, 19, 4, 5, requires_grad=True)
    labels = torch.randint(0, 6, (2, 4, 5)).to(torch.uint8)
    labels[1] = 7
    labels[1, :3] = 255
    whole = SEGMENTATION_LOSSES[kind](logits, labels, PlainContext(tmp_path))
    (expected,) = torch.autograd.grad(whole, logits)

    sums: list[list[Tensor]] = [[], []]

    class Rank(PlainContext):
        """First it notes what it would add up, then it gets the sum of both."""

        total = False
        world_size = 2

        def all_reduce(self, values: Tensor) -> Tensor:
            if not self.total:
                sums[self.number].append(values)
                return values
            self.calls += 1
            return sums[0][self.calls - 1] + sums[1][self.calls - 1]

    shares = []
    for is_total in (False, True):
        for number in range(2):
            context = Rank(tmp_path)
            context.number, context.total, context.calls = number, is_total, 0
            share = SEGMENTATION_LOSSES[kind](logits[[number]], labels[[number]], context)
            if is_total:
                shares.append(share)
    assert float(sum(shares)) == pytest.approx(float(whole), rel=1e-5)
    (found,) = torch.autograd.grad(sum(shares), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gan_loss", ["log", "lsgan"])
@pytest.mark.parametrize("kind", SEGMENTATION_LOSSES)
def test_a_step_minimizes_the_release_s_objective(kind: str, gan_loss: str, haze: Path, tmp_path: Path):
    """All terms again from the networks as they were, by the slow functions."""
    weights = {"gan": 2.0, "pixel": 30.0, "perceptual": 0.01, "segmentation": 5.0}
    still = {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0.0, "beta1": 0.0}
    fields = {"weights": weights, "optimizer": still, "segmentation_loss": kind, "gan_loss": gan_loss}
    made, given = learner(haze, tmp_path, colors(), **fields), batch()
    found = made.train_step(given, 1)
    with torch.no_grad():
        hazy, clear = signed(given.images), signed(given.partners)
        dehazed = made.generator(hazy)
        assert made.judge is not None
        real, fake = ([made.judge(hazy, shown).tolist()] for shown in (clear, dehazed))
        seen = [Edges()((one + 1) * 127.5).tolist() for one in (dehazed, clear)]
        logits = colors().eval()((dehazed + 1) * 127.5)
    segmentation = {"ce": slow.cross_entropy, "l2_color": slow.color_distance, "soft_iou": slow.soft_iou}[kind]
    expected = {
        "adversarial": reference.generator_loss(fake, gan_loss),
        "pixel": reference.absolute(dehazed.tolist(), clear.tolist()),
        "perceptual": slow.squared(*seen),
        "segmentation": segmentation(logits.tolist(), given.labels.tolist()),
        "discriminator": 0.5 * reference.discriminator_loss(real, fake, gan_loss),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-4), name
    parts = zip(weights.values(), expected.values(), strict=False)
    assert float(found["loss"]) == pytest.approx(sum(weight * value for weight, value in parts), rel=2e-4)


def test_the_gradient_is_that_of_the_whole_objective(haze: Path, tmp_path: Path):
    """Of every term: a detached image before a judge would leave all values as they are, and this gradient not."""
    weights = {"gan": 2.0, "pixel": 3.0, "perceptual": 0.01, "segmentation": 5.0}
    still = {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0.0, "beta1": 0.0}
    fields = {"weights": weights, "optimizer": still, "segmentation_loss": "ce", "gan_loss": "lsgan"}
    made, given = learner(haze, tmp_path, colors(), **fields), batch()
    made.train_step(given, 1)
    parameters = list(made.generator.parameters())
    gradients = [parameter.grad for parameter in parameters]
    hazy, clear = signed(given.images), signed(given.partners)
    dehazed, labels = made.generator(hazy), given.labels.long()
    assert made.judge is not None
    terms = {
        "gan": (made.judge(hazy, dehazed) - 1).square().mean(),
        "pixel": (dehazed - clear).abs().mean(),
        "perceptual": (Edges()((dehazed + 1) * 127.5) - Edges()((clear + 1) * 127.5)).square().mean(),
        "segmentation": nn.functional.cross_entropy(
            colors().eval()((dehazed + 1) * 127.5), labels, ignore_index=IGNORE_LABEL
        ),
    }
    loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    largest = max(float(one.abs().max()) for one in expected)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5 * largest)
    for name, value in terms.items():  # Each matters, or the comparison would say nothing of it.
        part = torch.autograd.grad(value, parameters, retain_graph=True)
        assert max(float((weights[name] * one).abs().max()) for one in part) > 1e-3 * largest, name


def test_the_segmenter_is_never_changed(haze: Path, tmp_path: Path):
    """Neither its weights nor its statistics, in training mode or not; and it judges by its running statistics."""
    frozen = colors()
    frozen.train()
    before = copy.deepcopy(frozen.state_dict())
    made = learner(haze, tmp_path, frozen)
    for step in (1, 2):
        made.train_step(batch(), step)
    made.score()
    assert not frozen.training
    assert not frozen.norm.training
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in frozen.parameters())


@pytest.mark.parametrize("off", ["gan", "pixel", "perceptual", "segmentation"])
def test_a_weight_of_0_leaves_its_loss_out(off: str, haze: Path, tmp_path: Path):
    names = {"gan": "adversarial"}
    made = learner(haze, tmp_path, colors(), weights={off: 0.0})
    found = made.train_step(batch(), 1)
    assert {"adversarial", "pixel", "perceptual", "segmentation"} - found.keys() == {names.get(off, off)}
    assert (made.judge is None) == ("discriminator" not in found) == (off == "gan")


def test_without_any_segmenter_psnr_chooses(haze: Path, tmp_path: Path):
    """And PSNR is that of the images in 0…255."""
    made = learner(haze, tmp_path, weights={"segmentation": 0.0}, select_by="psnr")
    made.train_step(batch(), 1)
    found = made.score()
    select = MatchedImages({"dehazing": haze}, [HAZY.model_copy(update={"count": -2})], CLEAR, height=32, width=64)
    images, partners = torch.stack([select[index][0] for index in range(2)]).chunk(2, dim=1)
    with torch.no_grad():
        dehazed = (made.generator.eval()(signed(images)) + 1) * 127.5
    assert found == {"psnr": pytest.approx(float(psnr(dehazed, partners).mean())), "selection": found["psnr"]}


def test_gradients_reach_exactly_the_networks_that_they_should(haze: Path, tmp_path: Path):
    made = learner(haze, tmp_path, colors())
    assert made.judge is not None
    seen: dict[str, list[list[Tensor | None]]] = {}

    def watch(name: str, optimizer: torch.optim.Optimizer) -> None:
        step = optimizer.step

        def stepped() -> None:
            assert made.judge is not None
            seen[name] = [
                [None if one.grad is None else one.grad.clone() for one in network.parameters()]
                for network in (made.generator, made.judge)
            ]
            step()

        optimizer.step = stepped  # type: ignore[method-assign, assignment]

    watch("judge", made.judge_optimizer)
    watch("generator", made.optimizer)
    made.train_step(batch(), 1)
    assert list(seen) == ["judge", "generator"]
    assert all(gradient is None for gradient in seen["judge"][0])
    assert all(gradient is not None and gradient.any() for gradient in seen["judge"][1])
    assert all(gradient is not None and gradient.any() for gradient in seen["generator"][0])
    for after_judge, after_both in zip(seen["judge"][1], seen["generator"][1], strict=True):
        torch.testing.assert_close(after_both, after_judge, rtol=0, atol=0)


def test_collapse_and_inversion_name_what_may_be_changed_here(haze: Path, tmp_path: Path):
    """Fog makes what is far and dark bright: the clear image is what brightness is compared with."""
    made = learner(haze, tmp_path, colors(), loop={"steps": 500, "score_every_steps": 250})
    made._step = 250
    clear = torch.rand(2, 3, 8, 8) - 0.5
    made._watch.see(torch.tensor(1.0), {"dehazed images": (clear, -clear, clear)})
    with pytest.warns(MethodWarning) as told:
        made.score()
    messages = [str(one.message) for one in told]
    assert any("judge 100.0 % of the patches right" in message for message in messages)
    assert any("dehazed images are dark where the images are bright" in message for message in messages)
    assert all("raise the weights of the other losses" in message for message in messages)


def test_defaults_are_the_release_s():
    made = Config.model_validate({**{name: TINY[name] for name in ("source", "target", "select", "select_target")},
                                  "height": 256, "width": 256, "features": "vgg16@relu2_2"})  # fmt: skip
    assert list(made.weights.model_dump().values()) == [1, 10, 10, 10]
    assert (made.batch_size, made.optimizer.learning_rate, made.optimizer.factor(9, 10)) == (8, 2e-4, 1.0)
    assert (made.optimizer.beta1, made.optimizer.weight_decay, made.augmentation.horizontal_flip) == (0.5, 0.0, 0.0)
    assert made.loop.steps == math.ceil(2975 / 8) * 100


def test_a_generator_learns_to_take_haze_out(haze: Path, tmp_path: Path):
    """Five pairs, pixel loss alone: the two that it never saw come nearer to their clear images than they were."""
    fields = {"weights": {"gan": 0.0, "perceptual": 0.0, "segmentation": 0.0}, "select_by": "psnr"}
    fields |= {"generator": {"width": 16, "depth": 3}, "optimizer": {"learning_rate": 4e-3, "weight_decay": 0.0}}
    made = learner(haze, tmp_path, **fields)
    pairs = MatchedImages({"dehazing": haze}, [made.config.source], CLEAR, height=32, width=64)
    images, partners = torch.stack([pairs[index][0] for index in range(5)]).chunk(2, dim=1)
    given = MatchedBatch(images, torch.zeros(5, 32, 64, dtype=torch.uint8), partners)
    for step in range(1, 81):
        made.train_step(given, step)
    select = MatchedImages({"dehazing": haze}, [made.config.select], CLEAR, height=32, width=64)
    hazy, clear = torch.stack([select[index][0] for index in range(2)]).chunk(2, dim=1)
    assert made.score()["psnr"] > float(psnr(hazy, clear).mean()) + 3
