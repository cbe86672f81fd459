import json
from datetime import UTC, datetime

import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

from orchestrator.artifacts import Store
from orchestrator.ledger import Ledger
from orchestrator.reporting import PNG, gather, importance
from results.leaderboard import load
from results.report.ranking import Configuration
from results.store import write_scores
from tests.orchestrator.fakes import seal
from trainers.errors import UserError

SPACE = {"a": FloatDistribution(1e-3, 1.0, log=True), "b": FloatDistribution(0, 1), "c": CategoricalDistribution("xy")}


REQUEST = {"experiment": "demo", "name": "first", "trials": 3, "seeds": 2}


def configuration(number, mean, **varied):
    return Configuration(f"c{number}", "", "other", "1", 1, mean, None, None, varied, {}, None)


def configurations(count, effect):
    """Points on a lattice: every field takes all its values, whatever the others do."""
    points = [((number % 7) / 6, (number * 3 % 11) / 10, "xy"[number % 2]) for number in range(count)]
    return [configuration(n, effect(a, b, c), a=max(a, 1e-3), b=b, c=c) for n, (a, b, c) in enumerate(points)]


@pytest.mark.parametrize("index", [0, 1])
def test_the_field_that_matters_is_the_important_one(index):
    found, note = importance(configurations(77, lambda *values: (values[index] - 0.3) ** 2), SPACE)
    assert found[0].name == "ab"[index]
    assert found[0].share > 0.6
    assert sum(one.share for one in found) == pytest.approx(1)
    assert all(one.sd >= 0 for one in found)
    assert found[0].sd > 0
    assert "77 configurations" in note
    assert "hint" not in note


def test_few_configurations_are_a_hint_very_few_nothing_and_one_field_is_no_comparison():
    found, note = importance(configurations(12, lambda a, b, c: a), SPACE)
    assert found
    assert "take it as a hint" in note
    found, note = importance(configurations(7, lambda a, b, c: a), SPACE)
    assert not found
    assert "need 8 configurations; there are 7" in note
    found, note = importance(configurations(77, lambda a, b, c: a), {"a": SPACE["a"]})
    assert not found
    assert "Only a was searched" in note
    assert importance(configurations(77, lambda a, b, c: a), {}) == ([], "")


def test_importances_are_the_same_each_time():
    points = configurations(30, lambda a, b, c: a + b)
    assert importance(points, SPACE) == importance(points, SPACE)


@pytest.fixture
def storage(tmp_path):
    """Two finished trials with artifacts; the better one's evaluation has a picture."""
    store = Store(tmp_path)
    keys = {"city": "a1", "train": "b1", "day_val@best": "c1", "day_val@final": "d1"}
    inputs = {"train": {"toy_city": "a1"}, "day_val@best": {"segmenter": "b1", "toy_city": "a1"}}
    for name, key in keys.items():
        output = tmp_path / "partial" / key
        (output / "pictures").mkdir(parents=True)
        if "day_val" in name:
            (output / "pictures/x.png").write_bytes(PNG + name.encode())
            entry = {"file": "pictures/x.png", "title": "street", "kind": "input", "caption": "dark"}
            (output / "pictures.json").write_text(json.dumps([entry]))
        method = "evaluation" if "@" in name else name
        content = {"inputs": inputs.get(name, {})}
        store.publish(output, method=method, key=key, content=content, result={}, seconds=2.0)
    rows = []
    for number, score in enumerate((0.4, 0.6)):
        stages = [{"name": name, "key": key if number else "gone", "hit": False, "seconds": 2.0}
                  for name, key in keys.items()]  # fmt: skip
        rows.append(
            {
                "sweep": "first", "trial": f"t{number}", "arm": "supervised", "attempt": 0, "experiment": "demo",
                "preset": "toy_city", "config_hash": f"c{number}", "seed": 3, "seed_scope": "last",
                "created_utc": datetime(2026, 11, 20, tzinfo=UTC), "params": json.dumps({"a": number}),
                "varied": json.dumps({"a": number}), "evaluation_set": "day_val", "split_role": "select",
                "checkpoint": "best", "miou": score, "source_miou": score, "stages": stages, "seconds": 8.0,
                "status": "finished",
            }
        )  # fmt: skip
    write_scores(tmp_path, rows)
    ledger = Ledger(tmp_path, "first")
    distributions = {name: json.loads(distribution_to_json(one)) for name, one in SPACE.items()}
    ledger.write("asked", "c0000", {"params": {}, "distributions": distributions, "base": ""})
    (ledger.root / "request.json").write_text(json.dumps(REQUEST))
    return tmp_path


def test_the_material_is_that_of_the_best_trial(storage):
    found = gather(storage, "first", load(storage, sweep="first"))
    assert found.objective == "source_miou"
    assert found.baseline is None
    asked = json.loads((storage / "sweeps/first/request.json").read_text())
    (storage / "sweeps/first/request.json").write_text(json.dumps({**asked, "objective": "target_infomax"}))
    assert gather(storage, "first", load(storage, sweep="first")).objective == "target_infomax"
    assert found.planned_trials == 6
    assert found.log_fields == {"a"}
    assert [(one.stage, one.title, one.kind, one.caption, one.png) for one in found.pictures] == [
        ("day_val@best", "street", "input", "dark", PNG + b"day_val@best")
    ]
    assert "seed 3, trial t1" in found.pictures_of


def test_the_baseline_is_that_of_the_experiment(storage):
    rows = load(storage, sweep="first").assign(experiment="label_balancing")
    assert gather(storage, "first", rows).baseline == "baseline"


def test_each_arm_shows_the_pictures_of_its_best_trial_and_shared_stages_once(storage):
    """Of three arms the best stands first; what two of them share is shown where it comes first."""
    store = Store(storage)
    for name, key in (("fda:day_val@best", "e1"), ("train_fda", "f1")):
        output = storage / "partial" / key
        (output / "pictures").mkdir(parents=True)
        (output / "pictures/x.png").write_bytes(PNG + name.encode())
        (output / "pictures.json").write_text(
            json.dumps([{"file": "pictures/x.png", "title": "", "kind": "", "caption": ""}])
        )
        store.publish(output, method="other", key=key, content={"inputs": {}}, result={}, seconds=2.0)
    rows = load(storage, sweep="first")
    own = [{"name": name, "key": key, "hit": False, "seconds": 2.0}
           for name, key in (("day_val@best", "c1"), ("train_fda", "f1"), ("fda:day_val@best", "e1"))]  # fmt: skip
    first = rows.iloc[:1].assign(arm="fda", miou=0.9, source_miou=0.9, trial="t9", config_hash="c9")
    first["stages"] = [own]
    found = gather(storage, "first", pd.concat([rows, first, first.assign(trial="t8", seed=4)], ignore_index=True))
    assert [one.stage for one in found.pictures] == ["day_val@best", "fda:day_val@best", "train_fda"]
    assert (
        found.pictures_of
        == "The best configuration of each arm: fda (seed 3, trial t9), supervised (seed 3, trial t1)."
    )


def test_seeds_that_a_pruned_configuration_will_never_run_are_not_planned(storage):
    """Three configurations of two seeds, of which the first was stopped on its first seed: 1 + 2 × 2."""
    ledger = Ledger(storage, "first")
    (ledger.root / "request.json").write_text(json.dumps(REQUEST | {"scheduler": "asha"}))
    ledger.write("attempts", "t0.000", {"varied": {}, "seed": 0})
    ledger.write("outcomes", "t0.000", {"status": "pruned"})
    assert gather(storage, "first", load(storage, sweep="first")).planned_trials == 5


def test_the_graph_is_read_off_the_manifests(storage):
    rows = load(storage, sweep="first")
    found = gather(storage, "first", rows[rows["trial"] == "t1"])
    assert set(found.links) == {("city", "train"), ("train", "day_val@best"), ("city", "day_val@best")}
    assert found.methods["day_val@best"] == "evaluation"


def test_a_run_without_ledger_and_artifacts_has_little_but_is_no_error(storage):
    rows = load(storage, sweep="first")
    found = gather(storage, "other", rows[rows["trial"] == "t0"].assign(experiment="unknown"))
    assert (found.objective, found.planned_trials, found.links, list(found.pictures)) == (None, None, [], [])


@pytest.mark.parametrize("file", ["../../../secret.png", "/etc/hostname", "pictures/absent.png"])
def test_pictures_cannot_lead_out_of_their_artifact(storage, file):
    listing = storage / "artifacts/evaluation/c1/pictures.json"
    listing.write_text(json.dumps([{"file": file, "title": "", "kind": "", "caption": ""}]))
    seal(listing.parent)
    with pytest.raises(UserError, match="which the manifest does not"):
        gather(storage, "first", load(storage, sweep="first"))


def test_what_is_no_png_is_named(storage):
    (storage / "artifacts/evaluation/c1/pictures/x.png").write_text("<svg>")
    seal(storage / "artifacts/evaluation/c1")
    with pytest.raises(UserError, match=r"x\.png is no PNG"):
        gather(storage, "first", load(storage, sweep="first"))


def test_the_command_writes_the_file_and_says_so(storage, nightshift):
    output = storage / "out" / "report.html"
    done = nightshift("report", "--storage", storage, "--output", output)
    assert done.code == 0, done.err
    assert done.out == f"{output}: first, {output.stat().st_size / 1e6:.1f} MB\n"
    text = output.read_text()
    assert "street — dark" in text
    assert "No trial" not in text


def test_published_results_have_a_report(nightshift, tmp_path):
    output = tmp_path / "published.html"
    assert nightshift("report", "--published", "--sweep", "camvid-alpha", "--output", output).code == 0
    assert "camvid" in output.read_text()


@pytest.mark.parametrize(
    ("words", "what"),
    [(("--sweep", "frist"), "did you mean first?"), (("--output", "."), "is a folder"), ((), "holds no leaderboard")],
)
def test_what_cannot_be_reported_is_refused_in_one_line(storage, nightshift, tmp_path, words, what):
    place = storage if words else tmp_path / "empty"
    done = nightshift("report", "--storage", place, *words)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert what in done.err
