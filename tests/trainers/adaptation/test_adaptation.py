"""What the adaptation methods refuse, never read, and leave behind, on tiny trees."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.adaptation.dacs import DACSLearner
from trainers.adaptation.dacs_config import Config as DACSConfig
from trainers.adaptation.fda_config import Config as FDAConfig
from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.domains import TargetImages
from trainers.data.images import SplitImages
from trainers.data.label_files import write_index, write_label
from trainers.data.overlap import check_apart, shared_images
from trainers.errors import UserError
from trainers.registry import method
from trainers.segmentation.trained import Trained, write_description

NIGHT = DataSplit(dataset="toy_city", split="night_val")
COMMON: dict[str, Any] = {
    "train": ["toy_city/day_train"],
    "select": "toy_city/day_val",
    "target": "toy_city/night_val",
    "height": 32,
    "width": 64,
}

LABELED = {name: value for name, value in COMMON.items() if name != "target"}


def refusal(name: str, inputs: dict[str, Path], **fields: Any) -> str:
    kind = method(name)
    with pytest.raises(UserError) as caught:
        kind.load().check(kind.config.model_validate({**COMMON, **fields}), inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def described(folder: Path, **network: Any) -> Path:
    write_description(folder, Trained(NetworkConfig(**network), 32, 64))
    return folder


def test_an_empty_window_is_refused_before_anything_starts(toy_city: Path):
    text = refusal("fda", {"toy_city": toy_city}, beta=0.03)
    assert "beta 0.03 gives an empty window at 32×64" in text
    assert "the smallest beta that works there is 0.0313" in text
    kind = method("fda")
    kind.load().check(kind.config.model_validate({**COMMON, "beta": 0.0313}), {"toy_city": toy_city})


def test_the_window_is_that_of_the_crop(toy_city: Path):
    crop = {"augmentation": {"crop_height": 32, "crop_width": 32}, "height": 128, "width": 128}
    assert "at 32×32" in refusal("fda", {"toy_city": toy_city}, beta=0.03, **crop)


@pytest.mark.parametrize("name", ["fda", "dacs"])
def test_domains_of_different_sizes_are_refused(name: str, toy_city: Path):
    text = refusal(name, {"toy_city": toy_city}, target_width=128, **({"beta": 0.1} if name == "fda" else {}))
    assert text == (
        "source images have width 64 and target images 128; set augmentation.crop_width, or target_width to 64"
    )


@pytest.mark.parametrize("name", ["fda", "dacs"])
def test_target_images_that_would_be_padded_are_refused(name: str, toy_city: Path):
    own = {"beta": 0.1} if name == "fda" else {}
    text = refusal(name, {"toy_city": toy_city}, augmentation={"scale_min": 0.5}, **own)
    assert text == (
        "augmentation.scale_min 0.5 shrinks target images of height 32 to 16, and what pads them to 32 would count as "
        "target; set augmentation.crop_height 16 or less, or a larger scale_min"
    )
    kind, fields = method(name), {**COMMON, **own, "height": 64, "width": 128}
    cropped = {"scale_min": 0.5, "crop_height": 32, "crop_width": 64}
    kind.load().check(kind.config.model_validate({**fields, "augmentation": cropped}), {"toy_city": toy_city})


def test_an_encoder_to_stay_near_must_know_something():
    kind = method("dacs")
    near = {**COMMON, "feature_distance": {"weight": 0.005}}
    check_sources = kind.load().check_sources
    with pytest.raises(UserError, match=r"feature_distance.weight 0.005 keeps features near those of random weights"):
        check_sources(kind.config.model_validate(near), {})
    check_sources(kind.config.model_validate(near), {"initial": method("supervised").config.model_validate(LABELED)})
    check_sources(kind.config.model_validate({**near, "network": {"weights": "imagenet"}}), {})


@pytest.mark.parametrize("name", ["supervised", "fda", "dacs"])
def test_a_start_from_another_network_is_refused(name: str, toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "initial": described(tmp_path, encoder="resnet34")}
    fields = {key: value for key, value in COMMON.items() if key != "target" or name != "supervised"}
    kind = method(name)
    with pytest.raises(UserError, match=r"trained another network .encoder 'resnet34' there and 'resnet18' here"):
        kind.load().check(kind.config.model_validate({**fields, **({"beta": 0.1} if name == "fda" else {})}), inputs)


def test_where_the_weights_came_from_does_not_matter_for_a_start(toy_city: Path, tmp_path: Path):
    inputs = {"toy_city": toy_city, "initial": described(tmp_path, weights="imagenet")}
    kind = method("dacs")
    kind.load().check(kind.config.model_validate(COMMON), inputs)


def test_an_unknown_mask_is_answered_with_the_nearest(toy_city: Path):
    assert "unknown mask 'clas': did you mean 'class'" in refusal("dacs", {"toy_city": toy_city}, mix={"mask": "clas"})


def test_the_target_s_labels_are_never_read(toy_city: Path, tmp_path: Path):
    """Wrong labels, even files that are no images, change nothing."""
    shutil.copytree(toy_city, tmp_path / "copy")
    for label in (tmp_path / "copy" / "night").rglob("*_labelIds.png"):
        label.write_bytes(b"no image")
    images = TargetImages({"toy_city": tmp_path / "copy"}, NIGHT, height=32, width=64)
    truth = SplitImages({"toy_city": toy_city}, NIGHT, height=32, width=64)
    for index in range(3):
        image, label = images[index]
        assert torch.equal(image, truth[index][0])
        assert (label == 255).all()
        assert (truth[index][1] != 255).any()


def test_pseudo_labels_take_the_labels_place_and_must_be_of_this_split_and_size(toy_city: Path, tmp_path: Path):
    labels = np.random.default_rng(0).integers(0, 19, (3, 32, 64)).astype(np.uint8)
    for index in range(3):
        write_label(tmp_path, index, labels[index])
    write_index(tmp_path, NIGHT, images=3, height=32, width=64)
    roots = {"toy_city": toy_city}
    images = TargetImages(roots, NIGHT, height=32, width=64, pseudo_labels=tmp_path)
    for index in range(3):
        np.testing.assert_array_equal(images[index][1], labels[index])
    with pytest.raises(UserError, match=r"the pseudo-labels are of other images .height 32 there and 64 here"):
        TargetImages(roots, NIGHT, height=64, width=64, pseudo_labels=tmp_path)
    day = DataSplit(dataset="toy_city", split="day_val")
    with pytest.raises(UserError, match="split 'toy_city/night_val' there and 'toy_city/day_val' here"):
        TargetImages(roots, day, height=32, width=64, pseudo_labels=tmp_path)


def camvid(root: Path, **splits: list[int]) -> Path:
    """Splits of images by number; equal numbers are equal images under names of their own."""
    (root / "images").mkdir(parents=True)
    for split, numbers in splits.items():
        names = [f"{split}_{place}" for place in range(len(numbers))]
        (root / f"{split}.txt").write_text("\n".join(names))
        for name, number in zip(names, numbers, strict=True):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"{name}.png")
            (root / "labels").mkdir(exist_ok=True)
            Image.fromarray(pixels[..., 0] % 11).save(root / "labels" / f"{name}.png")
    return root


def test_images_that_target_and_report_share_are_found_by_content(tmp_path: Path):
    roots = {"camvid": camvid(tmp_path, dusk_adapt=[1, 2, 3], dusk_val=[4, 3, 5], day_val=[6, 7])}
    target, report, other = (DataSplit(dataset="camvid", split=name) for name in ("dusk_adapt", "dusk_val", "day_val"))
    assert [(a.stem, b.stem) for a, b in shared_images(roots, target, report)] == [("dusk_adapt_2", "dusk_val_1")]
    check_apart(roots, target, other, what="target")
    with pytest.raises(UserError, match=r"the target camvid/dusk_adapt shares 1 image.s. with camvid/dusk_val"):
        check_apart(roots, target, report, what="target")
    with pytest.raises(UserError, match="shares 3 image"):
        check_apart(roots, target, target, what="target")


def test_a_made_split_cannot_be_target_and_report_at_once():
    check_apart({}, NIGHT, DataSplit(dataset="toy_city", split="night_test"), what="target")
    with pytest.raises(UserError, match="night_val is trained on and toy_city/night_val is reported"):
        check_apart({}, NIGHT, NIGHT, what="target")


class Stuck(DACSLearner):
    """Scores nothing and trains nothing: only the share of sure pixels counts here."""

    def __init__(self, config: DACSConfig, context: PlainContext) -> None:
        self.config, self.context = config, context
        self._confident, self._steps_since_score, self._has_warned = torch.zeros(()), 0, False


@pytest.mark.parametrize(("level", "words"), [(0.1, ["0.0 %", "lower threshold", "train the source stage longer"]),
                                              (0.999, ["100.0 %", "raise it", "did not collapse"])])  # fmt: skip
def test_a_threshold_that_separates_nothing_is_told_once(level: float, words: list[str], tmp_path: Path):
    learner = Stuck(DACSConfig.model_validate(COMMON), PlainContext(tmp_path))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            learner._share_of_sure(torch.full((2, 4, 4), level))
            learner._warn_if_stuck()
    assert len(told) == 1
    assert "of the target's pixels reach threshold 0.968" in str(told[0].message)
    assert all(word in str(told[0].message) for word in words)


def test_a_threshold_that_separates_or_is_not_used_is_not_told(tmp_path: Path):
    half = torch.stack([torch.full((4, 4), 0.99), torch.full((4, 4), 0.5)])
    unused = {**COMMON, "weight": "none"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fields, confidence in ((COMMON, half), (unused, torch.zeros(2, 4, 4))):
            learner = Stuck(DACSConfig.model_validate(fields), PlainContext(tmp_path))
            learner._share_of_sure(confidence)
            learner._warn_if_stuck()


def test_defaults_are_the_published_ones():
    dacs, fda = DACSConfig.model_validate(COMMON), FDAConfig.model_validate(COMMON)
    assert (dacs.threshold, dacs.teacher.rate, dacs.mix.share, dacs.unlabeled_weight) == (0.968, 0.01, 0.5, 1.0)
    assert (dacs.mix.jitter_strength, dacs.mix.jitter_probability, dacs.mix.blur_probability) == (0.25, 0.8, 0.5)
    assert (fda.beta, fda.entropy_weight, fda.eta) == (0.01, 0.005, 2.0)
    assert json.loads(dacs.model_dump_json())["target"] == "toy_city/night_val"
