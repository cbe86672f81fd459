"""``doctor`` names everything that is wrong with a storage and mends what can be made again; ``gc`` frees the rest."""

import json
import os
from datetime import UTC, datetime

import pytest

from orchestrator.artifacts import Store
from orchestrator.doctor import examine
from orchestrator.garbage import garbage, remove
from orchestrator.ledger import Ledger
from results.store import write_scores
from trainers.errors import UserError


def artifact(storage, key, *, files=("a.txt",)):
    store = Store(storage)
    output = store.partial(key) / "output"
    output.mkdir(parents=True)
    for name in files:
        (output / name).write_text(f"{key} {name}")
    made = store.publish(output, method="fake", key=key, content={"config": {}}, result={}, seconds=1.0)
    store.forget_partial(key)
    return made


ATTEMPT = {"varied": {}, "seed": 0}


def row(stages, **changes):
    named = {
        "sweep": "s", "trial": "t0", "arm": "a", "attempt": 0, "experiment": "e", "config_hash": "c0", "seed": 0,
        "seed_scope": "last", "created_utc": datetime.now(UTC), "status": "failed",
    }  # fmt: skip
    listed = [{"name": key, "key": key, "hit": False, "seconds": 1.0} for key in stages]
    return {**named, "stages": listed, **changes}


def problems(storage):
    return [(finding.path, finding.problem) for finding in examine(storage)]


def test_a_whole_storage_has_no_problem(tmp_path):
    artifact(tmp_path, "k1")
    ledger = Ledger(tmp_path, "s")
    ledger.open({"experiment": "e"})
    ledger.write("asked", "c0000", {"params": {}, "base": "b"})
    ledger.finish("t0", ledger.begin("t0", ATTEMPT), {"status": "failed", "scores": {}})
    write_scores(tmp_path, [row(["k1"])])
    assert problems(tmp_path) == []


def test_a_storage_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        list(examine(tmp_path / "none"))


@pytest.mark.parametrize("harm", ["changed", "missing", "no manifest", "torn manifest"])
def test_a_damaged_artifact_is_named_and_moved_aside(tmp_path, harm):
    folder = artifact(tmp_path, "k1").folder
    artifact(tmp_path, "k2")
    if harm == "changed":
        (folder / "a.txt").write_text("K1 a.txt")
    elif harm == "missing":
        (folder / "a.txt").unlink()
    elif harm == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text('{"key": ')
    (finding,) = examine(tmp_path)
    assert str(folder) in f"{finding.path} {finding.problem}"
    assert finding.repair is not None
    finding.repair()
    assert not folder.exists()
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    assert Store(tmp_path).find("fake", "k2") is not None
    assert problems(tmp_path) == []


def test_a_damaged_record_is_named_with_what_is_lost(tmp_path):
    ledger = Ledger(tmp_path, "s")
    ledger.write("outcomes", "t0.000", {"status": "finished"})
    path = ledger.root / "outcomes" / "t0.000.json"
    path.write_text(path.read_text()[:-4])
    with pytest.raises(UserError, match=r"t0\.000\.json is damaged"):
        ledger.read("outcomes")
    (finding,) = examine(tmp_path)
    assert finding.path == path
    assert "collected again from its artifacts" in finding.remedy
    finding.repair()
    assert ledger.read("outcomes") == {}


def test_a_torn_leaderboard_file_is_named_and_moved_aside(tmp_path):
    write_scores(tmp_path, [row(["k1"])])
    torn = write_scores(tmp_path, [row(["k1"], trial="t1")])
    torn.write_bytes(torn.read_bytes()[:-20])
    (finding,) = examine(tmp_path)
    assert finding.path == torn
    finding.repair()
    assert problems(tmp_path) == []


def test_the_lease_of_a_dead_process_is_removed(tmp_path):
    from orchestrator.leases import Lease

    lease = Lease(tmp_path / "partial" / "k1" / "lease")
    assert lease.try_acquire()
    assert problems(tmp_path) == [], "a lease that is held is no problem"
    record = json.loads(lease.path.read_text())
    lease.release()
    lease.path.write_text(json.dumps({**record, "pid": 2**22 + 1}))
    ((path, problem),) = problems(tmp_path)
    assert path == lease.path
    assert "gone" in problem


def test_garbage_is_what_no_row_refers_to(tmp_path):
    artifact(tmp_path, "kept")
    loose = artifact(tmp_path, "loose")
    write_scores(tmp_path, [row(["kept"])])
    (tmp_path / "partial" / "dead" / "step-00000010").mkdir(parents=True)
    (tmp_path / "partial" / "dead" / "step-00000010" / "state.pt").write_bytes(b"x" * 1000)
    found = garbage(tmp_path)
    assert {one.path for one in found} == {loose.folder, tmp_path / "partial" / "dead"}
    assert next(one for one in found if one.path.name == "dead").size_bytes == 1000
    assert loose.folder.exists(), "finding removes nothing"
    remove(found)
    assert [one.name for one in (tmp_path / "artifacts" / "fake").iterdir()] == ["kept"]
    assert garbage(tmp_path) == []


def unfinished(storage, key):
    folder = storage / "partial" / key / "step-00000010"
    folder.mkdir(parents=True)
    return folder.parent


def test_what_a_trial_of_a_sweep_may_still_need_is_no_garbage(tmp_path):
    for key in ("made for a killed one", "made for a pruned one"):
        artifact(tmp_path, key)
    for key in ("of a killed one", "of a pruned one", "of a failed one"):
        unfinished(tmp_path, key)
    ledger = Ledger(tmp_path, "s")
    ledger.begin("killed", {**ATTEMPT, "keys": ["made for a killed one", "of a killed one"]})
    for status in ("failed", "pruned"):
        ledger.begin(status, {**ATTEMPT, "keys": [f"made for a {status} one", f"of a {status} one"]})
        ledger.finish(status, 0, {"status": status, "scores": {}})
    assert {one.path.name for one in garbage(tmp_path)} == {"made for a pruned one", "of a pruned one"}


def test_garbage_is_not_judged_by_a_ledger_that_cannot_be_read(tmp_path):
    ledger = Ledger(tmp_path, "s")
    ledger.begin("t0", {"keys": ["k1"]})
    (ledger.root / "attempts" / "t0.000.json").write_text("{")
    with pytest.raises(UserError, match=r"attempts .* is damaged"):
        garbage(tmp_path)


def test_what_a_newer_version_wrote_is_named_and_left_alone(tmp_path):
    folder = artifact(tmp_path, "k1").folder
    ledger = Ledger(tmp_path, "s")
    ledger.open({"experiment": "e"})
    for path in (folder / "manifest.json", ledger.root / "spec.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    found = list(examine(tmp_path))
    assert [finding.path for finding in found] == [folder, ledger.root / "spec.json"]
    for finding in found:
        assert "upgrade nightshift" in finding.problem
        assert finding.repair is None


def test_garbage_is_not_judged_by_a_leaderboard_that_cannot_be_read_whole(tmp_path):
    artifact(tmp_path, "k1")
    torn = write_scores(tmp_path, [row(["k1"])])
    torn.write_bytes(b"")
    with pytest.raises(UserError, match="doctor --repair"):
        garbage(tmp_path)


def test_garbage_is_not_judged_while_a_sweep_runs(tmp_path):
    artifact(tmp_path, "k1")
    (tmp_path / "sweeps" / "s").mkdir(parents=True)
    (tmp_path / "sweeps" / "s" / "driver").write_text(json.dumps({"token": "x", "host": "h", "pid": os.getpid()}))
    with pytest.raises(UserError, match="s is running"):
        garbage(tmp_path)


def test_the_commands_list_first_and_change_only_when_told(tmp_path, nightshift):
    folder = artifact(tmp_path, "k1").folder
    (folder / "a.txt").write_text("harm")
    looked = nightshift("doctor", "--storage", tmp_path)
    assert looked.code == 2
    assert "would be moved to quarantine" in looked.out
    assert folder.exists()
    assert nightshift("doctor", "--repair", "--storage", tmp_path).code == 0
    assert not folder.exists()
    listed = nightshift("gc", "--storage", tmp_path)
    assert listed.code == 0
    assert "was found damaged" in listed.out
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    nightshift("gc", "--delete", "--storage", tmp_path)
    assert not list((tmp_path / "quarantine").iterdir())
