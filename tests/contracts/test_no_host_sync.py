"""A training step never waits for the device: under fake tensors anything that would read a value raises."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from trainers.adaptation.bimix import BiMixLearner
from trainers.adaptation.bimix_config import Config as BiMixConfig
from trainers.adaptation.dacs import DACSLearner
from trainers.adaptation.dacs_config import Config as DACSConfig
from trainers.adaptation.dannet import DANNetLearner
from trainers.adaptation.fda import FDALearner
from trainers.adaptation.fda_config import Config as FDAConfig
from trainers.components import ema
from trainers.components.class_weights import CITYSCAPES_FREQUENCIES
from trainers.components.configs import LossConfig, NetworkConfig, OptimizerConfig
from trainers.components.losses import combined_loss
from trainers.components.mixing import MASKS
from trainers.components.networks import AUXILIARY_WEIGHTS, OWN
from trainers.components.pseudo_labels import WEIGHTS
from trainers.context import PlainContext
from trainers.data.domains import DomainBatch
from trainers.data.images import SplitImages
from trainers.data.label_maps import LabelMapBatch
from trainers.data.loader import Batch
from trainers.data.matched import MatchedBatch, MatchedImages
from trainers.data.pairs import PairBatch
from trainers.networks.output_discriminator import OutputDiscriminator
from trainers.networks.segmentation import Segmenter, build_segmenter
from trainers.segmentation.supervised import SupervisedLearner
from trainers.segmentation.supervised_config import Config
from trainers.translation.dfs import DFSLearner
from trainers.translation.dfs_config import Config as DFSConfig
from trainers.translation.losses import SEGMENTATION_LOSSES
from trainers.translation.pix2pixhd import Pix2PixHDLearner
from trainers.translation.pix2pixhd_config import Config as Pix2PixHDConfig
from trainers.translation.unit import UNITLearner
from trainers.translation.unit_config import Config as UNITConfig

COMMON: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/day_val",
    "height": 64,
    "width": 64,
    "batch_size": 2,
    "network": NetworkConfig(encoder="resnet18"),
    "optimizer": OptimizerConfig(clip_gradient_norm=1.0),
}


@pytest.fixture(autouse=True)
def _parameters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Segmenter, OutputDiscriminator):
        monkeypatch.setattr(kind, "to", lambda self, *_, **__: self)  # Fake parameters cannot be swapped …
    build = partial(build_segmenter, COMMON["network"], pretrained=False)
    monkeypatch.setattr(ema, "deepcopy", lambda student: build())  # … nor copied.


def unread() -> SplitImages:
    """A step never looks at the select split."""
    return SplitImages.__new__(SplitImages)


def labeled() -> dict[str, torch.Tensor]:
    return {"images": torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "labels": torch.zeros(2, 64, 64, dtype=torch.uint8)}


def both_domains() -> DomainBatch:
    return DomainBatch(**labeled(), target_images=labeled()["images"], target_labels=labeled()["labels"])


@pytest.mark.parametrize(
    ("architecture", "alpha"), [("FPN", 0.0), ("FPN", 0.5), ("FPN", 1.0), *((name, 1.0) for name in OWN)]
)
def test_a_supervised_step_reads_no_value(architecture: str, alpha: float, tmp_path: Path) -> None:
    network = NetworkConfig(architecture=architecture, encoder="resnet18")
    loss = LossConfig(alpha=alpha, normalise_focal=True, focal_class_weights=(1.0,) * 19)
    config = Config.model_validate({**COMMON, "network": network, "loss": loss})
    with FakeTensorMode():
        learner = SupervisedLearner(config, select=unread(), context=PlainContext(tmp_path), pretrained=False)
        losses = learner.train_step(Batch(**labeled()), 1)
    assert set(losses) - {"auxiliary"} == {"loss", "cross_entropy", "focal"}
    assert ("auxiliary" in losses) == (architecture in AUXILIARY_WEIGHTS)


def test_the_legacy_focal_loss_reads_no_value() -> None:
    config = LossConfig(alpha=0.5, focal_form="batch_mean_legacy")
    with FakeTensorMode():
        logits, labels = torch.zeros(2, 19, 8, 8, requires_grad=True), torch.zeros(2, 8, 8, dtype=torch.uint8)
        combined_loss(logits, labels, config)["loss"].backward()
    assert logits.grad is not None


@pytest.mark.parametrize("beta", [0.03, 0.5])
def test_an_fda_step_reads_no_value(beta: float, tmp_path: Path) -> None:
    config = FDAConfig.model_validate({**COMMON, "target": "toy_city/night_train", "beta": beta})
    with FakeTensorMode():
        learner = FDALearner(config, select=unread(), context=PlainContext(tmp_path), pretrained=False)
        learner.has_pseudo_labels = True
        losses = learner.train_step(both_domains(), config.loop.score_every_steps)
    assert set(losses) == {"loss", "cross_entropy", "focal", "entropy", "pseudo_label"}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_dacs_step_reads_no_value(mask: str, weight: str, tmp_path: Path) -> None:
    """With every part switched on, in a step whose pictures are kept."""
    fields = {
        **COMMON,
        "target": "toy_city/night_train",
        "mix": {"mask": mask, "jitter_probability": 1.0, "blur_probability": 1.0},
        "weight": weight,
        "teacher": {"batch_norm": "student" if weight == "image" else "batch"},
        "feature_distance": {"weight": 0.005},
        "masked": {"weight": 1.0, "patch": 8},
    }
    config = DACSConfig.model_validate(fields)
    with FakeTensorMode():
        learner = DACSLearner(config, select=unread(), context=PlainContext(tmp_path), pretrained=False, seed=1)
        losses = learner.train_step(both_domains(), config.loop.score_every_steps)
    assert {"unlabeled", "confident", "masked", "feature_distance"} < set(losses)


def three_views() -> PairBatch:
    return PairBatch(**labeled(), night_images=labeled()["images"], day_images=labeled()["images"])


@pytest.mark.parametrize("kind", ["resnet", "curves", "none"])
@pytest.mark.parametrize("as_released", [False, True])
def test_a_step_with_pairs_reads_no_value(kind: str, as_released: bool, tmp_path: Path) -> None:
    """With both directions switched on, in a step whose pictures are kept."""
    fields = {
        **COMMON,
        "target": "dark_zurich/pairs",
        "relighting": {"kind": kind, "width": 4},
        "adversarial": {"width": 4},
        "as_released": as_released,
        "day_to_night": {"consistency_weight": float(kind != "none"), "light_weight": float(kind != "none")},
    }
    config = BiMixConfig.model_validate(fields)
    options = {"select": unread(), "context": PlainContext(tmp_path), "pretrained": False, "seed": 1}
    with FakeTensorMode():
        learner = BiMixLearner(config, frequencies=CITYSCAPES_FREQUENCIES, **options)
        losses = learner.train_step(three_views(), config.loop.score_every_steps)
        learner = DANNetLearner(config, frequencies=CITYSCAPES_FREQUENCIES, **options)
        fewer = learner.train_step(three_views(), 1)
    assert {"source_to_night", "confident", "static", "adversarial", "discriminator_day"} < set(losses)
    assert ("day_to_night" in losses) == ("light" in fewer) == (kind != "none")
    assert set(fewer) < set(losses)


@pytest.mark.parametrize("gan_loss", ["lsgan", "log"])
def test_a_unit_step_reads_no_value(gan_loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step whose pictures are kept."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    fields = {
        **{name: COMMON[name] for name in ("height", "width", "batch_size")},
        "source": "toy_city/day_train",
        "target": "toy_city/night_train",
        "generator": {"width": 4},
        "discriminator": {"width": 4},
        "augmentation": {},
        "weights": {"perceptual": 10.0},
        "features": "vgg16@relu1_2:random",
        "gan_loss": gan_loss,
        "loop": {"steps": 2, "score_every_steps": 2},
    }
    config = UNITConfig.model_validate(fields)
    with FakeTensorMode():
        features = torch.nn.Conv2d(3, 4, 3)
        learner = UNITLearner(config, context=PlainContext(tmp_path), seed=1, features=features)
        losses = learner.train_step(both_domains(), config.loop.score_every_steps)
    assert {"loss", "adversarial", "discriminator", "perceptual", "cycle", "discriminator_accuracy"} < set(losses)


@pytest.mark.parametrize("kind", SEGMENTATION_LOSSES)
@pytest.mark.parametrize("gan_loss", ["lsgan", "log"])
def test_a_dfs_step_reads_no_value(kind: str, gan_loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step whose pictures are kept."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    fields = {
        **{name: COMMON[name] for name in ("height", "width", "batch_size")},
        "source": "dehazing/hazy:5",
        "target": "dehazing/clear",
        "select": "dehazing/hazy:-2",
        "select_target": "dehazing/clear",
        "generator": {"width": 4, "depth": 4},
        "discriminator": {"width": 4},
        "features": "vgg16@relu1_2:random",
        "segmentation_loss": kind,
        "gan_loss": gan_loss,
        "loop": {"steps": 2, "score_every_steps": 2},
    }
    config = DFSConfig.model_validate(fields)
    with FakeTensorMode():
        batch = MatchedBatch(**labeled(), partners=labeled()["images"])
        frozen = {"segmenter": torch.nn.Conv2d(3, 19, 1), "features": torch.nn.Conv2d(3, 4, 3)}
        learner = DFSLearner(
            config, select=MatchedImages.__new__(MatchedImages), context=PlainContext(tmp_path), **frozen
        )
        losses = learner.train_step(batch, config.loop.score_every_steps)
    names = {"loss", "adversarial", "pixel", "perceptual", "segmentation", "discriminator", "discriminator_accuracy"}
    assert set(losses) == names


class Layers(torch.nn.Module):
    """In the place of a trained network's."""

    def maps(self, images: torch.Tensor, layers: list[str]) -> list[torch.Tensor]:
        return [images * float(layer) for layer in layers]


@pytest.mark.parametrize("enhancer", ["none", "local"])
def test_a_pix2pixhd_step_reads_no_value(enhancer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a step whose pictures are kept, before and after the global generator joins."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    fields = {
        **{name: COMMON[name] for name in ("height", "width", "batch_size")},
        "train": "toy_city/day_train",
        "generator": {"width": 8, "blocks": 1, "enhancer": enhancer},
        "discriminator": {"width": 4, "layers": 3, "scales": 2},
        "features": ["segmenter@1", "segmenter@2"],
        "feature_weights": [0.5, 1.0],
        "global_frozen_steps": int(enhancer == "local"),
        "loop": {"steps": 2, "score_every_steps": 2},
    }
    config = Pix2PixHDConfig.model_validate(fields)
    with FakeTensorMode():
        colors = torch.zeros(35, 3, dtype=torch.uint8)
        learner = Pix2PixHDLearner(config, context=PlainContext(tmp_path), colors=colors, features=Layers())
        maps = torch.zeros(2, 2, 64, 64, dtype=torch.uint8)
        for step in (1, 2):
            losses = learner.train_step(LabelMapBatch(labeled()["images"], maps), step)
    assert {"loss", "adversarial", "feature_matching", "perceptual", "discriminator"} < set(losses)


def test_the_guard_fires_where_a_value_is_read() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.zeros(3).sum().item()
