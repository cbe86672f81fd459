"""Training on pairs: what is refused before anything starts, and how the images of a pair are read."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.adaptation.test_bimix import COMMON, PAIRS
from tests.trainers.data.miniatures import pairs_of_blocks
from trainers.adaptation.bimix_config import Config as BiMixConfig
from trainers.components.configs import AugmentationConfig
from trainers.data.checks import check_split
from trainers.data.datasets import open_split
from trainers.data.images import PairImages
from trainers.data.pairs import AugmentedPairs, check_pairs
from trainers.errors import UserError
from trainers.registry import method


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


def test_a_night_in_two_pairs_is_refused(dark_zurich: Path, toy_city: Path):
    listing = dark_zurich / "zurich_dn_pair_train.csv"
    first, *_, last = listing.read_text().splitlines()
    night, other_day = first.split(",")[0], last.split(",")[1]
    listing.write_text(listing.read_text() + f"{night},{other_day}\n")
    text = refusal({"dark_zurich": dark_zurich, "toy_city": toy_city})
    assert f"{night}_rgb_anon.png is the night of several pairs; keep one of them" in text


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


@pytest.mark.parametrize("field", ["augmentation", "pair_augmentation"])
def test_a_scale_that_pads_the_pairs_is_refused(dark_zurich: Path, toy_city: Path, field: str):
    """Black borders would get labels, light losses and a share of the brightness that exposure aims at."""
    inputs = {"dark_zurich": dark_zurich, "toy_city": toy_city}
    text = refusal(inputs, "dannet", **{field: {"scale_min": 0.5}})
    assert f"{field}.scale_min 0.5 shrinks target images of height 32 to 16" in text
    assert f"set {field}.crop_height 16 or less, or a larger scale_min" in text
