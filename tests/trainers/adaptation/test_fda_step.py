"""FDA's losses put together, labels of an earlier stage, and the averaged prediction that such labels come from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.adaptation import fda
from trainers.adaptation.fda_config import Config
from trainers.checkpoint import save_state
from trainers.components import fourier
from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.label_files import write_index, write_label
from trainers.errors import UserError
from trainers.networks.segmentation import build_segmenter
from trainers.segmentation.trained import Ensemble, Trained, load_predictor, write_description
from trainers.selection.pseudo_labels_config import Config as LabelsConfig

NIGHT = DataSplit(dataset="toy_city", split="night_val")
WEIGHT = 0.25

pytestmark = pytest.mark.usefixtures("deterministic")


def curves(toy_city: Path, folder: Path, **inputs: Path) -> dict[str, list[float]]:
    """Two steps of FDA, step by step."""
    config = Config.model_validate(
        {
            "train": ["toy_city/day_train"], "select": "toy_city/day_val", "target": "toy_city/night_val",
            "height": 32, "width": 64, "batch_size": 2, "beta": 0.1, "entropy_weight": WEIGHT, "loss": {"alpha": 1.0},
            "loop": {"steps": 2, "score_every_steps": 2, "log_every_steps": 1},
        }
    ).resolved(device_type="cpu")  # fmt: skip
    folder.mkdir()
    fda.run(config, {"toy_city": toy_city, **inputs}, folder, 0, PlainContext(folder / "checkpoints"))
    kinds = {entry["kind"] for entry in json.loads((folder / "pictures.json").read_text())}
    assert kinds == {"source", "target", "transferred", "truth"}
    found: dict[str, list[float]] = {}
    for _, name, value in json.loads((folder / "curves.json").read_text()):
        found.setdefault(name, []).append(value)
    return found


def test_labels_of_an_earlier_stage_are_learned_from_where_there_are_any(toy_city: Path, tmp_path: Path):
    labels = tmp_path / "labels"
    labels.mkdir()
    for index in range(3):
        write_label(labels, index, np.random.default_rng(index).integers(0, 19, (32, 64)).astype(np.uint8))
    write_index(labels, NIGHT, images=3, height=32, width=64)
    without, with_labels = curves(toy_city, tmp_path / "0"), curves(toy_city, tmp_path / "1", pseudo_labels=labels)
    assert "pseudo_label" not in without
    assert with_labels["cross_entropy"][0] == pytest.approx(without["cross_entropy"][0], rel=1e-6)
    for found in (without, with_labels):
        parts = [found["cross_entropy"], [WEIGHT * one for one in found["entropy"]], found.get("pseudo_label", [0, 0])]
        assert found["loss"] == pytest.approx([sum(step) for step in zip(*parts, strict=True)], rel=1e-5)
    assert with_labels["pseudo_label"][0] > 1  # Random labels are learned by nobody in a step.
    assert with_labels["cross_entropy"][1] != without["cross_entropy"][1]


def test_labels_of_other_classes_or_of_another_size_are_refused(toy_city: Path, tmp_path: Path):
    labels = tmp_path / "labels"
    labels.mkdir()
    for index in range(3):
        write_label(labels, index, np.zeros((32, 64), np.uint8))
    write_index(labels, NIGHT, images=3, height=32, width=64, class_set="camvid11")
    with pytest.raises(UserError, match="the teacher learned the classes camvid11, and the labeled images have city"):
        curves(toy_city, tmp_path / "run", pseudo_labels=labels)
    common = {"train": ["toy_city/day_train"], "select": "toy_city/day_val", "height": 32, "width": 64}
    config = Config.model_validate({**common, "target": "toy_city/night_val"})
    made = LabelsConfig.model_validate({"target": "toy_city/night_val", "height": 32, "width": 64})
    fda.check_sources(config, {"pseudo_labels": made})
    for field, value in (("width", 96), ("target", DataSplit(dataset="toy_city", split="night_train"))):
        with pytest.raises(UserError, match=f"made with {field} {value} and trained on with"):
            fda.check_sources(config, {"pseudo_labels": made.model_copy(update={field: value})})


def test_an_ensemble_s_probability_is_the_mean_of_its_members(tmp_path: Path):
    """Two networks as stages leave them behind, by the roles that the graph gives them."""
    members, inputs = [], {}
    for number, role in enumerate(("segmenter", "segmenter_2", "segmenter_3")):
        torch.manual_seed(number)
        folder = tmp_path / role
        folder.mkdir()
        members.append(build_segmenter(NetworkConfig(), pretrained=False).eval())
        save_state(folder / "final.pt", {"weights": members[-1].state_dict(), "step": number})
        write_description(folder, Trained(NetworkConfig(), 32, 64))
        inputs[role] = folder
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    network, _, _ = load_predictor(inputs, "final")
    assert isinstance(network, Ensemble)
    with torch.inference_mode():
        found = network.eval()(images).softmax(dim=1).double()
        each = [one(images).softmax(dim=1).double() for one in members]
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    torch.testing.assert_close(found, sum(each) / 3, rtol=1e-5, atol=1e-7)


def test_frequencies_are_computed_in_whole_float32_whatever_a_training_allows(monkeypatch: pytest.MonkeyPatch):
    """Tensor cores would round to ten bits: .05 grey levels."""
    products, seen, waves = torch.backends.cuda.matmul, [], fourier._waves

    def watched(*given: object) -> object:
        seen.append(products.allow_tf32)
        return waves(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fourier, "_waves", watched)
    images = torch.rand(1, 3, 32, 64) * 255
    before = products.allow_tf32
    for allowed in (True, False):
        products.allow_tf32 = allowed
        fourier.transfer_style(images, images.flip(3), 0.1)
        assert products.allow_tf32 == allowed
    products.allow_tf32 = before
    assert len(seen) >= 2
    assert not any(seen)
