"""The graph of the label balancing study: what its arms differ in, and what nobody looks at."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.experiments.label_balancing import PASTED, SUPPLEMENTS
from orchestrator.graph import Experiment, Planned, Seeds, plan
from orchestrator.launch import run_in_process
from orchestrator.record import score_rows
from orchestrator.trial import Place, Trial


@pytest.fixture(params=["toy_city", "real"])
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("label_balancing", request.param)


def training(study: Experiment, arm: str) -> Any:
    return study.stages[study.arms[arm].train].config


def differences(study: Experiment, arm: str) -> set[str]:
    """Fields of an arm's training that are not the baseline's."""
    baseline, other = (training(study, one).model_dump(mode="json") for one in ("baseline", arm))
    return {name for name, value in baseline.items() if other[name] != value}


def test_arms_differ_from_the_baseline_in_one_thing(study: Experiment):
    assert differences(study, "traditional") == {"augmentation"}
    assert differences(study, "style") == set()
    assert study.stages["train_style"].method == "fda"
    assert training(study, "style").entropy_weight == 0
    assert training(study, "style").beta == {"toy_city": 0.05, "real": 0.01}[study.preset]
    assert differences(study, "rare_classes") == {"rare_classes"}
    (split,) = training(study, "baseline").train
    assert training(study, "style").target == split, "no other image than the baseline's"
    added = dict.fromkeys(PASTED, "recombined/pasted") | dict.fromkeys(SUPPLEMENTS, "translated/train")
    for arm, supplement in {**added, "recon_filtered": "agreed/train"}.items():
        assert differences(study, arm) == {"train"}
        assert [str(one) for one in training(study, arm).train] == [str(split), supplement]


def test_maps_are_the_documents_and_of_training_images_alone(study: Experiment):
    assert study.stages["maps_add_multi"].config.classes == ("wall", "fence", "pole", "traffic_light", "train")
    assert study.stages["maps_recon"].config.kind == "reconstruct"
    assert study.stages["maps_recon"].config.classes is None
    assert study.stages["maps_add_single"].config.classes == ("wall",)
    for name, stage in study.stages.items():
        if stage.method == "recombine":
            assert (stage.config.split,) == training(study, "baseline").train, name
            assert stage.config.law is None


def planned(study: Experiment, arm: str, seed: int) -> dict[str, Planned]:
    return plan(study, study.arms[arm], seeds=Seeds(0, seed, "declared"), fingerprints=str)


def test_all_seeds_share_one_supplement(study: Experiment):
    for arm, shared in (("copy_paste", "maps_add_multi"), ("add_multi", "images_add_multi")):
        first, second = (planned(study, arm, seed) for seed in (0, 1))
        assert first[shared].key == second[shared].key
        assert first[f"train_{arm}"].key != second[f"train_{arm}"].key
        assert first[shared].key in first[f"train_{arm}"].content["inputs"].values()


def test_generated_and_pasted_images_are_of_the_same_maps(study: Experiment):
    for arm, supplement in PASTED.items():
        generated, pasted = planned(study, supplement, 0), planned(study, arm, 0)
        assert generated[f"maps_{supplement}"].key == pasted[f"maps_{supplement}"].key
        assert str(generated[f"images_{supplement}"].config.train) == "recombined/maps"


def test_the_filter_looks_with_the_eyes_of_the_baseline_of_the_same_seed(study: Experiment):
    filtered, baseline = planned(study, "recon_filtered", 1), planned(study, "baseline", 1)
    inputs = filtered["agreeing_recon"].content["inputs"]
    assert inputs["segmenter"] == baseline["train_baseline"].key
    assert inputs["translated"] == filtered["images_recon"].key
    assert filtered["train_recon_filtered"].content["inputs"]["agreed"] == filtered["agreeing_recon"].key


def test_generator_and_trainings_never_see_what_is_reported(study: Experiment):
    (split,) = training(study, "baseline").train
    assert study.stages["pix2pixhd"].config.train == split
    features = study.stages.get("features_segmenter")
    assert features is None or [str(one) for one in features.config.train] == ["toy_city/game_train"]


def test_no_split_has_two_roles(study: Experiment):
    for name, arm in study.arms.items():
        config = training(study, name)
        train = {str(split) for split in config.train} | {str(getattr(config, "target", config.train[0]))}
        reported = {
            str(study.stages[one.stage("best")].config.split) for one in arm.evaluations if one.role == "report"
        }
        assert not train & ({str(config.select)} | reported)
        assert str(config.select) not in reported
        assert str(study.stages[f"{arm.target_unlabeled}@best"].config.split) == str(config.select)


def test_the_real_preset_has_the_recipe_of_the_published_baseline():
    config = training(build("label_balancing", "real"), "baseline")
    assert (config.network.architecture, config.network.encoder) == ("pspnet", "resnet50")
    assert (config.optimizer.name, config.optimizer.learning_rate, config.batch_size) == ("sgd", 0.01, 16)
    assert config.train[0].count - config.select.count <= 2975
    assert abs(config.loop.steps * 16 - 200 * config.train[0].count) < 16


def tiny() -> Experiment:
    """The same graph, a few images and steps."""
    study = build("label_balancing", "toy_city")
    images = {"day": {"train": 4, "val": 2, "test": 2}, "game": {"train": 2, "val": 2}}
    changes: dict[str, dict[str, Any]] = {"city": {"images": images}}
    changes["pix2pixhd"] = {"generator": {"width": 4, "blocks": 1}, "discriminator": {"width": 4}}
    for name, stage in study.stages.items():
        if "loop" in type(stage.config).model_fields:
            changes.setdefault(name, {})["loop"] = {"steps": 1}
        if stage.method == "supervised":
            changes[name] |= {"batch_size": 2}
    configs = {}
    for name, change in changes.items():
        config = study.stages[name].config
        configs[name] = type(config).model_validate({**config.model_dump(), **change})
    return study.with_configs(configs)


@pytest.mark.integration
def test_generated_and_pasted_arms_run_to_their_rows(tmp_path: Path):
    study = tiny()
    place = Place(storage=tmp_path, roots={}, fingerprints={})
    for name in ("recon_filtered", "copy_paste_recon"):
        trial = Trial.of(study, study.arms[name], {}, Seeds(0, 0, "declared"), place)
        outcome = run_in_process(trial, lambda event: None)
        assert outcome.status == "finished", outcome.message
        rows = list(score_rows(trial, outcome, sweep="s", attempt=1))
        assert {row["evaluation_set"] for row in rows} == {"day_val", "day_test"}
        assert all(0 <= row["miou"] <= 1 for row in rows)
