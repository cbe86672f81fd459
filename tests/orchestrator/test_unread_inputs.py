"""Inputs that a configuration does not read are no inputs: neither keyed, nor waited for, nor made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts import Store
from orchestrator.execute import Walk
from orchestrator.experiments import build
from orchestrator.graph import Experiment, Seeds, plan
from orchestrator.overrides import assign
from orchestrator.trial import Place, Trial
from tests.orchestrator.fakes import fingerprint
from tests.orchestrator.test_golden_keys import GOLDEN

SEEDS = Seeds(0, 0, "declared")
STEPS = {"segmenter.loop.steps": 5}


def keys(experiment: Experiment, arm: str) -> dict[str, str]:
    planned = plan(experiment, experiment.arms[arm], seeds=SEEDS, fingerprints=fingerprint)
    return {name: stage.key for name, stage in planned.items()}


def changed(preset: str, arm: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> set[str]:
    study = build("night_translation", preset)
    before, after = (keys(assign(study, fields), arm) for fields in (first, {**first, **second}))
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_segmenter_that_no_features_are_taken_of_changes_no_key():
    assert changed("real", "perceptual", {}, STEPS) == set()
    assert "segmenter" not in keys(build("night_translation", "real"), "perceptual")


def test_a_segmenter_that_features_are_taken_of_changes_their_keys():
    moved = changed("toy_city", "perceptual", {}, STEPS)
    assert {"segmenter", "unit_perceptual", "day_features", "train_perceptual"} <= moved


def test_it_is_the_configuration_that_decides_and_not_the_preset():
    published = {"unit_perceptual.features": "vgg16"}
    moved = changed("toy_city", "perceptual", published, STEPS)
    assert {"segmenter", "day_features"} <= moved
    assert not {"unit_perceptual", "train_perceptual", "perceptual_night"} & moved
    assert "unit_perceptual" in changed("real", "perceptual", {"unit_perceptual.features": "segmenter"}, STEPS)


def test_an_input_of_a_loss_without_weight_is_not_read():
    without = {"unit_perceptual.weights.perceptual": 0.0}
    assert "unit_perceptual" not in changed("toy_city", "perceptual", without, STEPS)


@pytest.mark.parametrize(
    ("experiment", "stage", "fields", "role"),
    [
        ("night_translation", "day_features", {"features": "inception"}, "segmenter"),
        ("label_to_image", "pix2pixhd", {"weights.perceptual": 0.0}, "segmenter"),
        ("label_to_image", "pix2pixhd", {"weights.perceptual": 0.0}, "global_generator"),
        ("dehazing", "dfs_pixel", {"select_by": "psnr", "weights.segmentation": 0.0}, "segmenter"),
        ("night_self_training", "select_his", {"scorer": "random"}, "colors"),
    ],
)
def test_every_method_that_can_do_without_an_input_says_so(experiment: str, stage: str, fields: dict, role: str):
    study = assign(build(experiment, "toy_city"), {f"{stage}.{name}": value for name, value in fields.items()})
    assert not study.stages[stage].config.reads_input(role)
    assert role not in study.stages[stage].sources()
    assert study.stages[stage].config.reads_input("toy_city")


def test_nobody_waits_for_what_is_not_read(tmp_path: Path):
    study = assign(build("night_translation", "toy_city"), {"unit_perceptual.features": "vgg16"})
    order = study.upstream(["unit_perceptual"])
    assert order == ["city", "unit_perceptual"]
    assert "segmenter" in study.upstream(["unit_perceptual"], unread=True)
    planned = plan(study, study.arms["perceptual"], seeds=SEEDS, fingerprints=fingerprint)
    walk = Walk.__new__(Walk)
    walk.store, walk.planned, walk.roots = Store(tmp_path), planned, {}
    assert set(walk._inputs(planned["unit_perceptual"])) == {"toy_city"}


def trial(preset: str, fields: Mapping[str, Any], arm: str = "perceptual", **place: Any) -> Trial:
    class Named(dict):
        def __missing__(self, name: str) -> str:
            return name

    return Trial.of(
        build("night_translation", preset),
        build("night_translation", preset).arms[arm],
        fields,
        SEEDS,
        Place(Path("/nowhere"), {}, Named(), **place),
    )


def test_rows_from_before_are_found_and_what_is_not_read_names_no_other():
    """Once an unread segmenter was part of what a row is found by: it still is, as its experiment was built."""
    recorded = json.loads(GOLDEN.read_text())["night_translation/real"]["arms"]["perceptual"]
    assert trial("real", {}).config_hash == recorded
    assert trial("real", STEPS).config_hash == recorded
    assert trial("real", STEPS).id == trial("real", {}).id
    assert trial("toy_city", STEPS).config_hash != trial("toy_city", {}).config_hash
    assert trial("real", {"unit_perceptual.loop.steps": 5}).config_hash != recorded


def test_the_name_of_a_trial_needs_no_data_that_is_not_read():
    study = build("night_translation", "real")
    own = assign(study, {"segmenter.train": ["labeled_folder/train"], "segmenter.select": "labeled_folder/val"})
    planned = plan(own, own.arms["perceptual"], seeds=SEEDS, fingerprints=fingerprint)
    prints = {split: split for stage in planned.values() for split in stage.content["data"]}
    name = Trial(own, own.arms["perceptual"], {}, SEEDS, Place(Path("/nowhere"), {}, prints)).config_hash
    assert name.startswith("c")
