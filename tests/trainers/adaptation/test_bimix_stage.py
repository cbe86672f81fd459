"""A tiny Bi-Mix stage from its inputs to what others make of it: description, evaluation, pictures, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.data.miniatures import pairs_of_blocks
from trainers.checkpoint import load_state
from trainers.components.class_weights import class_weights
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.errors import UserError
from trainers.evaluation import confusion_matrix
from trainers.networks.relighting import RelitSegmenter
from trainers.registry import method
from trainers.segmentation.trained import load_segmenter, read_description

FIELDS: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/night_val",
    "target": "dark_zurich/pairs",
    "height": 32,
    "width": 64,
    "batch_size": 2,
    "relighting": {"kind": "curves", "width": 4},
    "light": {"patch": 8},
    "adversarial": {"width": 4},
    "class_weights": {"frequencies": "source"},
    "pictures": 1,
    "loop": {"steps": 2, "score_every_steps": 2, "log_every_steps": 1, "checkpoint_every_steps": 1},
}


@pytest.fixture(scope="module")
def roots(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"toy_city": toy_city, "dark_zurich": pairs_of_blocks(tmp_path_factory.mktemp("dark_zurich"))}


@pytest.fixture(scope="module")
def stage(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, kind = tmp_path_factory.mktemp("bimix"), method("bimix")
    config = kind.config.model_validate(FIELDS)
    result = kind.load().run(config, roots, folder, 0, PlainContext(folder / "checkpoints"))
    assert result["unlabeled_images"] == 5
    return folder


def evaluate(stage: Path, roots: dict[str, Path], folder: Path, **fields: Any) -> dict[str, Any]:
    kind = method("evaluation")
    config = kind.config.model_validate({"split": "toy_city/night_val", "checkpoint": "final", "pictures": 0, **fields})
    inputs = {**roots, "segmenter": stage}
    kind.load().check(config, inputs)
    found: dict[str, Any] = kind.load().run(config, inputs, folder, None, PlainContext(folder))
    return found


def test_what_relights_is_kept_with_the_weights(stage: Path, roots: dict[str, Path]):
    segmenter, trained, step = load_segmenter(stage, "final")
    assert isinstance(segmenter, RelitSegmenter)
    assert (trained.relighting.kind, trained.relighting.width, step) == ("curves", 4, 2)
    weights = load_state(stage / "final.pt")["weights"]
    assert any(name.startswith("relighting.") for name in weights)
    split = DataSplit(dataset="toy_city", split="day_train")
    pixels = SplitImages(roots, split, height=32, width=64).class_pixels().sum(axis=0)
    np.testing.assert_allclose(trained.class_frequencies, pixels / pixels.sum())
    assert read_description(stage) == trained


@pytest.mark.parametrize("strength", [0.0, 0.16])
def test_an_evaluation_relights_and_weighs_logits(strength: float, stage: Path, roots: dict[str, Path], tmp_path: Path):
    found = evaluate(stage, roots, tmp_path, class_weight_strength=strength)
    segmenter, trained, _ = load_segmenter(stage, "final")
    images = SplitImages(roots, DataSplit(dataset="toy_city", split="night_val"), height=32, width=64)
    weights = class_weights(trained.class_frequencies, strength)[:, None, None]
    confusion = torch.zeros(19, 19, dtype=torch.long)
    plain = torch.zeros(19, 19, dtype=torch.long)
    with torch.inference_mode():
        for image, label in (images[index] for index in range(len(images))):
            segmenter.eval()
            relit = segmenter.relight(image[None]).images
            logits = segmenter.segment(relit)
            confusion += confusion_matrix(label[None], (logits * weights).argmax(dim=1))
            plain += confusion_matrix(label[None], segmenter.segment(image[None]).argmax(dim=1))
    assert found["confusion"] == confusion.flatten().tolist()
    assert found["confusion"] != plain.flatten().tolist()


def test_a_stage_without_class_weights_takes_none_in_a_test(stage: Path, roots: dict[str, Path], tmp_path: Path):
    for name in ("final.pt", "best.pt"):
        (tmp_path / name).symlink_to(stage / name)
    described = json.loads((stage / "segmenter.json").read_text())
    del described["class_frequencies"]
    (tmp_path / "segmenter.json").write_text(json.dumps(described))
    evaluate(tmp_path, roots, tmp_path)
    with pytest.raises(UserError, match="trained without class weights"):
        evaluate(tmp_path, roots, tmp_path, class_weight_strength=0.1)


def test_pictures_show_both_lights_both_mixes_and_labels(stage: Path):
    kinds = [entry["kind"] for entry in json.loads((stage / "pictures.json").read_text())]
    assert set(kinds) == {
        "source", "day", "night", "relit source", "relit day", "relit night", "source on night", "mixed label",
        "day on night", "static label",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["supervised", "dannet"])
def test_a_start_from_a_network_behind_a_relighting_is_refused(name: str, stage: Path, roots: dict[str, Path]):
    kind = method(name)
    fields = {key: value for key, value in FIELDS.items() if key in kind.config.model_fields}
    config = kind.config.model_validate({**fields, "select": "toy_city/day_val"})
    text = r"trained its network behind a relighting .curves., without which it sees other images"
    with pytest.raises(UserError, match=text):
        kind.load().check(config, {**roots, "initial": stage})
    with pytest.raises(UserError, match=text):
        kind.load().check_sources(config, {"initial": method("bimix").config.model_validate(FIELDS)})


def test_a_checkpoint_of_other_discriminators_is_named(stage: Path, roots: dict[str, Path], tmp_path: Path):
    kind = method("bimix")
    config = kind.config.model_validate({**FIELDS, "adversarial": {"width": 8}})
    with pytest.raises(UserError, match="the checkpoint's discriminators do not fit this configuration"):
        kind.load().run(config, roots, tmp_path, 0, PlainContext(stage / "checkpoints"))
