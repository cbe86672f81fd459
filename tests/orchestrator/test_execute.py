import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.artifacts import Store
from orchestrator.execute import Event
from orchestrator.leases import Lease
from tests.orchestrator import fakes
from tests.orchestrator.fakes import calls, keys, study, walk

ROOT = Path(__file__).parents[2]
ALL = ["source", "translate", "train", "val@best", "val@final"]

pytestmark = pytest.mark.usefixtures("fake_methods")


def hits(reports):
    return {report.name: report.hit for report in reports}


def test_every_stage_runs_once_in_the_order_of_its_inputs(tmp_path):
    reports = walk(tmp_path)
    assert calls(tmp_path) == ALL
    assert [report.name for report in reports] == ALL
    assert not any(report.hit for report in reports)
    assert {report.name: report.key for report in reports} == keys(study())


def test_the_second_walk_is_all_hits_and_runs_nothing(tmp_path):
    first = walk(tmp_path)
    events = []
    second = walk(tmp_path, observe=events.append)
    assert all(report.hit for report in second)
    assert calls(tmp_path) == ALL
    assert [event.kind for event in events] == ["hit"] * 5
    assert [(report.name, report.key, report.seconds) for report in second] == [
        (report.name, report.key, report.seconds) for report in first
    ]


def test_the_stages_that_run_are_the_distinct_keys_of_all_walks(tmp_path):
    walks = [
        {"arm": arm, "seed": seed, "experiment": study(train={"value": value})}
        for arm in ("plain", "twice")
        for seed in (0, 1)
        for value in (0, 1)
    ]
    distinct = set()
    for one in walks:
        walk(tmp_path, **one)
        distinct |= set(keys(one["experiment"], one["arm"], seed=one["seed"]).values())
    assert len(calls(tmp_path)) == len(distinct) == 2 + 4 * 3 + 2 * 3
    assert len(list(tmp_path.glob("artifacts/*/*/manifest.json"))) == len(distinct)


def test_trials_that_differ_late_share_what_comes_before(tmp_path):
    walk(tmp_path)
    assert hits(walk(tmp_path, study(train={"value": 1}))) == {
        "source": True,
        "translate": True,
        "train": False,
        "val@best": False,
        "val@final": False,
    }


def test_inputs_of_a_hit_are_not_made(tmp_path):
    reports = {report.name: report for report in walk(tmp_path)}
    store = Store(tmp_path)
    for name, method in (("source", "fake_plain"), ("translate", "fake_shared"), ("val@final", "fake_plain")):
        store.quarantine(store.folder(method, reports[name].key))
    assert hits(walk(tmp_path)) == {"train": True, "val@best": True, "val@final": False}
    assert calls(tmp_path) == [*ALL, "val@final"]


def test_only_what_the_ends_need_is_made(tmp_path):
    assert [report.name for report in walk(tmp_path, ends=["translate"])] == ["source", "translate"]
    assert calls(tmp_path) == ["source", "translate"]


def test_a_method_gets_its_inputs_config_and_seed(tmp_path):
    walk(tmp_path, study(train={"value": 9}), seed=4)
    key = keys(study(train={"value": 9}), seed=4)["train"]
    assert (tmp_path / "artifacts" / "fake" / key / "value.txt").read_text() == "train 9 4 ['data']"


def test_events_tell_start_progress_and_done_of_each_stage(tmp_path):
    events = []
    walk(tmp_path, ends=["source"], observe=events.append)
    assert [(event.kind, event.stage) for event in events] == [
        ("start", "source"),
        ("progress", "source"),
        ("done", "source"),
    ]
    assert events[1] == Event("progress", "source", metrics={"step": 1.0, "steps": 1.0})


def test_what_a_method_warns_of_is_an_event_of_its_stage_in_every_walk(tmp_path, recwarn):
    (tmp_path / "warn-train").touch()
    told = []
    for value in (3, 3, 4):  # The second is a hit, which warns of nothing.
        events = []
        walk(tmp_path, study(train={"value": value}), observe=events.append)
        told.append([(event.stage, event.text) for event in events if event.kind == "warning"])
    assert told == [[("train", "train has value 3")], [], [("train", "train has value 4")]]
    assert not recwarn.list


def test_a_stage_that_raises_leaves_no_artifact_and_is_done_again(tmp_path):
    (tmp_path / "fail-train").touch()
    with pytest.raises(RuntimeError, match="told to fail"):
        walk(tmp_path)
    key = keys(study())["train"]
    assert not Store(tmp_path).exists("fake", key)
    assert not (tmp_path / "partial" / key / "lease").exists()
    assert calls(tmp_path) == ["source", "translate", "train"]
    (tmp_path / "fail-train").unlink()
    (left,) = (tmp_path / "partial" / key).glob("output-*")
    (left / "half.txt").write_text("of the attempt that failed")
    again = hits(walk(tmp_path))
    assert again["translate"] is True
    assert again["train"] is False
    assert not (tmp_path / "artifacts" / "fake" / key / "half.txt").exists()


def test_an_early_stop_passes_through_and_gives_the_lease_back(tmp_path):
    def stop(event):
        if event.kind == "progress" and event.stage == "train":
            raise SystemExit(0)

    with pytest.raises(SystemExit):
        walk(tmp_path, observe=stop)
    assert not Store(tmp_path).exists("fake", keys(study())["train"])
    assert not any(path.name == "lease" for path in (tmp_path / "partial").rglob("*"))
    assert hits(walk(tmp_path))["train"] is False


def test_processes_that_want_the_same_stages_make_each_once(tmp_path):
    command = [sys.executable, "-m", "tests.orchestrator.fakes", str(tmp_path), "0.5"]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(200) for process in processes] == [0, 0, 0]
    assert sorted(calls(tmp_path)) == sorted(ALL)


def test_who_finds_the_stage_in_work_waits_says_so_and_takes_it_over_as_a_hit(tmp_path):
    planned_key = keys(study())["source"]
    lease = Lease(tmp_path / "partial" / planned_key / "lease")
    assert lease.try_acquire()
    events, reports = [], []
    waiting = threading.Event()

    def observe(event):
        events.append(event)
        if event.kind == "waiting":
            waiting.set()

    other = threading.Thread(
        target=lambda: reports.extend(walk(tmp_path, ends=["source"], observe=observe)), daemon=True
    )
    other.start()
    assert waiting.wait(60)
    store = Store(tmp_path)
    output = store.partial(planned_key) / "output"
    output.mkdir()
    store.publish(output, method="fake_plain", key=planned_key, content={}, result={}, seconds=2.0)
    other.join(60)
    lease.release()
    assert [(report.name, report.hit) for report in reports] == [("source", True)]
    assert calls(tmp_path) == []
    assert [event.kind for event in events] == ["waiting", "hit"]
    assert "is making it" in events[0].text


def test_the_seconds_of_earlier_attempts_count(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes, "run", None)
    monkeypatch.setattr(
        sys.modules["fakes.fake_plain"], "run", lambda config, inputs, output, seed, context: {"seconds": 123.0}
    )
    (report,) = walk(tmp_path, ends=["source"])
    assert report.seconds == 123.0
    (again,) = walk(tmp_path, ends=["source"])
    assert (again.hit, again.seconds) == (True, 123.0)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_stage_that_switches_tf32_leaves_it_to_the_next_as_it_was(allowed, tmp_path, monkeypatch):
    import torch

    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    seen, run = [], fakes.run

    def switching(*arguments):
        seen.append((products.allow_tf32, convolutions.allow_tf32))
        products.allow_tf32 = convolutions.allow_tf32 = not allowed
        return run(*arguments)

    for name in fakes.SEED_FROM:
        monkeypatch.setattr(sys.modules[f"fakes.{name}"], "run", switching)
    try:
        walk(tmp_path)
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
    assert seen == [(allowed, allowed)] * len(ALL)
