"""The graphs of game_to_day and day_to_dusk: one start, equal steps and labels, and nothing reported is looked at."""

from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from orchestrator.experiments import build
from orchestrator.graph import Experiment, Seeds, plan
from orchestrator.leakage import check_targets
from orchestrator.overrides import assign
from orchestrator.spaces import check_space_methods, search_space
from trainers.errors import UserError

STUDIES = {"game_to_day": "toy_city", "day_to_dusk": "camvid"}


@pytest.fixture(params=STUDIES)
def study(request: pytest.FixtureRequest) -> Experiment:
    return build(request.param, STUDIES[request.param])


def chain(experiment: Experiment, arm: str) -> list[Any]:
    """The training stages of an arm from its last one to its first."""
    last = experiment.stages[experiment.arms[arm].train]
    stages = [experiment.stages[last.inputs["segmenter"]] if last.method == "adabn" else last]
    while "initial" in stages[-1].inputs:
        stages.append(experiment.stages[stages[-1].inputs["initial"]])
    return stages


def test_every_arm_takes_as_many_steps_and_labeled_images(study: Experiment):
    totals = set()
    for arm in study.arms:
        stages = chain(study, arm)
        totals.add(tuple((stage.config.loop.steps, stage.config.batch_size) for stage in stages))
    assert len(totals) == 1
    assert len(next(iter(totals))) == 2


def test_adaptations_with_one_network_start_from_one_stage(study: Experiment):
    starts = {
        stage.inputs["initial"]
        for stage in study.stages.values()
        if stage.method in ("fda", "dacs") and stage.config.network.architecture == "FPN"
    }
    assert starts == {"source"}


def test_statistics_of_the_target_are_taken_of_what_the_other_arms_adapt_to(study: Experiment):
    adapted = {name: arm for name, arm in study.arms.items() if study.stages[arm.train].method == "adabn"}
    assert "adabn" in adapted
    for name, arm in adapted.items():
        stage = study.stages[arm.train]
        assert (
            stage.inputs["segmenter"] == study.arms[name.removesuffix("_adabn").replace("adabn", "source_only")].train
        )
        assert stage.config.target == study.stages["train_dacs"].config.target


def test_every_search_stays_where_its_methods_can_go(study: Experiment):
    for search in study.searches:
        check_space_methods(study, search_space(study, search), {})


def test_a_search_that_leaves_what_its_method_can_do_is_refused_before_it_starts():
    experiment = build("day_to_dusk", "camvid")
    space = {"train_fda.beta": FloatDistribution(0.003, 0.1, log=True)}
    with pytest.raises(UserError, match=r"reaches train_fda.beta 0.003, where beta 0.003 gives an empty window at 192"):
        check_space_methods(experiment, space, {})


def test_no_reported_split_trains_or_selects(study: Experiment):
    for name, arm in study.arms.items():
        reported = {
            str(study.stages[one.stage("best")].config.split) for one in arm.evaluations if one.role == "report"
        }
        for stage in study.upstream([arm.train]):
            config = study.stages[stage].config
            read = {str(split) for split in getattr(config, "train", ())}
            read |= {str(getattr(config, part)) for part in ("select", "target") if hasattr(config, part)}
            assert not read & reported, (name, stage)
        unlabeled = study.stages[f"{arm.target_unlabeled}@best"].config.split
        assert str(unlabeled) not in reported


def test_the_bands_start_alike_are_labeled_together_and_scored_together():
    experiment = build("game_to_day", "toy_city")
    arm = experiment.arms["fda_multiband"]
    planned = plan(experiment, arm, seeds=Seeds(0, 0, "declared"), fingerprints=lambda split: "none")
    bands = [one for one in planned.values() if one.method.name == "fda"]
    assert sorted(one.config.beta for one in bands) == [0.016, 0.016, 0.05, 0.05, 0.09, 0.09]
    assert len({one.key for one in bands}) == 6
    assert {one.content["inputs"]["initial"] for one in bands} == {planned["source"].key}
    (labels,) = [one for one in planned.values() if one.method.name == "pseudo_labels"]
    first = {one.key for one in bands if "pseudo_labels" not in one.content["inputs"]}
    assert set(labels.content["inputs"].values()) - {planned["city"].key} == first
    last = {one.key for one in bands} - first
    assert {planned[name].content["inputs"]["pseudo_labels"] for name in planned if planned[name].key in last} == {
        labels.key
    }
    for name in arm.stages():
        inputs = planned[name].content["inputs"]
        assert {key for role, key in inputs.items() if role.startswith("segmenter")} == last


def test_the_arm_of_one_band_is_shared_with_the_bands():
    experiment = build("game_to_day", "toy_city")
    seeds = Seeds(0, 0, "declared")
    keys = [
        {one.key for one in plan(experiment, experiment.arms[arm], seeds=seeds, fingerprints=str).values()
         if one.method.name == "fda"} for arm in ("fda", "fda_multiband")
    ]  # fmt: skip
    assert keys[0] < keys[1]


def test_a_target_that_is_reported_is_refused():
    experiment = build("game_to_day", "toy_city")
    check_targets(experiment, experiment.arms.values(), {})
    wrong = assign(experiment, {"train_dacs.target": "toy_city/day_test"})
    with pytest.raises(UserError, match="toy_city/day_test is trained on and toy_city/day_test is reported"):
        check_targets(wrong, wrong.arms.values(), {})
    check_targets(wrong, [wrong.arms["fda"]], {})
    wrong = assign(experiment, {"source.train": ["toy_city/game_train", "toy_city/day_test"]})
    with pytest.raises(UserError, match="toy_city/day_test is reported; take another split as train"):
        check_targets(wrong, [wrong.arms["fda"]], {})
