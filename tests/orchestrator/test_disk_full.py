"""A full disk ends a sweep in one line; what was finished stays, nothing is half there, the next start goes on."""

import errno
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.artifacts import Store
from orchestrator.files import DiskFull, publish_json, replace_json
from orchestrator.record import recorded_trials
from orchestrator.searcher import LedgerSearcher, Searcher, Watcher
from orchestrator.sweep import run_sweep
from orchestrator.trial import Outcome, failure
from tests.orchestrator.fakes import calls, keys, study, trial, walk
from tests.orchestrator.test_record import finished
from tests.orchestrator.test_search import new_search
from trainers.checkpoint import newest_checkpoint, save_state, write_checkpoint

FULL = OSError(errno.ENOSPC, "No space left on device")
NOBODY = Watcher(lambda trial, event: None, lambda trial, outcome: None)


def full(*words, **options):
    raise FULL


def free_bytes(monkeypatch, count):
    usage = type("Usage", (), {"free": count})
    monkeypatch.setattr("orchestrator.files.shutil.disk_usage", lambda path: usage)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_and_a_full_quota_are_told_from_a_bug(tmp_path, number):
    assert failure(OSError(number, "full"), tmp_path).failure_class == "disk_full"
    assert failure(OSError(errno.EACCES, "no"), tmp_path).failure_class == "bug"


def test_an_error_without_a_number_is_put_down_to_a_disk_that_is_full(tmp_path, monkeypatch):
    """``torch.save`` and PIL's encoders lose the number of the system's error."""
    torn = RuntimeError("PytorchStreamWriter failed writing file")
    assert failure(torn, tmp_path).failure_class == "bug"
    free_bytes(monkeypatch, 4096)
    assert failure(torn, tmp_path).failure_class == "disk_full"
    assert failure(OSError("encoder error -2 when writing image file"), tmp_path).failure_class == "disk_full"
    assert failure(OSError(errno.EACCES, "no"), tmp_path).failure_class == "bug"
    assert failure(KeyError("x"), tmp_path).failure_class == "bug"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_state_that_does_not_fit_names_the_disk(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught:
        save_state(Path("/dev/full"), {"step": 1})
    assert failure(caught.value, tmp_path).failure_class == "disk_full"


@pytest.mark.parametrize("where", ["write", "fsync", "rename"])
def test_a_checkpoint_that_does_not_fit_leaves_the_older_one_and_no_rubbish(tmp_path, monkeypatch, where):
    def fill(folder):
        (folder / "state.txt").write_text("new")

    write_checkpoint(tmp_path, 2, lambda folder: None)
    if where == "fsync":
        monkeypatch.setattr("trainers.checkpoint.os.fsync", full)
    if where == "rename":
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, 3, full if where == "write" else fill)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000002"
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


@pytest.mark.usefixtures("fake_methods")
@pytest.mark.parametrize("where", ["manifest", "fsync", "rename"])
def test_an_artifact_that_does_not_fit_is_not_there_and_made_by_the_next_walk(tmp_path, monkeypatch, where):
    walk(tmp_path, ends=["translate"])
    if where == "manifest":
        monkeypatch.setattr("orchestrator.artifacts.write_durably", full)
    elif where == "fsync":
        monkeypatch.setattr("trainers.checkpoint.os.fsync", full)
    else:
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left") as caught:
        walk(tmp_path)
    assert failure(caught.value, tmp_path).failure_class == "disk_full"
    assert not Store(tmp_path).folder("fake", keys(study())["train"]).exists()
    monkeypatch.undo()


@pytest.mark.usefixtures("fake_methods")
def test_after_space_is_made_only_what_is_missing_runs(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.artifacts.write_durably", full)
        with pytest.raises(OSError, match="No space left"):
            walk(tmp_path, ends=["source"])
    walk(tmp_path, ends=["translate"])
    assert calls(tmp_path) == ["source", "source", "translate"]
    assert list((tmp_path / "partial").rglob("*")) == []


@pytest.mark.parametrize("write", [publish_json, replace_json])
def test_a_record_that_does_not_fit_is_not_there(tmp_path, monkeypatch, write):
    monkeypatch.setattr("orchestrator.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "record.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def searching(tmp_path, **options):
    search = new_search(tmp_path, **options)
    return search, LedgerSearcher(search, NOBODY, None)


def one_line(error):
    text = str(error)
    assert isinstance(error, DiskFull)
    assert "\n" not in text
    for part in ("is full", "MB are free", "`nightshift resume one --storage "):
        assert part in text, text
    return text


def test_a_trial_that_finds_the_disk_full_ends_the_sweep_and_goes_on_at_the_next_start(tmp_path):
    search, searcher = searching(tmp_path)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    outcome = Outcome("failed", failure_class="disk_full", message="OSError: No space left on device")
    searcher.on_trial_complete("a", {"outcome": json.dumps(asdict(outcome))})
    assert first["trial"] in one_line(searcher.error)
    assert str(tmp_path) in one_line(searcher.error)
    assert searcher.is_to_stop("b", {"event": "{}"}), "the others have to end as well"
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("b", {"event": "{}"})
    assert searcher.suggest("c") == Searcher.FINISHED
    assert search.ledger.read("outcomes") == {}
    again = new_search(tmp_path)
    assert [again.next_trial()[0].id for _ in range(2)] == [first["trial"], second["trial"]]


@pytest.mark.parametrize("kind", ["asked", "attempts"])
def test_a_ledger_that_cannot_grow_ends_the_sweep_before_a_trial_starts(tmp_path, monkeypatch, kind):
    _, searcher = searching(tmp_path)
    write = publish_json
    monkeypatch.setattr(
        "orchestrator.ledger.publish_json", lambda path, content: full() if kind in path.parts else write(path, content)
    )
    assert searcher.suggest("a") == Searcher.FINISHED
    one_line(searcher.error)
    monkeypatch.undo()
    assert len(new_search(tmp_path).ledger.read("asked")) == (kind == "attempts")
    assert new_search(tmp_path).next_trial() is not None


def run_one(tmp_path, searcher):
    suggested = searcher.suggest("a")
    ran = searcher._live["a"][0]
    assert ran.id == suggested["trial"]
    searcher.on_trial_complete("a", {"outcome": json.dumps(asdict(finished(ran)))})
    return ran


@pytest.mark.parametrize("kind", ["scores", "outcomes"])
def test_an_outcome_that_does_not_fit_in_the_ledger_is_no_row(tmp_path, monkeypatch, kind):
    _, searcher = searching(tmp_path, trials=1)
    write = publish_json
    monkeypatch.setattr(
        "orchestrator.ledger.publish_json", lambda path, content: full() if kind in path.parts else write(path, content)
    )
    ran = run_one(tmp_path, searcher)
    one_line(searcher.error)
    monkeypatch.undo()
    assert recorded_trials(tmp_path, "one") == {}
    again = new_search(tmp_path, trials=1)
    given, attempt = again.next_trial()
    assert (given.id, attempt) == (ran.id, 1)


def test_a_row_that_does_not_fit_is_written_by_the_next_start(tmp_path, monkeypatch):
    _, searcher = searching(tmp_path, trials=1)
    monkeypatch.setattr("results.store.pq.write_table", full)
    ran = run_one(tmp_path, searcher)
    one_line(searcher.error)
    monkeypatch.undo()
    assert recorded_trials(tmp_path, "one") == {}
    assert [path for path in (tmp_path / "leaderboard").rglob("*") if path.is_file()] == []
    run_sweep(new_search(tmp_path, trials=1), NOBODY)
    assert recorded_trials(tmp_path, "one") == {ran.id: (0, "finished")}


def test_a_run_ends_in_one_line_too(tmp_path, monkeypatch, nightshift):
    one = trial(tmp_path)
    outcome = Outcome("failed", failure_class="disk_full", message="OSError: No space left on device")
    monkeypatch.setattr("orchestrator.launch.run_trials", lambda trials, watch: iter([(one, outcome)]))
    done = nightshift("run", "demo", "--storage", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    for part in (str(tmp_path), "is full", "MB are free", f"nightshift run demo --storage {tmp_path}` continues"):
        assert part in done.err
    assert not (tmp_path / "leaderboard").exists()
