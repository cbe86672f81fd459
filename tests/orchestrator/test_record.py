import json

import pandas as pd
import pytest

from orchestrator.artifacts import Store
from orchestrator.launch import run_in_process
from orchestrator.record import curve_rows, record, recorded_trials, score_rows
from orchestrator.trial import Outcome, failure
from results.leaderboard import load
from results.schema import CLASS_NAMES, CURVES, SCORES, check_rows
from results.store import read_curves, read_scores
from tests.orchestrator import fakes
from trainers.errors import Diverged, UserError

IOU = {name: None if name == "train" else 0.5 for name in CLASS_NAMES}
STAGES = [
    {"name": "city", "key": "ab", "hit": True, "seconds": 4.0},
    {"name": "train", "key": "cd", "hit": False, "seconds": 10.0},
    {"name": "day_val@best", "key": "ef", "hit": False, "seconds": 0.5},
]


@pytest.fixture
def trial(tmp_path):
    return fakes.trial(tmp_path, varied={"train.loss.alpha": 0.25}, seed=3)


def result(step, miou):
    return {
        "step": step,
        "images": 40,
        "infomax": 0.3,
        "height": 64,
        "width": 128,
        "class_set": "cityscapes19",
        **dict.fromkeys(("miou_zeros", "pixel_accuracy", "class_accuracy", "fwiou"), 0.4),
        "miou": miou,
        "iou": IOU,
        "confusion": [1] * 361,
    }


def finished(trial):
    scores = {
        evaluation.stage(checkpoint): result(200 if checkpoint == "final" else 150, 0.1 * number)
        for number, evaluation in enumerate(trial.arm.evaluations, start=1)
        for checkpoint in ("best", "final")
    }
    return Outcome(
        "finished",
        stages=STAGES,
        scores=scores,
        training={
            "steps": 200,
            "unlabeled_images": 64,
            "images_per_second": 33.3,
            "peak_memory_bytes": None,
            "seconds": 9.0,
        },
        objectives={"source_miou": 0.1, "target_infomax": 0.3, "target_miou": 0.3},
        hardware="a processor",
    )


def test_a_finished_trial_has_a_row_per_evaluation_set_and_checkpoint(trial):
    rows = score_rows(trial, finished(trial), sweep="one", attempt=2)
    check_rows(rows, SCORES)
    assert [
        (row["evaluation_set"], row["split_role"], row["checkpoint"], row["step"], row["miou"]) for row in rows
    ] == [
        ("day_val", "select", "best", 150, 0.1),
        ("day_val", "select", "final", 200, 0.1),
        ("day_test", "report", "best", 150, 0.2),
        ("day_test", "report", "final", 200, 0.2),
        ("night_test", "report", "best", 150, pytest.approx(0.3)),
        ("night_test", "report", "final", 200, pytest.approx(0.3)),
    ]


def test_a_row_says_what_made_it(trial, tmp_path):
    record(trial, finished(trial), sweep="one", attempt=2)
    table, broken = read_scores(tmp_path)
    assert broken == []
    row = table.to_pylist()[0]
    expected = {
        "sweep": "one",
        "trial": trial.id,
        "arm": "supervised",
        "attempt": 2,
        "experiment": "demo",
        "preset": "toy_city",
        "method": "supervised",
        "config_hash": trial.config_hash,
        "seed": 3,
        "seed_scope": "last",
        "selection_set": "toy_city/day_val",
        "selection_metric": "miou",
        "iou.road": 0.5,
        "iou.train": None,
        "confusion": [1] * 361,
        "image_height": 64,
        "label_width": 128,
        "source_miou": 0.1,
        "target_infomax": 0.3,
        "seconds": 10.5,
        "seconds_saved": 4.0,
        "unlabeled_images": 64,
        "steps": 200,
        "images_per_second": 33.3,
        "peak_memory_bytes": None,
        "devices": 1,
        "stages": STAGES,
        "hardware": "a processor",
        "status": "finished",
        "failure_class": None,
        "message": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["varied"]) == {"train.loss.alpha": 0.25}
    assert json.loads(row["params"])["train.loss.alpha"] == 0.25
    assert json.loads(row["params"])["city.height"] == 64
    assert "torch" in json.loads(row["versions"])
    assert row["command"].startswith("nightshift")


@pytest.mark.usefixtures("fake_methods")
def test_the_steps_of_every_stage_count_whether_made_or_found(tmp_path):
    study = fakes.study(train={"steps": 40}, source={"steps": 5}, second={"steps": 700})
    trial = fakes.trial(tmp_path, experiment=study)
    for _ in range(2):
        outcome = run_in_process(trial, lambda event: None)
        assert outcome.status == "finished", outcome.trace
        assert outcome.training == {"value": 0, "steps": 45}


def test_the_rows_open_in_the_reader_and_in_plain_pandas(trial, tmp_path):
    record(trial, finished(trial), sweep="one", attempt=0)
    frame = load(tmp_path, sweep="one")
    assert frame["params.train.loss.alpha"].tolist() == [0.25] * 6
    plain = pd.read_parquet(tmp_path / "leaderboard" / "scores")
    assert sorted(plain["miou"].round(6)) == sorted(frame["miou"].round(6))


def test_devices_count_the_workers_and_auto_precision_is_resolved(tmp_path):
    trial = fakes.trial(tmp_path, workers=2)
    row = score_rows(trial, finished(trial), sweep="one", attempt=0)[0]
    assert row["devices"] == 2
    assert json.loads(row["params"])["train.precision"] == "float32"


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (RuntimeError("first line\n  second"), "failed", "bug", "RuntimeError: first line second"),
        (UserError("no such file"), "failed", "invalid", "no such file"),
        (Diverged("loss is nan"), "diverged", "diverged", "loss is nan"),
        (MemoryError(), "failed", "out_of_memory", "MemoryError: MemoryError"),
    ],
)
def test_a_trial_that_did_not_finish_has_one_row_that_says_why(trial, tmp_path, error, status, kind, message):
    outcome = failure(error, tmp_path)
    record(trial, outcome, sweep="one", attempt=0)
    (row,) = read_scores(tmp_path)[0].to_pylist()
    assert (row["status"], row["failure_class"], row["message"]) == (status, kind, message)
    for absent in ("evaluation_set", "checkpoint", "miou", "steps", "seconds", "stages", "source_miou"):
        assert row[absent] is None, absent
    assert row["trial"] == trial.id
    assert (outcome.trace is not None) == (kind in ("bug", "out_of_memory"))


def test_a_later_attempt_replaces_a_failure(trial, tmp_path):
    record(trial, failure(RuntimeError("no"), tmp_path), sweep="one", attempt=0)
    assert recorded_trials(tmp_path, "one") == {trial.id: (0, "failed")}
    record(trial, finished(trial), sweep="one", attempt=1)
    assert recorded_trials(tmp_path, "one") == {trial.id: (1, "finished")}
    assert recorded_trials(tmp_path, "another") == {}
    assert len(read_scores(tmp_path)[0]) == 6


def test_a_storage_without_leaderboard_has_recorded_nothing(tmp_path):
    assert recorded_trials(tmp_path, "one") == {}


def make_curve(trial, points):
    store, planned = Store(trial.place.storage), trial.planned["train"]
    output = store.partial(planned.key) / "output"
    output.mkdir(parents=True)
    (output / "curves.json").write_text(json.dumps(points))
    store.publish(output, method=planned.method.name, key=planned.key, content={}, result={}, seconds=0.0)


def test_the_curves_of_a_training_are_written_whoever_trained_it(trial, tmp_path):
    make_curve(trial, [[10, "loss", 2.5], [20, "loss", 2.0], [20, "selection", 0.1]])
    rows = curve_rows(trial, sweep="one", attempt=1)
    check_rows(rows, CURVES)
    record(trial, finished(trial), sweep="one", attempt=1)
    table, _ = read_curves(tmp_path)
    assert table.to_pylist() == rows
    assert [(row["stage"], row["step"], row["metric"], row["value"]) for row in rows] == [
        ("train", 10, "loss", 2.5),
        ("train", 20, "loss", 2.0),
        ("train", 20, "selection", 0.1),
    ]


def test_a_trial_without_training_has_no_curves(trial, tmp_path):
    record(trial, failure(RuntimeError("no"), tmp_path), sweep="one", attempt=0)
    assert len(read_curves(tmp_path)[0]) == 0
