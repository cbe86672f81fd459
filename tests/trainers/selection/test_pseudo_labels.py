"""The stage that labels a split: what is kept, averaged views, agreement, a kill in between, unfit teachers."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from tests.references import selection as reference
from tests.references.adaptation import class_threshold
from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.domains import TargetImages
from trainers.errors import UserError
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.supervised_config import Config as SupervisedConfig
from trainers.segmentation.trained import Trained, load_predictor, read_description, write_description
from trainers.selection import pseudo_labels
from trainers.selection.pseudo_labels_config import Config
from trainers.selection.views import averaged

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Like a signal."""


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two untrained ones, as training stages leave them."""
    folders = []
    for seed in (0, 1):
        folder, network = tmp_path_factory.mktemp("teacher"), NetworkConfig()
        torch.manual_seed(seed)
        weights = build_segmenter(network, pretrained=False).state_dict()
        torch.save({"weights": weights, "step": 1}, folder / "final.pt")
        write_description(folder, Trained(network, 32, 64, class_set="cityscapes19"))
        folders.append(folder)
    return folders


def label(folder: Path, inputs: Mapping[str, Path], *, kill_at: int | None = None, **fields: Any) -> dict[str, Any]:
    config = Config.model_validate({"target": "toy_city/day_train", "height": 32, "width": 64, **fields})

    def listen(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == kill_at:
            raise Killed

    (folder / "output").mkdir(parents=True, exist_ok=True)
    context = PlainContext(folder / "checkpoints", on_report=listen)
    return pseudo_labels.run(config, inputs, folder / "output", None, context)


def labels_of(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(path)) for path in sorted((folder / "output" / "labels").glob("*.png"))]


def predictions(inputs: Mapping[str, Path]) -> tuple[Tensor, Tensor]:
    """Labels and confidences of all images, one by one."""
    network, _, _ = load_predictor(inputs, "final")
    images = TargetImages(inputs, DataSplit.model_validate("toy_city/day_train"), height=32, width=64)
    with torch.no_grad():
        maps = torch.cat([network.eval()(images[index][0][None]).softmax(dim=1) for index in range(len(images))])
    confidence, labels = maps.max(dim=1)
    return labels, confidence


@pytest.mark.parametrize("keep", ["class_quantile", "threshold", "all"])
def test_what_is_kept(keep: str, toy_city: Path, teachers: list[Path], tmp_path: Path):
    inputs = {"toy_city": toy_city, "segmenter": teachers[0]}
    expected, confidence = predictions(inputs)
    middle = round(float(confidence.median()), 3)
    result = label(tmp_path, inputs, keep=keep, threshold=middle)
    found = torch.from_numpy(np.stack(labels_of(tmp_path))).long()
    if keep == "class_quantile":
        limits = torch.zeros(19)
        for train_id in expected.unique().tolist():
            limits[train_id] = class_threshold(confidence[expected == train_id].tolist(), quantile=0.66, cap=0.9)
        limit = limits[expected]
    else:
        limit = torch.full_like(confidence, middle if keep == "threshold" else 0.0)
    sure = (confidence - limit).abs() > 1e-3  # A bin's width, and other batches.
    assert sure.float().mean() > 0.9
    assert torch.equal(found[sure], expected.where(confidence > limit, 255)[sure])
    assert result["kept"] == pytest.approx(float((found != 255).float().mean()))
    assert (result["kept"] == 1) == (keep == "all")
    assert sum(result["kept_pixels"].values()) == int((found != 255).sum())
    described = json.loads((tmp_path / "output" / "labels.json").read_text())
    assert described["class_set"] == "cityscapes19"
    assert {entry["kind"] for entry in json.loads((tmp_path / "output" / "pictures.json").read_text())} == {
        "target", "pseudo-label", "confidence",
    }  # fmt: skip


def tiny_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    convolution = nn.Conv2d(3, 5, 3, padding=1).double()

    class Network(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return convolution(images.double() / 40).float()

    return Network()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("members", [1, 2])
def test_views_are_averaged_and_agree_where_all_do(flip: bool, members: int):
    images = torch.randint(0, 256, (2, 3, 5, 6), dtype=torch.uint8)
    networks = [tiny_network(seed) for seed in range(members)]
    maps = []
    with torch.no_grad():
        labels, confidence, agree = averaged(networks, images, scales=(1.0,), flip=flip)
        for network in networks:
            maps.append(network(images).softmax(dim=1).numpy())
            if flip:
                mirrored = torch.from_numpy(images.numpy()[..., ::-1].copy())
                maps.append(network(mirrored).softmax(dim=1).numpy()[..., ::-1])
    expected = reference.mean_and_agreement(maps)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_allclose(confidence, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(agree, expected[2])
    assert bool(agree.all()) == (len(maps) == 1)


def test_a_scale_sees_the_image_at_another_size_and_answers_in_its_own():
    sizes = []

    class Network(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(tuple(images.shape[-2:]))
            left = (images.float().mean(dim=1, keepdim=True) > 100).float()
            return 9 * torch.cat([left, 1 - left], dim=1)

    images = torch.zeros(1, 3, 64, 128, dtype=torch.uint8)
    images[..., :64] = 200
    labels, confidence, agree = averaged([Network()], images, scales=(0.5, 1.0, 1.7), flip=True)
    assert sizes == [(32, 64), (32, 64), (64, 128), (64, 128), (96, 224), (96, 224)]
    assert labels.shape == (1, 64, 128)
    assert (labels[..., :60] == 0).all()
    assert (labels[..., 68:] == 1).all()
    assert agree[..., :60].all()
    assert float(confidence[..., 0].min()) > 0.99


@pytest.mark.parametrize("members", [1, 2])
def test_the_stage_averages_the_views_that_it_is_asked_for(
    members: int, toy_city: Path, teachers: list[Path], tmp_path: Path
):
    inputs = {"toy_city": toy_city, **dict(zip(("segmenter", "segmenter_2"), teachers[:members], strict=False))}
    views: dict[str, Any] = {"scales": (1.0, 2.0), "flip": True}
    label(tmp_path, inputs, keep="all", **views)
    networks = [load_predictor({"segmenter": teacher}, "final")[0].eval() for teacher in teachers[:members]]
    images = TargetImages(inputs, DataSplit.model_validate("toy_city/day_train"), height=32, width=64)
    with torch.no_grad():
        expected = torch.cat([averaged(networks, images[index][0][None], **views)[0] for index in range(len(images))])
    found = torch.from_numpy(np.stack(labels_of(tmp_path))).long()
    assert (found == expected).float().mean() > 0.999
    assert (found == predictions(inputs)[0]).float().mean() < 0.999


def test_what_keeps_nothing_or_filters_nothing_is_refused(toy_city: Path, teachers: list[Path], tmp_path: Path):
    inputs = {"toy_city": toy_city, "segmenter": teachers[0]}
    with pytest.raises(
        UserError, match="no pixel of toy_city/day_train has a pseudo-label: no prediction reaches threshold 1; "
    ):
        label(tmp_path, inputs, keep="threshold", threshold=1.0)
    common = {"target": "toy_city/day_train", "height": 32, "width": 64, "agreement": True}
    city = SupervisedConfig.model_validate(
        {"train": ["toy_city/day_train"], "select": "toy_city/day_val", "height": 32, "width": 64}
    )
    with pytest.raises(UserError, match=r"one segmenter on one view makes a single one; set flip"):
        pseudo_labels.check_sources(Config.model_validate(common), {"segmenter": city})
    pseudo_labels.check_sources(Config.model_validate({**common, "flip": True}), {"segmenter": city})
    pseudo_labels.check_sources(Config.model_validate(common), {"segmenter": city, "segmenter_2": city})


def test_segmenters_of_different_classes_are_not_averaged(teachers: list[Path], tmp_path: Path):
    shutil.copytree(teachers[1], tmp_path / "camvid")
    write_description(tmp_path / "camvid", Trained(NetworkConfig(), 32, 64, class_set="camvid11"))
    with pytest.raises(UserError, match="segmenter learned the classes cityscapes19, and segmenter_2 learned camvid11"):
        load_predictor({"segmenter": teachers[0], "segmenter_2": tmp_path / "camvid"}, "final")


def test_agreement_drops_what_the_segmenters_dispute(toy_city: Path, teachers: list[Path], tmp_path: Path):
    inputs = {"toy_city": toy_city, "segmenter": teachers[0], "segmenter_2": teachers[1]}
    result = label(tmp_path, inputs, keep="all", agreement=True)
    each = [predictions({"toy_city": toy_city, "segmenter": teacher})[0] for teacher in teachers]
    kept = torch.from_numpy(np.stack(labels_of(tmp_path))).long() != 255
    assert (kept == (each[0] == each[1])).float().mean() > 0.999
    assert 0 < result["kept"] < 1
    counted = label(tmp_path / "counted", inputs, agreement=True, quantile=0.0, cap=1.0)
    assert counted["kept"] == pytest.approx(result["kept"], abs=1e-3)


# Seven images: one pass with ``all``, and before it one that counts with ``class_quantile``.
@pytest.mark.parametrize(
    ("keep", "kill_at"), [("class_quantile", 2), ("class_quantile", 6), ("class_quantile", 11), ("all", 2), ("all", 6)]
)
def test_a_killed_labeling_goes_on_behind_its_last_checkpoint(
    keep: str, kill_at: int, toy_city: Path, teachers: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = {"toy_city": toy_city, "segmenter": teachers[0]}
    options: dict[str, Any] = {"keep": keep, "batch_size": 1, "checkpoint_every_batches": 1}
    whole = label(tmp_path / "whole", inputs, **options)
    with pytest.raises(Killed):
        label(tmp_path / "killed", inputs, kill_at=kill_at, **options)
    for path in (tmp_path / "killed" / "output").rglob("*.png"):
        path.unlink()
    seen = []
    predict = pseudo_labels._predict
    monkeypatch.setattr(pseudo_labels, "_predict", lambda *given: (seen.append(1), predict(*given))[1])
    resumed = label(tmp_path / "killed", inputs, **options)
    assert resumed == whole
    assert len(seen) == (14 if keep == "class_quantile" else 7) - kill_at + pseudo_labels.NUM_PICTURES
    pairs = list(zip(labels_of(tmp_path / "killed"), labels_of(tmp_path / "whole"), strict=True))
    assert len(pairs) == 7
    assert all(np.array_equal(one, other) for one, other in pairs)
    shown, all_shown = ({path.name: path.read_bytes() for path in (tmp_path / run / "output" / "pictures").iterdir()}
                        for run in ("killed", "whole"))  # fmt: skip
    assert shown == all_shown
    assert len(shown) == 3 * pseudo_labels.NUM_PICTURES


def test_teachers_of_different_classes_are_refused():
    common = {"height": 32, "width": 64}
    city = SupervisedConfig.model_validate({"train": ["toy_city/day_train"], "select": "toy_city/day_val", **common})
    camvid = SupervisedConfig.model_validate({"train": ["camvid/day_train"], "select": "camvid/day_val", **common})
    config = Config.model_validate({"target": "toy_city/day_train", **common})
    pseudo_labels.check_sources(config, {"segmenter": city, "segmenter_2": city})
    with pytest.raises(
        UserError, match=r"learned different classes: cityscapes19 \(segmenter, trained on toy_city/day"
    ):
        pseudo_labels.check_sources(config, {"segmenter": city, "segmenter_2": camvid})
    with pytest.raises(ValidationError, match=r"scales must lie in \(0, 4\], got \[1\.0, 5\.0\]"):
        Config.model_validate({"target": "toy_city/day_train", **common, "scales": [1.0, 5.0]})


def test_a_segmenter_says_which_classes_it_learned(teachers: list[Path]):
    assert read_description(teachers[0]).class_set == "cityscapes19"
