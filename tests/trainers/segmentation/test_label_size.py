"""Scores at the labels' own size, against a slow loop; of labels of several sizes; and where they are the default."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.experiments import EXPERIMENTS, build, presets
from tests.contracts.tiny import merge, tiny
from tests.references import evaluation as reference
from trainers.config import keyed
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.images import SplitImages
from trainers.data.own_labels import common_size, own_labels
from trainers.errors import UserError
from trainers.evaluation import predicted_at
from trainers.registry import method
from trainers.segmentation.evaluate import check, check_sources
from trainers.segmentation.evaluate_config import Config
from trainers.segmentation.predict import Prediction, predict
from trainers.segmentation.trained import load_predictor

SIZES = ((48, 96), (40, 64), (96, 128))
"""Of the labels below, height and width; the network's input is 32×64."""


def draw(root: Path, sizes: tuple[tuple[int, int], ...] = SIZES) -> Path:
    """A labeled folder: blocks of three classes and of ignored pixels, colored by their class with noise."""
    dice = np.random.default_rng(0)
    colors = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [0, 0, 0]])
    for number, (height, width) in enumerate(sizes):
        label = np.kron(dice.integers(0, 4, (height // 8, width // 8)), np.ones((8, 8), dtype=int))
        image = (colors[label] + dice.integers(0, 40, (height, width, 3))).astype(np.uint8)
        label = np.where(label == 3, 255, label).astype(np.uint8)
        for kind, pixels in (("images", image), ("labels", label)):
            for split in ("train", "val"):
                folder = root / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (root / "classes.yaml").write_text("{0: road, 1: car, 2: sky, 255: ignore}")
    return root


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A labeled folder of three sizes, and a segmenter that learned it a little at 32×64."""
    root = tmp_path_factory.mktemp("own")
    sources = {"labeled_folder": draw(root / "labeled_folder")}
    changes = {"train": ["labeled_folder/train"], "select": "labeled_folder/val", "loop": {"steps": 4}}
    kind = method("supervised")
    config = kind.config.model_validate(merge(tiny("supervised").config, changes)).resolved(device_type="cpu")
    output = root / "segmenter"
    output.mkdir()
    kind.load().run(config, sources, output, 0, PlainContext(root / "unused"))
    return {"labeled_folder": sources["labeled_folder"], "segmenter": output}


def evaluate(inputs: dict[str, Path], folder: Path, **changes: Any) -> dict[str, Any]:
    config = Config.model_validate({"split": "labeled_folder/val", "checkpoint": "final", "pictures": 0, **changes})
    folder.mkdir(exist_ok=True)
    context = PlainContext(folder / "unused")
    result: dict[str, Any] = (
        method("evaluation").load().run(config.resolved(device_type="cpu"), inputs, folder, None, context)
    )
    return result


def low_logits(inputs: dict[str, Path]) -> tuple[SplitImages, torch.Tensor]:
    """The images of the split and their logits at the network's input."""
    split = SplitImages(inputs, DataSplit.model_validate("labeled_folder/val"), height=32, width=64)
    segmenter, _, _ = load_predictor(inputs, "final")
    with torch.inference_mode():
        return split, segmenter.eval()(torch.stack([split[index][0] for index in range(len(split))]))


@pytest.mark.parametrize("size", [(48, 96), (5, 7), (4, 8), (9, 3)])
def test_logits_are_resized_as_the_slow_loop_does(size: tuple[int, int]):
    logits = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(size[0]))
    expected = reference.best_classes(reference.enlarged(logits.tolist(), *size))
    assert predicted_at(logits, size).tolist() == expected


def test_labels_of_several_sizes_are_scored_each_at_its_own(own: dict[str, Path], tmp_path: Path):
    result = evaluate(own, tmp_path / "evaluated", batch_size=2)
    split, logits = low_logits(own)
    truth, predicted = [], []
    for index, (height, width) in enumerate(SIZES):
        path = split.samples[index].label
        assert path is not None
        label = np.array(Image.open(path))
        assert label.shape == (height, width)
        truth += np.array([0, 13, 10, *[255] * 253])[label].flatten().tolist()
        enlarged = reference.enlarged(logits[index].tolist(), height, width)
        predicted += [one for row in reference.best_classes(enlarged) for one in row]
    sets = reference.class_sets(truth, predicted, 19)
    assert result["miou"] == pytest.approx(reference.miou(sets, (0, 10, 13)))
    assert result["pixel_accuracy"] == pytest.approx(reference.pixel_accuracy(sets))
    assert sum(result["confusion"]) == sum(one != 255 for one in truth)
    assert (result["label_height"], result["label_width"]) == (None, None)
    assert (result["height"], result["width"]) == (32, 64)


def test_the_same_network_has_another_score_at_the_input_s_size_and_the_same_infomax(
    own: dict[str, Path], tmp_path: Path
):
    at_label, at_input = (evaluate(own, tmp_path / size, score_size=size) for size in ("label", "input"))
    assert at_label["miou"] != at_input["miou"]
    assert sum(at_input["confusion"]) < 3 * 32 * 64 < sum(at_label["confusion"])
    assert (at_input["label_height"], at_input["label_width"]) == (32, 64)
    assert at_label["infomax"] == pytest.approx(at_input["infomax"], abs=1e-9)


def test_a_perfect_prediction_of_a_smaller_size_is_not_perfect_at_the_labels_own():
    fine = torch.randint(0, 3, (32, 64), generator=torch.Generator().manual_seed(0))
    label = fine[1::2, 1::2]  # What is compared at the input's size.
    perfect = torch.nn.functional.one_hot(label, 19).permute(2, 0, 1).float()
    assert torch.equal(predicted_at(perfect, (16, 32)), label)
    at_own = predicted_at(perfect, (32, 64))
    assert at_own.tolist() == reference.best_classes(reference.enlarged(perfect.tolist(), 32, 64))
    assert 0.4 < (at_own == fine).float().mean() < 0.6


def test_it_does_not_depend_on_batches_or_ranks(own: dict[str, Path], tmp_path: Path):
    whole = evaluate(own, tmp_path / "whole", batch_size=8)
    for changes in ({"batch_size": 1}, {"loader_workers": 1}):
        assert evaluate(own, tmp_path / "again", **changes)["confusion"] == whole["confusion"]
    split = SplitImages(own, DataSplit.model_validate("labeled_folder/val"), height=32, width=64)
    shares = [list(own_labels(split, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [tuple(one.shape) for share in shares for one in share] == [SIZES[0], SIZES[2], SIZES[1]]


def test_a_prediction_is_that_of_predict(own: dict[str, Path]):
    split, logits = low_logits(own)
    segmenter, _, _ = load_predictor(own, "final")
    paths = [sample.image for sample in split.samples]
    cpu = torch.device("cpu")
    for one, given, size in zip(
        predict(segmenter.eval(), paths, height=32, width=64, batch_size=1, device=cpu), logits, SIZES, strict=True
    ):
        assert isinstance(one, Prediction)
        assert (one.train_ids == predicted_at(given, size).numpy()).mean() > 0.999


def test_the_size_of_a_row_is_that_of_its_labels(own: dict[str, Path], tmp_path: Path):
    root = draw(tmp_path / "one_size", ((48, 96), (48, 96)))
    result = evaluate({**own, "labeled_folder": root}, tmp_path / "evaluated")
    assert (result["label_height"], result["label_width"]) == (48, 96)
    samples = SplitImages(own, DataSplit.model_validate("labeled_folder/val"), height=32, width=64).samples
    assert common_size(samples[:1]) == (48, 96)
    assert common_size(samples) == (None, None)


def test_packed_labels_have_no_size_of_their_own(own: dict[str, Path], tmp_path: Path):
    config = method("pack").config.model_validate({"splits": ["labeled_folder/val"], "height": 32, "width": 64})
    (tmp_path / "packed").mkdir()
    method("pack").load().run(config, own, tmp_path / "packed", None, PlainContext(tmp_path / "unused"))
    packed = {"labeled_folder": tmp_path / "packed"}
    given = Config.model_validate({"split": "labeled_folder/val"})
    for refused in (lambda: check(given, packed), lambda: check_sources(given, {**SOURCES, "labeled_folder": config})):
        with pytest.raises(UserError, match=r"packed.* no labels at their own size; .*score_size=input"):
            refused()
    at_input = given.model_copy(update={"score_size": "input"})
    check(at_input, packed)
    check_sources(at_input, {**SOURCES, "labeled_folder": config})


SOURCES = {"segmenter": method("adabn").config.model_validate({"target": "labeled_folder/val"})}


def test_own_data_is_scored_at_label_size_and_its_key_says_so():
    given = {split: Config.model_validate({"split": split}) for split in ("labeled_folder/val", "toy_city/day_val")}
    keys = {split: keyed(config.resolved(device_type="cpu")) for split, config in given.items()}
    assert keys["labeled_folder/val"]["score_size"] == "label"
    assert "score_size" not in keys["toy_city/day_val"]
    for split, size, key in (
        ("labeled_folder/val", "input", "input"),
        ("toy_city/day_val", "input", None),
        ("toy_city/day_val", "label", "label"),
    ):
        config = Config.model_validate({"split": split, "score_size": size}).resolved(device_type="cpu")
        assert keyed(config).get("score_size") == key
        assert config.at_label_size() == (size == "label")
        assert config.resolved(device_type="cpu") == config


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in EXPERIMENTS for preset in presets(name)])
def test_presets_with_real_data_score_at_label_size_and_the_small_ones_as_before(name: str, preset: str):
    evaluations = [stage.config for stage in build(name, preset).stages.values() if stage.method == "evaluation"]
    assert {config.resolved(device_type="cpu").at_label_size() for config in evaluations} == {preset == "real"}
