"""The graph of the GTA5 study: what each arm trains on, what it may look at, and what the arms differ in."""

from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.graph import Experiment, Seeds, plan
from trainers.data.datasets import DataSplit

LADDER = {"source_only": (0.0, 0.0), "aug_1": (0.5, 0.0), "aug_2": (0.0, 0.5), "aug_1_2": (0.5, 0.5)}
"""Arm → probability of the flip, and of changing colors: the rows of the document's Table 3."""

ADAPTATIONS = {"fda": "fda", "dacs": "dacs", "dacs_document": "dacs", "reference": "dacs"}
"""Arm → method: those that see the target without its labels."""


@pytest.fixture(params=["real", "toy_city"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return build("gta5_to_cityscapes", request.param)


def training(experiment: Experiment, arm: str) -> Any:
    return experiment.stages[experiment.arms[arm].train].config


def test_the_ladder_differs_in_its_augmentation_alone(experiment: Experiment):
    found = {}
    for arm in LADDER:
        augmentation = training(experiment, arm).augmentation
        found[arm] = (augmentation.horizontal_flip, augmentation.photometric.probability)
    assert found == LADDER
    configs = [training(experiment, arm).model_dump() for arm in LADDER]
    free = {"augmentation"} | ({"batch_size", "loop"} if experiment.preset == "real" else set())
    assert len({str({name: value for name, value in config.items() if name not in free}) for config in configs}) == 1


def test_the_real_preset_has_the_documents_settings():
    experiment = build("gta5_to_cityscapes", "real")
    settings = {}
    for arm in experiment.arms:
        config = training(experiment, arm)
        assert (config.optimizer.name, config.optimizer.learning_rate) == ("adam", 1e-3)
        images = config.train[0].count
        assert abs(config.loop.steps * config.batch_size - 50 * images) < config.batch_size
        settings[arm] = (config.network.architecture, config.network.encoder, config.batch_size, images,
                         config.width, config.height)  # fmt: skip
    gta5, cityscapes = (2500, 1280, 720), (1572, 1024, 512)
    assert settings == {
        "deeplabv2_target": ("deeplabv2", "resnet101", 2, *cityscapes),
        "bisenet_target": ("bisenet", "resnet18", 4, *cityscapes),
        "source_only": ("bisenet", "resnet18", 4, *gta5),
        "aug_1": ("bisenet", "resnet18", 4, *gta5),
        "aug_2": ("bisenet", "resnet18", 4, *gta5),
        "aug_1_2": ("bisenet", "resnet18", 8, *gta5),
        **dict.fromkeys(ADAPTATIONS, ("bisenet", "resnet18", 4, *gta5)),
    }
    for arm in experiment.arms:
        evaluation = experiment.stages[f"{arm}:cityscapes_val@best"].config
        assert (evaluation.height, evaluation.width, str(evaluation.split)) == (512, 1024, "cityscapes/val")


def test_no_split_has_two_roles(experiment: Experiment):
    for name, arm in experiment.arms.items():
        config = training(experiment, name)
        roles = {"train": {str(split) for split in config.train}, "select": {str(config.select)}, "report": set()}
        for evaluation in arm.evaluations:
            split = experiment.stages[evaluation.stage("best")].config.split
            assert evaluation.role in ("select", "report")
            if evaluation.role == "select" and name not in ADAPTATIONS:
                assert split == config.select
            roles[evaluation.role].add(str(split))
        assert not roles["train"] & (roles["select"] | roles["report"])
        assert not roles["select"] & roles["report"]
        target = experiment.stages[f"{arm.target_unlabeled}@best"].config.split
        assert str(target) not in roles["report"]
        if name in ADAPTATIONS:  # Checkpoints are chosen on the target without labels, hyper-parameters too.
            assert config.select == target
            assert str(config.target) not in roles["select"] | roles["report"]


def test_parts_that_train_and_parts_that_select_share_no_image():
    """A positive and a negative count are the two ends of one permutation; together they take less than all."""
    released = {"gta5": 24_941, "cityscapes": 2975}
    experiment = build("gta5_to_cityscapes", "real")
    for arm in experiment.arms:
        config = training(experiment, arm)
        train, select = (config.target if arm in ADAPTATIONS else config.train[0]), config.select
        assert (train.dataset, train.split, train.seed) == (select.dataset, select.split, select.seed)
        assert train.count > 0 > select.count
        assert train.count - select.count <= released[train.dataset]


def test_adaptations_differ_from_the_ladder_in_their_method(experiment: Experiment):
    ladder = training(experiment, "source_only").model_dump()
    free = {"augmentation", "select", "select_height", "select_width", "rare_classes"}
    for arm, method in ADAPTATIONS.items():
        assert experiment.stages[f"train_{arm}"].method == method
        found = training(experiment, arm).model_dump()
        # The leading recipe has a warm-up.
        assert (found["optimizer"].pop("warmup_steps") > 0) == (arm == "reference")
        found["optimizer"]["warmup_steps"] = 0
        assert {name: found[name] for name in ladder if name not in free} == {
            name: value for name, value in ladder.items() if name not in free
        }
    near = training(experiment, "reference").feature_distance.weight
    assert (near > 0) == (training(experiment, "reference").network.weights != "none")
    document = training(experiment, "dacs_document")
    assert (document.teacher.kind, document.weight) == ("student", "none")
    assert training(experiment, "dacs").teacher.kind == "ema"


def test_the_batchwise_mean_is_asked_for_on_the_reported_target_alone(experiment: Experiment):
    asked = {
        str(stage.config.split)
        for stage in experiment.stages.values()
        if stage.method == "evaluation" and stage.config.batch_mean_size is not None
    }
    assert asked == {"cityscapes/val" if experiment.preset == "real" else "toy_city/day_test"}


def test_the_toy_shares_its_city_with_the_yardstick():
    keys = []
    for name in ("toy_city", "gta5_to_cityscapes"):
        experiment = build(name, "toy_city")
        arm = next(iter(experiment.arms.values()))
        planned = plan(experiment, arm, seeds=Seeds(0, 0, "declared"), fingerprints=no_data)
        keys.append(planned["city"].key)
    assert keys[0] == keys[1]


def no_data(split: DataSplit) -> str:
    raise AssertionError(f"{split} is read from outside")
