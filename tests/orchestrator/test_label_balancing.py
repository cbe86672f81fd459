"""The graph of the label balancing study: what its arms differ in, and what nobody looks at."""

from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.experiments.label_balancing import PASTED
from orchestrator.graph import Experiment, Seeds, plan


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
    assert differences(study, "rare_classes") == {"rare_classes"}
    for arm in PASTED:
        assert differences(study, arm) == {"train"}
        (split,) = training(study, "baseline").train
        assert [str(one) for one in training(study, arm).train] == [str(split), "recombined/pasted"]


def test_maps_are_the_documents_and_of_training_images_alone(study: Experiment):
    assert study.stages["maps_add_multi"].config.classes == ("wall", "fence", "pole", "traffic_light", "train")
    assert study.stages["maps_recon"].config.kind == "reconstruct"
    assert study.stages["maps_recon"].config.classes is None
    for name, stage in study.stages.items():
        if stage.method == "recombine":
            assert (stage.config.split,) == training(study, "baseline").train, name
            assert stage.config.law is None


def test_all_seeds_share_one_supplement(study: Experiment):
    first, second = (
        plan(study, study.arms["copy_paste"], seeds=Seeds(0, seed, "declared"), fingerprints=str) for seed in (0, 1)
    )
    assert first["maps_add_multi"].key == second["maps_add_multi"].key
    assert first["train_copy_paste"].key != second["train_copy_paste"].key
    assert first["train_copy_paste"].content["inputs"]["recombined"] == first["maps_add_multi"].key


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
