"""The graph of night_self_training: the rows of the thesis, what they share, what nobody looks at."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.experiments import build
from orchestrator.experiments.night_rows import CONVERTED, ROWS, VARIANTS, Row
from orchestrator.experiments.night_self_training import toy_city
from orchestrator.graph import Experiment, Planned, Seeds, plan
from orchestrator.launch import run_in_process
from orchestrator.leakage import check_targets
from orchestrator.overrides import assign
from orchestrator.record import score_rows
from orchestrator.spaces import search_space
from orchestrator.trial import DISTANCES, Outcome, Place, Trial
from results.schema import COLUMNS
from tests.orchestrator.test_night_translation import tiny
from trainers.config import walk
from trainers.data.datasets import DataSplit
from trainers.data.toy_city import plan_tree
from trainers.registry import method

SEGMENTERS = ("supervised", "self_training", "fda")
THESIS = [
    f"{table}.{row}" for table, rows in enumerate((3, 4, 4, 2, 4, 2, 3, 3), start=1) for row in range(1, rows + 1)
]


@pytest.fixture(params=["toy_city", "camvid", "real"], scope="module")
def study(request: pytest.FixtureRequest) -> Experiment:
    return build("night_self_training", request.param)


def planned(study: Experiment, arm: str, *, sweep: int = 0, trial: int = 0, scope: Any = "declared",
            values: Mapping[str, Any] | None = None) -> dict[str, Planned]:  # fmt: skip
    study = assign(study, values or {})
    return plan(study, study.arms[arm], seeds=Seeds(sweep, trial, scope), fingerprints=str)


def distinct(plans: list[dict[str, Planned]]) -> Counter[str]:
    """Stages with different keys, by method."""
    return Counter({one.key: one.method.name for stages in plans for one in stages.values()}.values())


def test_the_arms_are_the_thesis_s_rows_and_what_stands_beside_them(study: Experiment):
    assert list(study.arms) == sorted([*THESIS, "3.1_longer", "6.1_legacy", "fda"])
    assert sorted([*ROWS, *CONVERTED]) == THESIS


def test_twenty_trainings_and_two_translators_make_all_rows(study: Experiment):
    plans = [planned(study, arm) for arm in THESIS]
    trained = [
        {name: one for name, one in stages.items() if name.startswith("train_") and one.method.name in SEGMENTERS}
        for stages in plans
    ]
    assert sum(distinct(trained).values()) == 20
    assert distinct(plans)["unit"] == 2
    assert distinct([planned(study, arm) for arm in study.arms])["fda"] == 1
    # The segmenter whose features the translators see is 1.1 of the first seed, where both take as many steps.
    # In the real preset published networks give them, and there is none.
    for trial, is_shared in ((0, study.preset != "toy_city"), (1, study.preset == "real")):
        found = distinct([planned(study, arm, trial=trial) for arm in THESIS])
        assert sum(found[name] for name in SEGMENTERS) == (20 if is_shared else 21)
        assert found["unit"] == 2


def test_sharing_halves_what_every_arm_alone_would_execute(study: Experiment):
    plans = [planned(study, arm) for arm in study.arms]
    together, alone = sum(distinct(plans).values()), sum(sum(distinct([one]).values()) for one in plans)
    assert (together, alone) == {"toy_city": (273, 499), "camvid": (224, 407), "real": (225, 413)}[study.preset]
    trained = (*SEGMENTERS, "unit")
    assert sum(distinct(plans)[name] for name in trained) == (26 if study.preset == "toy_city" else 25)
    # Where the base arm gives the features, brightness is measured too: 5.3 and 6.2 alone would train it.
    apart = sum(sum(distinct([one])[name] for name in trained) for one in plans)
    assert apart == {"toy_city": 100, "camvid": 100, "real": 78}[study.preset]


def test_rows_of_one_name_have_different_labeled_images(study: Experiment):
    """5.4 and 8.1 are written alike in the thesis and differ by 4.5 points there."""
    one, other = (planned(study, arm)[f"train_{arm.replace('.', '_')}"] for arm in ("5.4", "8.1"))
    assert one.key != other.key
    assert one.content["inputs"] == other.content["inputs"]
    assert [str(split) for split in one.config.train] == ["translated/train"]
    assert [str(split) for split in other.config.train] == [str(study.stages["train_1_1"].config.train[0]),
                                                            "translated/train"]  # fmt: skip


def test_every_arm_begins_learns_and_is_taught_as_the_table_says(study: Experiment):
    alphas = {"ce": 1.0, "focal": 0.0, "focal_legacy": 0.0, "combined": 0.5}
    for arm, row in {**ROWS, **VARIANTS}.items():
        stage = study.stages[study.arms[arm].train]
        initial = None if row.initial is None else study.arms[row.initial].train
        assert stage.inputs.get("initial") == initial
        assert stage.config.loss.alpha == alphas[row.loss]
        assert (stage.config.loss.focal_form == "batch_mean_legacy") == (arm == "6.1_legacy")
        assert (
            stage.config.loop.steps * (1 if row.initial is None else 2) == study.stages["train_1_1"].config.loop.steps
        )
        domains = {"day": 1, "night": 1, "both": 2}[row.labeled]
        assert len(stage.config.train) == 1 + len(stage.config.select_also) == domains
        assert stage.method == ("supervised" if row.unlabeled is None else "self_training")
        if row.unlabeled is not None:
            labels = study.stages[stage.inputs["pseudo_labels"]]
            assert labels.inputs["segmenter"] == study.arms[row.teacher or str(row.initial)].train
            assert labels.config.keep == "all"
            assert labels.config.target == stage.config.target
            assert labels.inputs.get("selected") == stage.inputs.get("selected")
    for arm, of in CONVERTED.items():
        assert study.arms[arm].train == study.arms[of].train
        reported = [one for one in study.arms[arm].evaluations if one.role == "report"]
        assert [one.name for one in reported] == ["night_test_as_day"]
        translation = planned(study, arm)[reported[0].stage("best")].content["inputs"]["translated"]
        translator = {"2": "no_perceptual", "3": "perceptual", "4": "perceptual"}[arm[0]]
        assert translation == planned(study, arm)[f"{translator}_day_test"].key


@pytest.mark.parametrize(
    ("start", "initial"),
    [("7.1", "train_7_1"), ("3.1", "train_3_1"), (None, None)],
    ids=["checkpoint", "first", "none"],
)
def test_a_further_round_begins_where_its_row_says(start: str | None, initial: str | None):
    """At the last round's weights, at what that one began with, or at the network's own; labeled by the last round."""
    graph = toy_city()
    graph.experiment("toy_city", fda_space="fda_beta_small")
    graph.add_row("second", Row("both", "perceptual", start, "fid", teacher="7.1"))
    stage = graph.study.stages["train_second"]
    assert stage.inputs.get("initial") == initial
    assert graph.study.stages[stage.inputs["pseudo_labels"]].inputs["segmenter"] == "train_7_1"
    assert graph.study.stages[stage.inputs["pseudo_labels"]].inputs["selected"] == stage.inputs["selected"]
    assert graph.arms["second"].train == "train_second"


def test_an_arm_needs_its_own_chain_alone(study: Experiment):
    def trainings(arm: str) -> set[str]:
        return {name for name, one in planned(study, arm).items() if one.method.name in (*SEGMENTERS, "unit")}

    perceptual = {"unit_perceptual"} if study.preset == "real" else {"segmenter", "unit_perceptual"}
    assert trainings("8.3") == {*perceptual, "train_3_1", "train_5_2", "train_8_1", "train_8_3"}
    assert trainings("1.3") == {"train_1_1", "train_1_3"}
    assert trainings("2.2") == {"unit_no_perceptual", "train_2_1", "train_2_2"}
    assert trainings("fda") == {"train_1_1", "train_fda"}
    assert trainings("3.3") == trainings("3.1")


def test_translators_are_the_stages_of_the_other_study(study: Experiment):
    other = build("night_translation", study.preset)
    theirs = {
        name: one.key
        for arm in other.arms
        for name, one in plan(other, other.arms[arm], seeds=Seeds(0, 0, "declared"), fingerprints=str).items()
    }  # Each trial there has a translator of its own; here all share that of the sweep's seed.
    for arm, translator in (("2.3", "no_perceptual"), ("3.3", "perceptual")):
        ours = planned(study, arm, trial=5)
        assert ("segmenter" in ours) == (translator == "perceptual" and study.preset != "real")
        for name in (f"unit_{translator}", f"{translator}_night", f"{translator}_day_test"):
            assert ours[name].key == theirs[name], name


def test_checkpoints_are_chosen_on_validation_splits_and_never_on_what_is_reported(study: Experiment):
    for arm in study.arms.values():
        splits: dict[str, set[str]] = {"select": set(), "report": set()}
        for one in arm.evaluations:
            splits[one.role].add(str(study.stages[one.stage("best")].config.split))
        config = study.stages[arm.train].config
        assert splits["select"] == {str(split) for split in (config.select, *config.select_also)}
        assert all(split.endswith("val") for split in splits["select"])
        night = {str(study.stages["1_1:night_test@best"].config.split)}
        for name in study.upstream([arm.train]):
            read = {str(item) for item in walk(study.stages[name].config) if isinstance(item, DataSplit)}
            assert not read & (splits["report"] | night) - {"translated/test"}, name
    assert len({study.stages[study.arms[arm].train].config.select for arm in ("2.1", "3.1", "7.2")}) == 1
    check_targets(study, study.arms.values(), {})


def test_fda_can_run_at_the_preset_s_size_and_augmentation(study: Experiment):
    """Without weights to look for: a style of padded images is refused, and so is an empty window."""
    config = study.stages["train_fda"].config
    network = config.network.model_copy(update={"weights": "none"})
    method("fda").load().check(config.model_copy(update={"network": network}), {})


def test_all_stages_accept_what_makes_their_inputs(study: Experiment):
    for stage in study.stages.values():
        module = method(stage.method).load()
        if hasattr(module, "check_sources"):
            module.check_sources(stage.config, {role: study.stages[name].config for role, name in stage.inputs.items()})


def test_a_joint_search_trains_translator_and_base_once(study: Experiment):
    space = search_space(study, "night_joint")
    assert set(space) == {"select_fid.quantile", "select_fid.unlabeled_ratio", "train_7_2.loss.alpha"}
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    plans = [planned(study, "7.2", scope="last", values=sampler.ask(space).params) for _ in range(30)]  # type: ignore[arg-type]
    found = distinct(plans)
    read = 0 if study.preset == "real" else 1  # The segmenter whose features the translator sees.
    assert (found["unit"], found["features"], found["supervised"]) == (1, 2, 1 + read)
    assert (found["selection"], found["pseudo_labels"], found["self_training"]) == (30, 30, 30)
    alone = sum(sum(distinct([one])[name] for name in (*SEGMENTERS, "unit")) for one in plans)
    assert (sum(found[name] for name in (*SEGMENTERS, "unit")), alone) == (32 + read, 90 + 30 * read)


@pytest.mark.parametrize(
    ("search", "arm", "again"),
    [
        ("fid_threshold", "7.1", {"selection", "pseudo_labels", "self_training", "evaluation"}),
        ("unlabeled_ratio", "3.2", {"selection", "pseudo_labels", "self_training", "evaluation"}),
        ("loss_alpha", "7.2", {"self_training", "evaluation"}),
        ("fda_beta", "fda", {"fda", "evaluation"}),
    ],
)
def test_a_search_makes_again_what_it_reaches(search: str, arm: str, again: set[str], study: Experiment):
    space: Any = search_space(study, search)
    plans = [planned(study, arm, scope="last", values={name: getattr(one, end) for name, one in space.items()})
             for end in ("low", "high")]  # fmt: skip
    changed = {one.method.name for name, one in plans[0].items() if plans[1][name].key != one.key}
    assert changed == again


def test_rows_hold_ratio_threshold_and_distance_of_what_was_selected(tmp_path: Path):
    study = build("night_self_training", "toy_city")
    trial = Trial.of(study, study.arms["7.1"], {}, Seeds(0, 0, "declared"), Place(tmp_path, {}, {}))
    arm = study.arms["7.1"]
    assert {one.name: one.distance for one in arm.evaluations} == {
        "day_select": None, "night_select": None, "night_test": "select_fid", "day_test": None,
    }  # fmt: skip
    assert study.arms["4.2"].evaluations[-1].distance == "select_his"
    assert {"selection_threshold", "selection_quantile"} < set(DISTANCES) <= {column.name for column in COLUMNS}
    scores = {"class_set": "cityscapes19", "step": 4, "miou": 0.3, "miou_zeros": 0.3, "pixel_accuracy": 0.5,
              "class_accuracy": 0.4, "fwiou": 0.4, "iou": {}, "confusion": [0] * 361, "images": 2, "height": 64,
              "width": 128}  # fmt: skip
    selected = {"fid": 3.0, "selection_threshold": 7.5, "selection_quantile": 0.107}
    told = {"trace": 2.5, "quantiles": [float(score) for score in range(11)]}
    found = {one.stage(checkpoint): {**scores, **({**selected, **told} if one.distance else {})}
             for one in arm.evaluations for checkpoint in ("best", "final")}  # fmt: skip
    outcome = Outcome("finished", scores=found, training={"unlabeled_images": 171, "unlabeled_ratio": 0.267})
    rows = {(row["evaluation_set"], row["checkpoint"]): row for row in score_rows(trial, outcome, sweep="s", attempt=1)}
    night = rows["night_test", "best"]
    assert {name: night[name] for name in selected} == selected
    assert night["fid_trace"] == 2.5
    assert json.loads(night["selection_quantiles"]) == {str(10 * score): score for score in range(11)}
    assert (night["unlabeled_images"], night["unlabeled_ratio"]) == (171, 0.267)
    assert night["selection_set"] == "toy_city/day_val + translated/val"
    for name in ("selection_threshold", "selection_quantiles", "fid_trace"):
        assert rows["day_test", "best"][name] is None


def test_the_pool_s_city_holds_the_same_days():
    study = build("night_self_training", "toy_city")
    city, pooled = (study.stages[name].config for name in ("city", "city_pool"))
    shots = [plan_tree(config.counts(), seed=config.city_seed, pairs=config.pairs, night_pool=config.pool_images())
             for config in (city, pooled)]  # fmt: skip
    days = [{shot for shot in tree if "/train/" in shot.image and shot.image.startswith("day/")} for tree in shots]
    assert days[0] == days[1]
    assert len(days[0]) == 320
    pool = [shot for shot in shots[1] if shot.image.startswith("night_pool")]
    assert len(pool) == 1600 == 2.5 * 2 * 320
    assert len([shot for shot in shots[1] if shot.image.startswith("day/leftImg8bit/pairs")]) == 78
    fewer = {"day": {"train": 5, "val": 2, "test": 2}, "night": {"train": 5, "val": 2, "test": 2}}
    changed = assign(study, {"city.city_seed": 3, "city.images": fewer})
    assert changed.stages["city_pool"].config.city_seed == 3
    assert changed.stages["city_pool"].config.images == fewer


def test_the_real_preset_has_the_thesis_s_settings():
    study = build("night_self_training", "real")
    his, fid = (study.stages[name].config for name in ("select_his", "select_fid"))
    assert (his.scorer, his.lower, his.threshold, his.red_weight) == ("histogram", 15, 20, 0.5)
    assert (fid.scorer, fid.quantile, fid.order) == ("frechet_dirac", 0.107, "random")
    assert [str(config.pool) for config in (his, fid)] == ["light_pool/night_train"] * 2
    assert round(his.unlabeled_ratio * 5950, -2) == 1600
    assert study.stages["select_fda"].config == his
    assert [str(split) for split in his.labeled] == ["cityscapes/train"] * 2
    assert str(study.stages["pool_features"].config.features) == "inception@2048"
    assert "segmenter" not in study.stages["pool_features"].inputs
    network = study.stages["train_8_3"].config.network
    assert (network.architecture, network.encoder) == ("panoptic_fpn", "resnet101")
    toy = build("night_self_training", "toy_city")
    assert toy.stages["pool_features"].inputs["segmenter"] == "train_3_1"


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:a Fréchet distance", "ignore:unlabeled_ratio")
def test_the_whole_graph_runs_and_its_rows_hold_what_was_selected(tmp_path: Path):
    """The longest chain, its converted cousin, CamVid's stand-in, and FDA."""
    study = tiny(
        "night_self_training",
        city_pool={"pool_ratio": 3.0, "pairs": 5},
        select_his={"lower": 0.0, "threshold": 100.0, "unlabeled_ratio": 0.5},
        select_fda={"lower": 0.0, "threshold": 100.0, "unlabeled_ratio": 0.5},
        select_fid={"quantile": 0.5, "unlabeled_ratio": 0.4},
    )
    place, rows, made = Place(storage=tmp_path, roots={}, fingerprints={}), {}, []
    for name in ("8.3", "4.2", "1.3", "fda"):
        trial = Trial.of(study, study.arms[name], {}, Seeds(0, 0, "declared"), place)
        outcome = run_in_process(trial, lambda event: None)
        assert outcome.status == "finished", outcome.message
        made += [stage["key"] for stage in outcome.stages if not stage["hit"]]
        for row in score_rows(trial, outcome, sweep="s", attempt=1):
            rows[name, row["evaluation_set"], row["checkpoint"]] = row
    planned = (Trial.of(study, study.arms[arm], {}, Seeds(0, 0, "declared"), place).planned for arm, *_ in rows)
    assert sorted(made) == sorted({one.key for stages in planned for one in stages.values()})
    night = rows["8.3", "night_test", "final"]
    assert (night["unlabeled_images"], night["unlabeled_ratio"]) == (2, pytest.approx(2 / 6))
    assert night["fid"] == pytest.approx(night["fid_mean_term"] + night["fid_covariance_term"])
    assert night["selection_quantile"] == pytest.approx(5 / 9)
    assert night["fid_features"].startswith("segmenter@3, 2 and 3 images")
    assert night["selection_set"] == "toy_city/day_val + translated/val"
    assert {evaluation for arm, evaluation, _ in rows if arm == "4.2"} == {
        "day_select", "night_select", "night_test_as_day",
    }  # fmt: skip
    assert rows["4.2", "night_test_as_day", "best"]["selection_threshold"] == 100
    assert rows["1.3", "night_test", "best"]["unlabeled_images"] == 3
    assert rows["fda", "night_test", "best"]["unlabeled_images"] == 3
    assert rows["fda", "night_test", "best"]["fid"] is None
