"""Every row names what was scored; other images, and one corrected label, are something else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from PIL import Image

from orchestrator.experiments import EXPERIMENTS, build, presets
from orchestrator.experiments.camvid import camvid
from orchestrator.experiments.demo import toy_city
from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.overrides import assign
from orchestrator.preflight import Request, place
from orchestrator.record import record, score_rows
from orchestrator.scored import check_objective, objective_fingerprint, scored_by
from orchestrator.search import Search
from orchestrator.trial import Outcome, Trial
from search_spaces import SPACES, space
from tests.orchestrator import fakes
from tests.orchestrator.test_record import finished
from tests.orchestrator.test_search import drive, new_search
from trainers.errors import UserError

OWN = {
    "train.train": ["labeled_folder/train"],
    "train.select": "labeled_folder/val",
    **{f"day_val@{checkpoint}.split": "labeled_folder/val" for checkpoint in ("best", "final")},
    **{f"dusk_adapt@{checkpoint}.split": "labeled_folder/val" for checkpoint in ("best", "final")},
    **{f"dusk_val@{checkpoint}.split": "labeled_folder/test" for checkpoint in ("best", "final")},
}


def draw(root: Path, seed: int) -> Path:
    """A labeled folder of own photographs: noise, and labels of two classes."""
    dice = np.random.default_rng(seed)
    for split in ("train", "val", "test"):
        for kind, shape in (("images", (8, 8, 3)), ("labels", (8, 8))):
            folder = root / kind / split
            folder.mkdir(parents=True)
            pixels = dice.integers(0, 255 if kind == "images" else 2, shape).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "a.png")
    (root / "classes.yaml").write_text("{0: road, 1: car}")
    return root


def own_trial(storage: Path, root: Path, seed: int = 0) -> Trial:
    study = assign(camvid(), OWN)
    arm = study.arms["supervised"]
    here = place(study, [arm], Request(storage=storage, roots={"labeled_folder": root}))
    return Trial.of(study, arm, {}, Seeds(0, seed, "last"), here)


def publish(trial: Trial, sweep: str, gain: float) -> list[dict]:
    """The rows of a trial that ended; every score is shifted by ``gain`` and the seed."""
    outcome = finished(trial)
    for result in outcome.scores.values():
        result["miou"] += gain + 0.01 * trial.seeds.trial
    record(trial, outcome, sweep=sweep, attempt=0)
    return score_rows(trial, outcome, sweep=sweep, attempt=0)


@pytest.fixture
def folders(tmp_path):
    """The storage with rows of one experiment on two folders of disjoint photographs, three seeds each."""
    roots = {name: draw(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))}
    for gain, (name, root) in zip((0.033, 0.0), roots.items(), strict=True):
        for seed in range(3):
            publish(own_trial(tmp_path / "runs", root, seed), name, gain)
    return tmp_path / "runs"


def test_two_folders_of_photographs_are_never_compared(nightshift, folders):
    done = nightshift("compare", "sweep=one", "sweep=two", "--storage", folders)
    assert (done.code, done.out) == (2, "")
    assert "are not compared: day_val: scored on different images: labeled_folder/val " in done.err
    assert done.err.count("\n") == 1


def test_the_leaderboard_ranks_two_folders_apart_and_says_so(nightshift, folders):
    done = nightshift("leaderboard", "--where", "evaluation_set=day_val", "--storage", folders)
    assert done.code == 0, done.err
    assert "not compared: rows of day_val scored on different images: labeled_folder/val " in done.out
    assert "scored on" in done.out.split("not compared")[0]
    wide = nightshift("leaderboard", "--wide", "--storage", folders)
    assert "scored on" in wide.out
    assert "not compared: rows of day_val" in wide.out
    table = nightshift("leaderboard", "--json", "--where", "checkpoint=best", "--storage", folders)
    assert '"rank":2' not in table.out
    assert '"scored_split":"labeled_folder\\/val"' in table.out


def test_one_corrected_label_is_something_else(tmp_path):
    root = draw(tmp_path / "own", 0)
    before = own_trial(tmp_path / "runs", root)
    label = np.array(Image.open(root / "labels" / "val" / "a.png"))
    label[0, 0] = 1 - label[0, 0]
    Image.fromarray(label).save(root / "labels" / "val" / "a.png")
    after = own_trial(tmp_path / "runs", root)
    rows = [{row["evaluation_set"]: row for row in publish(one, "s", 0.0)} for one in (before, after)]
    values = [{name: row["scored_fingerprint"] for name, row in one.items()} for one in rows]
    assert values[0]["day_val"] != values[1]["day_val"]
    assert values[0]["dusk_val"] == values[1]["dusk_val"]
    assert rows[0]["dusk_val"]["scored_split"] == "labeled_folder/test"
    sources = [one["dusk_val"]["source_fingerprint"] for one in rows]
    assert sources[0] != sources[1]


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in EXPERIMENTS for preset in presets(name)])
def test_the_rows_of_every_arm_and_seed_name_their_images_and_can_be_compared(tmp_path, name, preset):
    study = build(name, preset)
    found: dict[str, set] = {}
    for seed in (0, 1):
        for arm in study.arms.values():
            trial = Trial.of(study, arm, {}, Seeds(0, seed, "all"), fakes.place(tmp_path, fingerprints=Any_()))
            for evaluation in arm.evaluations:
                for checkpoint in ("best", "final"):
                    scored = scored_by(trial.planned, evaluation.stage(checkpoint))
                    assert scored.fingerprint
                    found.setdefault(evaluation.name, set()).add(scored)
    assert {evaluation_set: len(scored) for evaluation_set, scored in found.items()} == dict.fromkeys(found, 1)


class Any_(dict):
    """A fingerprint for every split."""

    def __missing__(self, split: str) -> str:
        return f"bytes of {split}"


def test_a_translation_counts_as_the_images_that_it_was_made_of(tmp_path):
    study = build("dehazing", "toy_city")
    trials = [fakes.trial(tmp_path, experiment=replace(study, arms={name: study.arms[name]}))
              for name in ("no_dehazing", "pixel")]  # fmt: skip
    plain, translated = (scored_by(one.planned, f"{one.arm.name}:fog@best") for one in trials)
    assert plain == translated
    assert plain.split == "toy_city/fog_test"
    part = assign(trials[1].experiment, {"pixel:fog@best.split": "translated/test:5"})
    trial = fakes.trial(tmp_path, experiment=part)
    assert scored_by(trial.planned, "pixel:fog@best").split == "toy_city/fog_test:5"


def test_another_city_is_something_else_and_more_seeds_are_not(tmp_path):
    found = {
        (varied, seed): scored_by(
            fakes.trial(tmp_path, varied={"city.city_seed": varied}, seed=seed).planned, "day_test@best"
        )
        for varied in (0, 1)
        for seed in (0, 1)
    }
    assert found[0, 0] == found[0, 1] != found[1, 0]
    assert found[0, 0].split == "toy_city/day_test"


def test_an_objective_at_the_input_s_size_names_that_size(tmp_path):
    def named(objective, **fields):
        trial = fakes.trial(tmp_path, experiment=assign(toy_city(), fields))
        return objective_fingerprint(trial.planned, trial.arm, objective)

    larger = {"train.height": 128, "train.width": 256}
    at_labels = {f"{name}@best.score_size": "label" for name in ("day_val", "night_val")}
    assert named("source_miou") != named("source_miou", **larger)
    assert named("source_miou", **at_labels) == named("source_miou", **at_labels, **larger)
    assert named("source_miou") != named("source_miou", **at_labels)
    assert named("target_infomax", **at_labels) != named("target_infomax", **at_labels, **larger)
    assert named("target_infomax", **at_labels) == named("target_infomax")


def test_a_row_without_objectives_names_nothing_for_them(tmp_path):
    trial = fakes.trial(tmp_path)
    (row,) = score_rows(trial, Outcome("failed", message="no"), sweep="s", attempt=0)
    assert (row["source_miou"], row.get("source_fingerprint")) == (None, None)


def test_the_sampler_is_not_told_of_other_images(tmp_path):
    drive(new_search(tmp_path, trials=3))
    first = new_search(tmp_path, trials=3)
    elsewhere = replace(first.sweep, experiment=assign(toy_city(), {"city.city_seed": 5}), warm_start="one")
    with pytest.raises(UserError, match=r"--warm-start one: none of its 3 configurations can be told: .*other images"):
        Search(elsewhere, Ledger(tmp_path, "two"))
    heard = Search(replace(first.sweep, warm_start="one"), Ledger(tmp_path, "three"))
    assert len([trial for trial in heard._study.get_trials() if trial.value is not None]) == 3
    assert heard.notes == []


def test_what_an_older_sweep_does_not_say_is_not_told_and_that_is_said(tmp_path):
    drive(new_search(tmp_path, trials=3))
    ledger = Ledger(tmp_path, "one")
    record_of = dict(ledger.read("asked")["c0001"])
    (ledger.root / "asked" / "c0001.json").unlink()
    del record_of["scored"]
    ledger.write("asked", "c0001", record_of)
    heard = Search(replace(new_search(tmp_path, trials=3).sweep, warm_start="one"), Ledger(tmp_path, "two"))
    assert len([trial for trial in heard._study.get_trials() if trial.value is not None]) == 2
    assert heard.notes == [
        "1 of 3 configurations of one are not told: their source_miou was scored on other images, at another size, or "
        "it is not known on what"
    ]


@pytest.mark.parametrize(
    "varied",
    [
        {"train.width": IntDistribution(128, 256, step=128)},
        {"city.city_seed": IntDistribution(0, 3)},
        {"day_val@best.split": CategoricalDistribution(["toy_city/day_val", "toy_city/night_val"])},
    ],
)
def test_a_search_cannot_vary_what_its_objective_is_scored_on(tmp_path, varied):
    sweep = new_search(tmp_path).sweep
    check_objective(sweep)
    with pytest.raises(UserError, match=f"{next(iter(varied))}=.* changes the images that source_miou is scored on"):
        check_objective(replace(sweep, space={**sweep.space, **varied}))


def test_every_search_of_every_experiment_leaves_its_objective_s_images_alone(tmp_path):
    assert SPACES
    sweep = new_search(tmp_path).sweep
    for name in EXPERIMENTS:
        for preset in presets(name):
            study = build(name, preset)
            for spaces in study.searches.values():
                fields = {
                    f"{stage}.{field}": one for stage, key in spaces.items() for field, one in space(key)[1].items()
                }
                arm = next(arm for arm in study.arms.values() if set(spaces) <= set(study.upstream(arm.stages())))
                here = fakes.place(tmp_path, fingerprints=Any_())
                check_objective(replace(sweep, experiment=study, arm=arm, space=fields, place=here))
