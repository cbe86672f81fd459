"""The graph of night_translation: what its arms differ in, what they are measured by, and what nobody looks at."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.graph import Experiment, Planned, Seeds, plan
from orchestrator.launch import run_in_process
from orchestrator.leakage import check_targets
from orchestrator.record import score_rows
from orchestrator.trial import DISTANCES, Place, Trial
from results.schema import COLUMNS
from trainers.config import walk
from trainers.data.datasets import DataSplit
from trainers.registry import method


@pytest.fixture(params=["toy_city", "real"])
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("night_translation", request.param)


def planned(study: Experiment, arm: str, *, seed: int = 0) -> dict[str, Planned]:
    return plan(study, study.arms[arm], seeds=Seeds(0, seed, "declared"), fingerprints=str)


def test_the_arms_differ_in_what_they_train_on_alone(study: Experiment):
    configs = {arm: study.stages[study.arms[arm].train].config for arm in study.arms}
    (day,) = configs["day_only"].train
    assert [str(split) for split in configs["perceptual"].train] == [str(day), "translated/train"]
    assert configs["perceptual"] == configs["no_perceptual"]
    assert configs["day_only"] == configs["perceptual"].model_copy(update={"train": (day,), "select_also": ()})
    assert [str(split) for split in configs["perceptual"].select_also] == ["translated/val"]
    units = [study.stages[f"unit_{name}"].config for name in ("no_perceptual", "perceptual")]
    assert [unit.weights.perceptual for unit in units] == [0.0, 10.0]
    zero = units[1].weights.model_copy(update={"perceptual": 0.0})
    assert units[0] == units[1].model_copy(update={"weights": zero})


def test_each_arm_trains_on_translations_of_its_own_translator(study: Experiment):
    for name in ("no_perceptual", "perceptual"):
        stages = planned(study, name)
        translated = stages[f"train_{name}"].content["inputs"]["translated"]
        assert translated == stages[f"{name}_night"].key
        assert stages[f"{name}_night"].content["inputs"]["translator"] == stages[f"unit_{name}"].key
        assert stages[f"{name}_night"].config.direction == "forward"
        back = study.stages[f"{name}_day_test"]
        assert (back.config.direction, str(back.config.test)) == ("backward", night_test(study))


def night_test(study: Experiment) -> str:
    return str(study.stages["day_only:night_test@best"].config.split)


def test_rows_of_a_domain_hold_the_distance_to_it(study: Experiment):
    for name, arm in study.arms.items():
        stages = planned(study, name)
        found = {one.name: one.distance for one in arm.evaluations}
        night = found["night_test"]
        assert night is not None
        assert stages[night].content["inputs"]["reference"] == stages["night_features"].key
        made = stages[night].content["inputs"]["features"]
        if name == "day_only":
            assert made == stages["untranslated_days_features"].key
            untranslated = study.stages["untranslated_days_features"].config.split
            assert str(untranslated) == str(study.stages["perceptual_night"].config.train)
        else:
            assert made == stages[f"{name}_night_features"].key
            day = found.get("day_test") or found["night_test_as_day"]
            assert day is not None
            assert stages[day].content["inputs"]["reference"] == stages["day_features"].key
        assert found["day_select"] is None
    names = {column.name for column in COLUMNS}
    assert set(DISTANCES) <= names


def test_all_distances_have_one_network_one_size_and_enough_images(study: Experiment):
    features = [stage.config for stage in study.stages.values() if stage.method == "features"]
    assert len({(str(one.features), one.height, one.width) for one in features}) == 1
    measures = [stage for stage in study.stages.values() if stage.method == "features"]
    assert {stage.inputs["segmenter"] for stage in measures} == {"segmenter"}
    for stage in study.stages.values():
        module = method(stage.method).load()
        if hasattr(module, "check_sources"):
            module.check_sources(stage.config, {role: study.stages[name].config for role, name in stage.inputs.items()})


def test_what_measures_is_the_same_for_every_seed_and_each_trial_has_its_translator(study: Experiment):
    first, second = (planned(study, "perceptual", seed=seed) for seed in (0, 1))
    moved = {name for name in first if first[name].key != second[name].key}
    assert {"unit_perceptual", "perceptual_night", "perceptual_night_distance", "train_perceptual"} <= moved
    assert not {"segmenter", "night_features"} & moved
    whole = [plan(study, study.arms["perceptual"], seeds=Seeds(0, seed, "all"), fingerprints=str) for seed in (0, 1)]
    assert all(("segmenter" in stages) == (study.preset != "real") for stages in whole)  # Of vgg16 and inception.
    measuring = "segmenter" if study.preset != "real" else "unit_perceptual"
    assert whole[0][measuring].key != whole[1][measuring].key


def test_nothing_that_is_reported_trains_or_selects(study: Experiment):
    for arm in study.arms.values():
        reported = {
            str(study.stages[one.stage("best")].config.split) for one in arm.evaluations if one.role == "report"
        } - {"translated/test"}
        for name in study.upstream([arm.train]):
            read = {str(item) for item in walk(study.stages[name].config) if isinstance(item, DataSplit)}
            assert not read & reported, name
    check_targets(study, study.arms.values(), {})


def test_the_real_preset_has_the_thesis_s_settings():
    study = build("night_translation", "real")
    unit: Any = study.stages["unit_perceptual"].config
    assert (unit.height, unit.augmentation.crop_height, unit.augmentation.crop_width) == (512, 256, 256)
    assert (unit.loop.steps, unit.batch_size, str(unit.features)) == (280_000, 1, "vgg16@relu5_3")
    translate: Any = study.stages["perceptual_night"].config
    assert (translate.inference_height, translate.inference_width) == (512, 1024)
    assert (str(translate.train), str(translate.val)) == ("cityscapes/train", "cityscapes/val")
    pool: Any = study.stages["pool"].config
    assert (str(pool.pool), pool.threshold, pool.alpha, pool.train_share) == ("nexet/all", 65.0, 0.5, 0.75)
    assert "light_pool" not in study.stages["segmenter"].inputs


def test_the_toy_preset_shares_its_first_training_with_the_toy_city_study():
    ours, theirs = build("night_translation", "toy_city"), build("toy_city")
    key = planned(ours, "day_only")["segmenter"].key
    assert key == planned(theirs, "day")["train_day"].key
    unit: Any = ours.stages["unit_perceptual"].config
    assert (unit.generator.width, unit.height, unit.width) == (16, 64, 128)


def test_a_setting_of_one_arm_reaches_no_other(study: Experiment):
    changed = study.with_configs(
        {"unit_perceptual": study.stages["unit_perceptual"].config.model_copy(update={"gan_loss": "log"})}
    )
    for arm, differ in (("day_only", False), ("no_perceptual", False), ("perceptual", True)):
        keys = [{one.key for one in planned(one_study, arm).values()} for one_study in (study, changed)]
        assert (keys[0] != keys[1]) is differ


def tiny(name: str = "night_translation", **more: dict[str, Any]) -> Experiment:
    """The same graph, or another with its translators, a few images and steps."""
    study = build(name, "toy_city")
    parts = {"train": 3, "val": 2, "test": 2}
    changes: dict[str, dict[str, Any]] = {
        "city": {"images": {"day": parts, "night": parts}},
        "unit_no_perceptual": {},
        "unit_perceptual": {},
    }
    for translator in changes.keys() - {"city"}:
        changes[translator] = {"generator": {"width": 4, "blocks": 1}, "discriminator": {"width": 4}}
    for stage_name, stage in study.stages.items():
        if "loop" in type(stage.config).model_fields:
            changes.setdefault(stage_name, {})["loop"] = {"steps": 1}
    configs = {}
    for stage_name, change in {**changes, **more}.items():
        config = study.stages[stage_name].config
        configs[stage_name] = type(config).model_validate({**config.model_dump(), **change})
    return study.with_configs(configs)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:a Fréchet distance")
def test_the_whole_graph_runs_and_its_rows_hold_the_distances(tmp_path: Path):
    study = tiny()
    place = Place(storage=tmp_path, roots={}, fingerprints={})
    rows = {}
    for name in ("day_only", "perceptual"):
        trial = Trial.of(study, study.arms[name], {}, Seeds(0, 0, "declared"), place)
        outcome = run_in_process(trial, lambda event: None)
        assert outcome.status == "finished", outcome.message
        for row in score_rows(trial, outcome, sweep="s", attempt=1):
            rows[name, row["evaluation_set"], row["checkpoint"]] = row
    for name, others in (("day_only", set()), ("perceptual", {"night_test_as_day"})):
        sets = {evaluation for arm, evaluation, _ in rows if arm == name}
        assert sets == {"day_select", "night_test", "day_test"} | others
        for evaluation in ("night_test", "day_test"):
            row = rows[name, evaluation, "final"]
            assert row["fid"] == pytest.approx(row["fid_mean_term"] + row["fid_covariance_term"])
            assert row["fid_features"].startswith("segmenter@3, 3 and 3 images")
            assert row["fid_weights_hash"]
        assert rows[name, "day_select", "final"]["fid"] is None
    night = [rows[name, "night_test", "best"] for name in ("day_only", "perceptual")]
    assert night[0]["fid"] != night[1]["fid"]
    assert len({row["fid_weights_hash"] for row in night}) == 1
