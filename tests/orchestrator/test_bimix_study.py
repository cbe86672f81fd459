"""The graph of bimix: one start, equal budgets, what the arms differ in, and what is looked at."""

from typing import Any

import pytest

from orchestrator.experiments import build
from orchestrator.experiments.bimix import ABLATIONS
from orchestrator.graph import Experiment, Seeds, plan
from orchestrator.leakage import check_targets
from orchestrator.overrides import assign
from trainers.config import keyed
from trainers.errors import UserError

WITH_PAIRS = {"dannet", "bimix_as_released", "bimix", *ABLATIONS, "bimix_best_on_report"}
ORACLE = "bimix_best_on_report"


@pytest.fixture(params=["toy_city", "real"])
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("bimix", request.param)


def training(study: Experiment, arm: str) -> Any:
    return study.stages[study.arms[arm].train].config


def differences(study: Experiment, one: str, other: str) -> set[str]:
    """Fields, one level deep, in which the trainings of two arms differ."""
    a, b = (keyed(training(study, arm)) for arm in (one, other))
    found = set()
    for name in a.keys() | b.keys():
        first, second = a.get(name), b.get(name)
        if first != second:
            nested = isinstance(first, dict) and isinstance(second, dict)
            found |= {f"{name}.{key}" for key in first if first[key] != second.get(key)} if nested else {name}
    return found


def test_the_arms_of_the_document_are_there(study: Experiment):
    expected = {"source_only", "fda", "dacs", *WITH_PAIRS}
    toy = {"bimix_other_streets", "target_supervised", "adabn"}
    assert set(study.arms) == expected | (toy if study.preset == "toy_city" else set())


def test_every_arm_starts_from_one_stage_and_takes_as_many_steps_of_as_many_images(study: Experiment):
    trained = set(study.arms) - {"adabn"}  # It takes no step; its network is that of source_only.
    budgets = {(training(study, arm).loop.steps, training(study, arm).batch_size) for arm in trained}
    assert len(budgets) == 1
    starts = {arm: study.stages[study.arms[arm].train].inputs["initial"] for arm in trained}
    assert set(starts.values()) == ({"source", "source_target"} if "target_supervised" in starts else {"source"})
    assert starts.pop("target_supervised", "source_target") == "source_target"
    assert set(starts.values()) == {"source"}


def test_adaptations_see_the_same_images(study: Experiment):
    adapted = {"fda", "dacs", *WITH_PAIRS} | ({"adabn"} & set(study.arms))
    targets = {arm: str(training(study, arm).target) for arm in adapted}
    assert len(set(targets.values())) == 1
    if study.preset == "toy_city":
        assert set(targets.values()) == {"toy_city/pairs_a"}
        assert str(training(study, "bimix_other_streets").target) == "toy_city/pairs_b"
        assert differences(study, "bimix", "bimix_other_streets") == {"target"}


def test_what_the_ablations_differ_in(study: Experiment):
    expected = {
        "only_source_to_night": {"day_to_night.consistency_weight", "day_to_night.light_weight"},
        "only_day_to_night": {"source_to_night.weight"},
        "no_consistency": {"day_to_night.consistency_weight"},
        "only_source_to_night_no_relighting": {
            "day_to_night.consistency_weight", "day_to_night.light_weight", "relighting.kind",
        },
        "bimix_as_released": {
            "as_released", "source_to_night.weight", "day_to_night.consistency_weight", "day_to_night.light_weight",
            "relighting.kind",
        },
    }  # fmt: skip
    width = {"relighting.width"}  # Of a smaller study the published width is changed, for each kind.
    assert {arm: differences(study, "bimix", arm) - width for arm in expected} == expected
    assert differences(study, "bimix_as_released", ORACLE) == {"select", "select_by", "loop.score_every_steps"}
    added = {"as_released", "source_to_night", "day_to_night"}
    assert differences(study, "dannet", "bimix") == added


def test_the_released_weights_are_the_published_ones(study: Experiment):
    config = training(study, "bimix_as_released")
    assert (config.source_to_night.weight, config.day_to_night.consistency_weight) == (0.001, 0.001)
    assert (config.adversarial.weight, config.light.target_weight, config.class_weights.strength) == (0.01, 0.01, 0.05)


def test_no_reported_split_trains_or_selects_but_in_the_arm_that_shows_what_that_does(study: Experiment):
    for name, arm in study.arms.items():
        reported = {
            str(study.stages[one.stage("best")].config.split) for one in arm.evaluations if one.role == "report"
        }
        for stage in study.upstream([arm.train]):
            config = study.stages[stage].config
            read = {str(split) for split in getattr(config, "train", ())}
            read |= {str(getattr(config, part)) for part in ("select", "target") if hasattr(config, part)}
            assert not read & reported, (name, stage)
        assert str(study.stages[f"{arm.target_unlabeled}@best"].config.split) not in reported
    first = next(iter(study.arms["bimix"].evaluations[1:]))
    roles = {one.name: one.role for one in study.arms[ORACLE].evaluations}
    assert (first.role, roles[first.name]) == ("report", "select")
    assert training(study, ORACLE).select_by == "miou"
    assert str(training(study, ORACLE).select) == str(study.stages[first.stage("best")].config.split)


def test_rows_with_class_weights_differ_in_their_strength_alone(study: Experiment):
    for arm in ("dannet", "bimix_as_released", "bimix"):
        rows = {one.name: study.stages[one.stage("final")].config for one in study.arms[arm].evaluations}
        weighted = [name for name in rows if "_s0" in name]
        assert {rows[name].class_weight_strength for name in weighted} == {0.05, 0.16}
        for name in weighted:
            plain = rows[name.rpartition("_s")[0]]
            assert plain.class_weight_strength == 0
            ignored = {"class_weight_strength", "pictures"}
            assert rows[name].model_dump(exclude=ignored) == plain.model_dump(exclude=ignored)


def test_a_row_with_weights_is_a_stage_of_its_own_and_one_without_keeps_its_key():
    study = build("bimix", "toy_city")
    seeds = Seeds(0, 0, "declared")
    planned = plan(study, study.arms["dannet"], seeds=seeds, fingerprints=str)
    keys = {planned[f"dannet:night_test{end}@best"].key for end in ("", "_s0.05", "_s0.16")}
    assert len(keys) == 3
    assert "class_weight_strength" not in planned["dannet:night_test@best"].content["config"]


def test_weights_of_a_test_are_refused_where_the_training_had_none():
    study = build("bimix", "toy_city")
    wrong = assign(study, {"source_only:night_test@best.class_weight_strength": 0.16})
    planned = plan(wrong, wrong.arms["source_only"], seeds=Seeds(0, 0, "declared"), fingerprints=str)
    stage = planned["source_only:night_test@best"]
    sources = {role: planned[name].config for role, name in stage.stage.inputs.items()}
    with pytest.raises(UserError, match="trained without class weights"):
        stage.method.load().check_sources(stage.config, sources)
    right = plan(study, study.arms["dannet"], seeds=Seeds(0, 0, "declared"), fingerprints=str)
    stage = right["dannet:night_test_s0.16@best"]
    stage.method.load().check_sources(
        stage.config, {role: right[name].config for role, name in stage.stage.inputs.items()}
    )


def test_targets_are_apart_from_what_is_reported():
    study = build("bimix", "toy_city")
    check_targets(study, study.arms.values(), {})
    wrong = assign(study, {"train_dacs.target": "toy_city/night_test"})
    with pytest.raises(UserError, match="toy_city/night_test is trained on and toy_city/night_test is reported"):
        check_targets(wrong, wrong.arms.values(), {})


def test_checkpoints_are_chosen_at_the_size_that_is_reported(study: Experiment):
    """Infomax at another size than the test's would choose for another test, and an oracle would be none."""
    for name in WITH_PAIRS:
        chosen = training(study, name)
        one = next(one for one in study.arms[name].evaluations if one.name in ("night_test", "dark_zurich_val"))
        reported = study.stages[one.stage("best")].config
        if study.preset == "toy_city":
            assert (chosen.select_size(), reported.height, reported.width) == ((64, 128), None, None)
        else:
            assert chosen.select_size() == (reported.height, reported.width) == (540, 960)
