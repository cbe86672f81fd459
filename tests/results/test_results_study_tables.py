"""The tables of studies, against SciPy."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from results import leaderboard, studies
from results.store import write_scores
from results.study_tables import NO_RUNS, Measure, Question, Study, proxies_table, questions_table, study_table

STUDY = Study("demo", "toy_city", "night", "day", ("plain", "late", "better", "target"), said={"better": "26.4"})
MIOU = {"plain": (0.20, 0.24, 0.22), "better": (0.30, 0.35, 0.31), "target": (0.40, 0.41)}


@pytest.fixture
def rows(tmp_path, make_row) -> pd.DataFrame:
    written = []
    for arm, values in MIOU.items():
        for seed, miou in enumerate(values):
            base = {"arm": arm, "config_hash": f"c{arm}", "trial": f"{arm}{seed}", "seed": seed, "steps": 1200}
            base |= {"seconds": 10.0, "seconds_saved": 90.0, "unlabeled_images": 64 if arm == "better" else None}
            base["varied"] = "{}"
            written.append(make_row(evaluation_set="night", split_role="report", miou=miou, **base))
            written.append(make_row(evaluation_set="day", split_role="report", miou=miou + 0.1, **base))
            written.append(make_row(evaluation_set="night", split_role="report", miou=0.9, checkpoint="final", **base))
    plain = {"arm": "better", "evaluation_set": "night", "miou": 0.9}
    written.append(make_row(trial="other", preset="real", varied="{}", **plain))
    written.append(make_row(trial="searched", sweep="search", config_hash="c1", split_role="report", **plain))
    write_scores(tmp_path, written)
    return leaderboard.load(tmp_path)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_line_for_each_arm_that_ran_in_the_order_of_the_study(rows):
    head, _, plain, better, target = cells(study_table(STUDY, rows))
    assert head[:6] == ["arm", "`night`", "against `plain` (95 %)", "verdict", "the document", "`day`"]
    assert head[6:] == ["steps", "unlabeled", "seconds", "seeds"]
    assert plain == ["`plain`", "22.0 ± 2.0", "–", "–", "–", "32.0 ± 2.0", "1,200", "–", "100", "3"]
    assert better[0] == "`better`"
    assert better[4:] == ["26.4", "42.0 ± 2.6", "1,200", "64", "100", "3"]
    assert target[:2] == ["`target`", "40.5 ± 0.7"]
    assert target[-1] == "2"


def test_further_evaluation_sets_are_columns_with_a_dash_where_an_arm_has_none(tmp_path, rows, make_row):
    extra = [
        make_row(arm="better", trial=f"better{seed}", seed=seed, evaluation_set="night_s", miou=miou, varied="{}")
        for seed, miou in enumerate((0.10, 0.30))
    ]
    write_scores(tmp_path, extra)
    wider = study_table(replace(STUDY, also=("night_s",)), leaderboard.load(tmp_path))
    head, _, plain, better, _ = cells(wider)
    assert head[5:8] == ["`day`", "`night_s`", "steps"]
    assert (plain[6], better[6]) == ("–", "20.0 ± 14.1")
    assert [line[:6] + line[7:] for line in cells(wider)[2:]] == cells(study_table(STUDY, rows))[2:]


def test_differences_are_paired_by_seed(rows):
    _, _, _, better, target = cells(study_table(STUDY, rows))
    for line, arm in ((better, "better"), (target, "target")):
        n = len(MIOU[arm])
        test = stats.ttest_rel(MIOU[arm], MIOU["plain"][:n])
        low, high = test.confidence_interval()
        expected = [100 * np.mean(np.subtract(MIOU[arm], MIOU["plain"][:n])), 100 * low, 100 * high]
        found = [float(number) for number in re.findall(r"[-+][\d.]+", line[2])]
        assert found == pytest.approx(expected, abs=0.051)
    assert better[3] == "better"


def test_seeds_that_changed_nothing_count_once(tmp_path, make_row):
    written = [
        make_row(arm=arm, config_hash=f"c{arm}", trial=f"{arm}{seed}", seed=seed, miou=miou, varied="{}")
        for arm, miou in (("plain", 0.2), ("better", 0.3))
        for seed in range(3)
    ]
    write_scores(tmp_path, written)
    (line,) = leaderboard.compare(leaderboard.load(tmp_path), "plain", "better").to_dict("records")
    assert (line["n"], line["verdict"], np.isnan(line["p"])) == (1, "unknown", True)
    assert "--seed-scope all" in line["note"]
    assert line["difference"] == pytest.approx(0.1)


def test_without_the_arm_to_compare_with_there_is_no_table(rows):
    assert study_table(STUDY, rows[rows["arm"] != "plain"]) == NO_RUNS
    assert study_table(STUDY, rows[rows["preset"] == "real"]) == NO_RUNS
    assert len(study_table(STUDY, rows[rows["arm"] == "plain"]).splitlines()) == 3


def test_proxies_are_compared_with_the_oracle_by_their_order(tmp_path, make_row):
    oracle, infomax, source = (0.2, 0.5, 0.3, 0.4), (0.1, 0.8, 0.9, 0.6), (0.9, 0.4, 0.3, 0.1)
    written = []
    for number, values in enumerate(zip(oracle, infomax, source, strict=True)):
        base = {"sweep": "one", "config_hash": f"c{number}", "trial": f"t{number}"}
        base |= dict(zip(("miou", "target_infomax", "source_miou"), values, strict=True))
        written.append(make_row(evaluation_set="night", split_role="report", **base))
        written.append(
            make_row(evaluation_set="night", split_role="report", **base | {"checkpoint": "final", "miou": 1.0})
        )
        written.append(make_row(evaluation_set="day", **base | {"miou": 1.0}))
    write_scores(tmp_path, written)
    rows = leaderboard.load(tmp_path)
    (line,) = cells(proxies_table({"absent": "night", "one": "night"}, rows))[2:]
    # Of six pairs infomax orders four as the oracle does, mIoU on the source two.
    assert [cell.split()[0] for cell in line[3:5]] == ["+0.33", "-0.33"]
    assert line[:3] == ["`one`", "4", "`night` 20.0 … 50.0"]
    assert line[5:] == ["30.0", "20.0"]
    assert proxies_table({"one": "dusk"}, rows) == NO_RUNS


STUDIES = [study for study in vars(studies).values() if isinstance(study, Study)]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.experiment)
def test_the_studies_are_those_of_the_experiments(study):
    from orchestrator.experiments import build

    arms = build(study.experiment, study.preset).arms
    assert set(study.arms) <= set(arms)
    assert set(study.said) <= set(study.arms)
    reported = {one.name for arm in study.arms for one in arms[arm].evaluations}
    measured = {measure.evaluation_set for measure in study.measures}
    assert {study.target, study.source, *study.also, *measured} <= reported


QUESTIONS = {
    "bimix": studies.BIMIX_QUESTIONS,
    "night_self_training": studies.SELF_TRAINING_QUESTIONS,
    "label_balancing": studies.BALANCING_QUESTIONS,
}


@pytest.mark.parametrize("experiment", QUESTIONS)
def test_questions_are_asked_of_arms_that_there_are(experiment):
    from orchestrator.experiments import build

    arms = build(experiment, "toy_city").arms
    for one in QUESTIONS[experiment]:
        for arm in (one.baseline, one.arm):
            assert one.evaluation_set in {evaluation.name for evaluation in arms[arm].evaluations}


def test_measures_are_columns_with_their_spread(rows):
    rows = rows.assign(**{"iou.wall": 0.2, "iou.pole": rows["miou"], "fid": 1234.5 + 10 * rows["seed"], "psnr": 21.25})
    rows.loc[rows["arm"] == "plain", "fid"] = np.nan
    rare = Measure("rare", "night", ("iou.wall", "iou.pole"))
    study = replace(STUDY, measures=(rare, Measure("distance", "night", ("fid",)), Measure("dB", "day", ("psnr",))))
    head, _, plain, better, _ = cells(study_table(study, rows))
    assert head[6:9] == ["rare", "distance", "dB"]
    assert plain[6:9] == ["21.0 ± 1.0", "–", "21.2 ± 0.0"]
    assert better[7] == "1244 ± 10"


def test_an_arm_that_breaks_a_rule_is_shown_and_not_judged(rows, monkeypatch: pytest.MonkeyPatch):
    judged: list[tuple[str, ...]] = []
    compare = leaderboard.compare
    monkeypatch.setattr(leaderboard, "compare", lambda frame, *arms: judged.append(arms) or compare(frame, *arms))
    _, _, _, better, target = cells(study_table(replace(STUDY, unjudged=("target",)), rows))
    assert target[1:4] == ["40.5 ± 0.7", "–", "–"]
    assert judged == [("plain", "better")]  # Holm's correction does not count it either.
    assert better[3] == "better"


def test_questions_are_paired_and_corrected_together(rows):
    asked = (
        Question("Better?", "plain", "better", "night"),
        Question("By day?", "plain", "better", "day"),
        Question("And this?", "better", "unheard", "night"),
    )
    told = cells(questions_table("demo", "toy_city", (replace(asked[0], said="+3.1"), asked[1]), rows))
    assert [line[5] for line in told] == ["the document", "---", "+3.1", "–"]
    head, _, *lines = cells(questions_table("demo", "toy_city", asked, rows))
    assert head == ["question", "arms", "mIoU", "difference (95 %)", "verdict", "seeds"]
    assert [line[0] for line in lines] == ["Better?", "By day?"]
    assert lines[0][1:3] == ["`better` against `plain`, `night`", "32.0 : 22.0"]
    test = stats.ttest_rel(MIOU["better"], MIOU["plain"])
    low, high = test.confidence_interval()
    numbers = [float(number) for number in re.findall(r"[-+][\d.]+", lines[0][3])]
    assert numbers == pytest.approx([10.0, 100 * low, 100 * high], abs=0.051)
    assert test.pvalue < 0.025  # Twice that, for there are two of them, is still below .05.
    assert [line[4:] for line in lines] == [["better", "3"]] * 2
    assert questions_table("demo", "real", asked, rows) == NO_RUNS


def test_a_question_can_be_of_the_mean_of_some_classes(rows):
    """Paired by seed, beside one of the mIoU; a class that occurs in no image of a row is left out of its mean."""
    rows = rows.assign(**{"iou.wall": rows["miou"] / 2, "iou.pole": 0.1 + rows["seed"] / 100, "iou.bus": np.nan})
    two = Measure("the two", "night", ("iou.wall", "iou.pole", "iou.bus"))
    asked = (Question("All?", "plain", "better", "night"), Question("Two?", "plain", "better", "night", measure=two))
    head, _, whole, part = cells(questions_table("demo", "toy_city", asked, rows))
    assert head[2] == "mean IoU"
    assert part[1] == "`better` against `plain`, `night`, the two"
    means = {arm: np.array(MIOU[arm]) / 4 + 0.05 + np.arange(3) / 200 for arm in ("plain", "better")}
    assert part[2] == " : ".join(f"{100 * means[arm].mean():.1f}" for arm in ("better", "plain"))
    low, high = stats.ttest_rel(means["better"], means["plain"]).confidence_interval()
    numbers = [float(number) for number in re.findall(r"[-+][\d.]+", part[3])]
    assert numbers == pytest.approx([100 * np.mean(means["better"] - means["plain"]), 100 * low, 100 * high], abs=0.051)
    assert whole == cells(questions_table("demo", "toy_city", asked[:1], rows))[2]


def test_a_question_of_what_is_no_score_or_of_another_set_is_refused():
    with pytest.raises(ValueError, match="is no mean of scores"):
        Question("Nearer?", "plain", "better", "night", measure=Measure("distance", "night", ("fid",)))
    with pytest.raises(ValueError, match="is not measured on night"):
        Question("By day?", "plain", "better", "night", measure=Measure("wall", "day", ("iou.wall",)))
