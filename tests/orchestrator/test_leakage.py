"""The leak guard: direct leaks, copies of a test image, and what stages make of other splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.experiments import EXPERIMENTS, build, presets
from orchestrator.graph import Experiment
from orchestrator.leakage import check_targets, learned_splits
from orchestrator.overrides import assign
from trainers.errors import UserError


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in EXPERIMENTS for preset in presets(name)])
def test_no_arm_of_ours_is_refused(name: str, preset: str):
    study = build(name, preset)
    check_targets(study, [arm.confirming() for arm in study.arms.values()], {})


def refused(study: Experiment, arm: str, changes: dict[str, Any], message: str) -> None:
    wrong = assign(study, changes)
    with pytest.raises(UserError, match=message) as error:
        check_targets(wrong, [wrong.arms[arm]], {})
    assert "\n" not in str(error.value)


def test_images_generated_from_reported_label_maps_are_refused():
    study = build("label_balancing", "real")
    changes = {"images_recon.train": "cityscapes/val"}
    reported = "cityscapes/val is trained on and cityscapes/val is reported; take another split as"
    refused(study, "recon", changes, f"{reported} images_recon.train")
    refused(study, "recon_filtered", changes, f"{reported} images_recon.train")
    check_targets(assign(study, changes), [study.arms["baseline"], study.arms["copy_paste_recon"]], {})
    refused(study, "recon_filtered", {"agreeing_recon.split": "cityscapes/val"}, f"{reported} split")
    refused(study, "add_multi", {"maps_add_multi.split": "cityscapes/val"}, f"{reported} split")
    refused(study, "copy_paste", {"maps_add_multi.split": "cityscapes/val"}, f"{reported} split")


def test_a_translation_of_the_reported_nights_is_refused_where_it_is_learned_from():
    study = build("night_self_training", "toy_city")
    message = "toy_city/night_test is reported; take another split as perceptual_night.train"
    for arm in ("3.1", "7.1"):
        refused(study, arm, {"perceptual_night.train": "toy_city/night_test"}, message)
    # Nobody learns from the part that checkpoints are chosen on, nor does arm 1.1 from any translation.
    allowed = assign(study, {"perceptual_night.val": "toy_city/night_test"})
    check_targets(allowed, [allowed.arms["7.1"]], {})
    other = assign(study, {"perceptual_night.train": "toy_city/night_test"})
    check_targets(other, [other.arms["1.1"]], {})


def test_every_step_of_a_chain_is_followed():
    """Selected images of a pool that a stage split by light, and kept images of generated ones of recombined maps."""
    ends = {}
    for name in ("night_self_training", "label_balancing"):
        study = build(name, "real")
        found = [pair for stage in study.stages.values() for pair in learned_splits(study, stage)]
        ends |= {(stage, str(split)): None for stage, split in found if "." in stage}
    assert {("pool.pool", "nexet/all"), ("maps_recon.split", "cityscapes/train:2775")} <= set(ends)
    balancing = build("label_balancing", "real")
    pairs = learned_splits(balancing, balancing.stages["train_recon_filtered"])
    assert [(field, str(split)) for field, split in pairs] == [
        ("train", "cityscapes/train:2775"),
        ("maps_recon.split", "cityscapes/train:2775"),
    ]


def test_a_part_that_a_translation_does_not_make_is_left_to_whoever_opens_it():
    study = assign(build("night_self_training", "toy_city"), {"train_2_1.train": ["translated/unlabeled"]})
    assert ("train", "translated/unlabeled") in [
        (field, str(split)) for field, split in learned_splits(study, study.stages["train_2_1"])
    ]


def test_a_reported_split_is_refused_as_pool_and_as_reference():
    study = build("night_self_training", "toy_city")
    for changes in (
        {"select_fid.pool": "toy_city/night_test", "pool_features.split": "toy_city/night_test"},
        {"reference_features.split": "toy_city/night_test"},
    ):
        wrong = assign(study, changes)
        with pytest.raises(UserError, match="toy_city/night_test is trained on and toy_city/night_test is reported"):
            check_targets(wrong, [wrong.arms["7.1"]], {})
        check_targets(wrong, [wrong.arms["2.1"]], {})


def test_a_split_that_is_reported_translated_is_refused_too():
    """Row 4.2 scores the night test as day, and its selection must not see that either."""
    study = build("night_self_training", "toy_city")
    wrong = assign(study, {"select_his.pool": "toy_city/night_test"})
    with pytest.raises(UserError, match="toy_city/night_test is reported; take another split as pool"):
        check_targets(wrong, [wrong.arms["4.2"]], {})
    check_targets(wrong, [wrong.arms["2.3"]], {})


def test_a_pool_that_holds_a_test_image_is_refused_by_content(tmp_path: Path):
    """Under another name, and in a pool that a stage splits by light before anything is selected."""
    study = build("night_self_training", "real")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    test, labels = (tmp_path / "nighttime_driving" / name / "test/night" for name in
                    ("leftImg8bit", "gtCoarse_daytime_trainvaltest"))  # fmt: skip
    for folder in (test, labels, tmp_path / "nexet" / "nexet_2017_1"):
        folder.mkdir(parents=True)
    Image.fromarray(pixels).save(test / "0_leftImg8bit.png")
    Image.fromarray(pixels[..., 0] % 19).save(labels / "0_gtCoarse_labelIds.png")
    roots = {name: tmp_path / name for name in ("nexet", "nighttime_driving")}
    Image.fromarray(255 - pixels).save(roots["nexet"] / "nexet_2017_1" / "other.png")
    check_targets(study, [study.arms["7.1"]], roots)
    (roots["nexet"] / "nexet_2017_1" / "copy.png").write_bytes((test / "0_leftImg8bit.png").read_bytes())
    with pytest.raises(UserError, match=r"the pool nexet/all shares 1 image\(s\) with nighttime_driving/test"):
        check_targets(study, [study.arms["7.1"]], roots)
