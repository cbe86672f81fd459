"""Records that parse but have the wrong shape are named wherever they are read, and strangers' files are nobody's."""

import json
import os
import time
from dataclasses import fields

import pytest

from orchestrator.doctor import examine
from orchestrator.files import publish_json, replace_json
from orchestrator.garbage import garbage
from orchestrator.ledger import KINDS, Ledger, sweep_names
from orchestrator.records import Damaged, Ended, Manifest, read_record, sealed
from orchestrator.recovery import lost_outcomes, outcome_of
from orchestrator.start import SweepRequest
from orchestrator.trial import Outcome
from results.leaderboard import load
from results.store import read_scores, write_scores
from tests.orchestrator.fakes import SCORE
from tests.orchestrator.test_doctor import artifact, problems, row
from trainers.errors import UserError

SHAPES = {"empty mapping": "{}", "list": "[]", "number": "3", "text": '"x"', "null": "null", "nested": '{"params": 3}',
          "lists": '{"keys": {"a": 1}, "status": [], "files": []}', "bytes": b"\xff\xfe\x00"}  # fmt: skip

RECORDS = [
    "spec.json", "request.json", "asked/c0000.json", "attempts/t0.000.json", "outcomes/t0.000.json",
    "scores/t0.000.json", "losses/t0.000.json", "rungs/c1.00000010.json", "shared/t0.json", "software/0000.json",
]  # fmt: skip


@pytest.fixture
def storage(tmp_path):
    """A sweep of the demo with one record of each kind, an artifact, a row, a fingerprint and a pin."""
    artifact(tmp_path, "k1")
    ledger = Ledger(tmp_path, "s")
    ledger.open({"experiment": "demo", "arm": "supervised"})
    request = SweepRequest(experiment="demo", name="s", trials=1)
    replace_json(ledger.root / "request.json", {"schema_version": 1, **request.model_dump(mode="json")})
    ledger.write("asked", "c0000", {"params": {"a": 1}, "distributions": {}, "base": "b"})
    attempt = ledger.begin("t0", {"varied": {}, "seed": 0, "keys": ["k1"]})
    ledger.finish("t0", attempt, {"status": "finished", "scores": {"val@best": SCORE}})
    ledger.write("losses", "t0.000", {"failure_class": "worker_lost"})
    verdict = {"config": "c1", "rung": 10, "score": 0.5, "keep": True, "base": "b"}
    ledger.write("rungs", "c1.00000010", verdict)
    ledger.write("shared", "t0", {"keys": ["k1"]})
    ledger.write("software", "0000", {"torch": "2"})
    publish_json(tmp_path / "fingerprints" / "f.json", {"split": "camvid/day_val", "fingerprint": "ab"})
    publish_json(tmp_path / "pinned" / "k1.json", {"method": "fake", "command": "nightshift data pack"})
    write_scores(tmp_path, [row(["k1"], experiment="demo", varied="{}")])
    assert problems(tmp_path) == []
    return tmp_path


def spoil(path, shape):
    content = SHAPES[shape]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("shape", SHAPES)
def test_doctor_lists_every_record_of_another_shape_and_moves_it_away(storage, shape):
    paths = [storage / "sweeps/s" / name for name in RECORDS]
    paths += [storage / "fingerprints/f.json", storage / "pinned/k1.json", storage / "artifacts/fake/k1/manifest.json"]
    for path in paths:
        spoil(path, shape)
    found = list(examine(storage))
    named = {finding.path for finding in found}
    for path in paths:
        expected = path.parent if path.name == "manifest.json" else path
        assert expected in named, path
    for finding in found:
        assert "could not go on" not in finding.problem, finding
        assert "\n" not in finding.problem
        finding.repair()
    left = [one for one in examine(storage) if "is missing, though" not in one.problem]
    assert left == []


@pytest.mark.parametrize("shape", ["empty mapping", "list", "number", "bytes"])
@pytest.mark.parametrize("record", ["asked/c0000.json", "attempts/t0.000.json", "outcomes/t0.000.json", "spec.json"])
def test_readers_of_a_ledger_name_the_file_in_one_line(storage, shape, record):
    path = storage / "sweeps/s" / record
    spoil(path, shape)
    with pytest.raises(Damaged, match="is damaged") as caught:
        Ledger(storage, "s").read(record.partition("/")[0] if "/" in record else "asked")
    assert str(path) in str(caught.value)
    assert "doctor" in str(caught.value)
    assert str(caught.value).isprintable()


VERBS = {
    "resume": (["resume", "s"], ["request.json", "spec.json", "asked/c0000.json", "outcomes/t0.000.json"]),
    "confirm": (["confirm", "s"], ["request.json"]),
    "gc": (["gc"], ["attempts/t0.000.json", "outcomes/t0.000.json", "shared/t0.json"]),
}


@pytest.mark.parametrize(("verb", "record"), [(verb, one) for verb, (_, records) in VERBS.items() for one in records])
@pytest.mark.parametrize("shape", ["empty mapping", "list"])
def test_verbs_name_the_file_in_one_line(nightshift, storage, verb, record, shape):
    path = storage / "sweeps/s" / record
    spoil(path, shape)
    done = nightshift(*VERBS[verb][0], "--storage", storage)
    assert done.code == 2, done
    assert done.err.count("\n") == 1, done.err
    assert f"{path} is damaged" in done.err


@pytest.mark.parametrize("shape", SHAPES)
def test_a_manifest_of_another_shape_is_one_line_in_gc(nightshift, storage, shape):
    spoil(storage / "artifacts/fake/k1/manifest.json", shape)
    done = nightshift("gc", "--storage", storage)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "artifacts/fake/k1/manifest.json is damaged" in done.err


@pytest.mark.parametrize("record", RECORDS)
def test_a_leaderboard_is_read_whatever_its_ledger_holds(nightshift, storage, record):
    spoil(storage / "sweeps/s" / record, "list")
    done = nightshift("leaderboard", "--failures", "--storage", storage)
    assert done.code == 0, done.err


@pytest.mark.parametrize("shape", ["empty mapping", "list"])
def test_a_driver_that_says_nothing_is_named_and_in_nobodys_way_when_it_is_old(nightshift, storage, shape):
    driver = storage / "sweeps/s/driver"
    spoil(driver, shape)
    old = time.time() - 10_000
    os.utime(driver, (old, old))
    ((path, problem),) = problems(storage)
    assert (path, problem) == (driver, "says nothing of a holder")


def test_a_changed_digit_in_a_record_is_told_from_another_value(storage):
    path = storage / "sweeps/s/scores/t0.000.json"
    path.write_text(path.read_text().replace("0.5", "0.7", 1))
    with pytest.raises(Damaged, match="its bytes are not those that were written"):
        Ledger(storage, "s").scores("t0", 0)


def test_a_record_from_before_records_were_sealed_is_read(storage):
    path = storage / "sweeps/s/asked/c0000.json"
    path.write_text(json.dumps({"params": {"a": 1}, "base": "b"}))
    assert Ledger(storage, "s").read("asked") == {"c0000": {"params": {"a": 1}, "base": "b"}}
    assert problems(storage) == []


def test_a_seal_is_no_part_of_what_is_read(storage):
    assert "sha256" not in Ledger(storage, "s").read("asked")["c0000"]
    assert sealed([1]) == [1]


def test_the_record_of_an_outcome_has_the_fields_of_an_outcome():
    assert set(Ended.__annotations__) == {one.name for one in fields(Outcome)}


def test_a_remembered_fingerprint_that_is_damaged_is_computed_again(nightshift, tmp_path, camvid_root):
    words = ["show", "camvid", "--set", f"data.camvid.root={camvid_root}", "--storage", tmp_path / "storage", "--json"]
    first = nightshift(*words).out
    remembered = sorted((tmp_path / "storage/fingerprints").glob("*.json"))
    assert remembered
    for path, content in zip(remembered, ("{}", path_with_other_fingerprint(remembered[1]), "[]", "x"), strict=False):
        path.write_text(content)
    assert nightshift(*words).out == first
    assert list(examine(tmp_path / "storage")) == []


def path_with_other_fingerprint(path):
    record = json.loads(path.read_text())
    return json.dumps({**record, "fingerprint": "0" * 64})


STRAYS = [
    ".DS_Store", "._.DS_Store", ".ipynb_checkpoints/x.json", ".snapshot/hourly.0/manifest.json", ".nfs0001",
    "notes.txt~", "#notes#", "Thumbs.db",
]  # fmt: skip
PLACES = [
    "", "artifacts", "artifacts/fake", "partial", "sweeps", "sweeps/s", "sweeps/s/asked", "sweeps/s/outcomes",
    "leaderboard", "leaderboard/scores", "fingerprints", "pinned", "quarantine",
]  # fmt: skip


def test_what_file_browsers_and_editors_leave_is_in_nobodys_way(nightshift, storage):
    rows = len(load(storage))
    for place in PLACES:
        for stray in STRAYS:
            path = storage / place / stray
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("stray")
    for folder in ("asked", "outcomes", "attempts"):
        for name in ("._c0000.json", "c0000 (copy).json", "c0000.json.bak", ".c0000.json.swp"):
            (storage / "sweeps/s" / folder / name).write_text("stray")
    (storage / "leaderboard/scores/._rows.parquet").write_text("stray")
    assert sweep_names(storage) == ["s"]
    for kind in KINDS:
        assert len(Ledger(storage, "s").read(kind)) == 1, kind
    assert len(load(storage)) == rows
    assert read_scores(storage)[1] == []
    for finding in examine(storage):
        assert "nobody reads it" in finding.problem, finding
        assert finding.repair is None
    for verb in (["gc"], ["leaderboard", "--failures"]):
        assert nightshift(*verb, "--storage", storage).code == 0
    assert {one.path.name for one in garbage(storage)} <= {"notes.txt~", "#notes#", "Thumbs.db"}


def test_leftovers_of_killed_writers_are_named_when_they_are_old_and_removed(storage):
    left = [
        ".probe-1", "sweeps/s/.1.aside", "sweeps/s/asked/.2.aside", "fingerprints/.3.aside", "partial/k2/output-0a/x",
        "partial/k2/.aside-4/state.pt", "partial/k2/.5.lease-aside", "partial/k2/.6.lease-grave",
        "sweeps/s/asked/.c0001.json.claim/token", "artifacts/fake/.removed-k9/x", "leaderboard/staging/7.parquet",
    ]  # fmt: skip
    for name in left:
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_text("left")
    assert problems(storage) == [], "what is young may still be somebody's"
    old = time.time() - 10_000
    for path in sorted(storage.rglob("*"), reverse=True):
        os.utime(path, (old, old))
    found = list(examine(storage))
    assert len(found) == len(left)
    for finding in found:
        assert "left by a" in finding.problem
        finding.repair()
    assert problems(storage) == []


def test_a_stage_that_is_being_made_is_left_alone(storage):
    from orchestrator.leases import Lease

    lease = Lease(storage / "partial/k2/lease")
    assert lease.try_acquire()
    (storage / "partial/k2/output-0a").mkdir()
    os.utime(storage / "partial/k2/output-0a", (0, 0))
    assert problems(storage) == []
    lease.release()


def test_a_lost_outcome_is_found_by_its_rows_and_written_again(storage):
    ledger = Ledger(storage, "s")
    whole = ledger.outcomes()["t0"]
    write_scores(storage, [row(["k1"], trial="t1", attempt=2, status="pruned", message="cut", failure_class=None)])
    (storage / "sweeps/s/outcomes/t0.000.json").unlink()
    found = {finding.path.name: finding for finding in examine(storage)}
    assert set(found) == {"t0.000.json", "t1.002.json"}
    for finding in found.values():
        assert "a start would add them once more" in finding.problem
        finding.repair()
    assert problems(storage) == []
    outcomes = ledger.outcomes()
    assert outcomes["t0"][0] == whole[0]
    assert Outcome(**outcomes["t1"][1]).message == "cut"
    assert [stage["key"] for stage in outcomes["t1"][1]["stages"]] == ["k1"]


def test_a_finished_outcome_gets_its_objectives_back(storage):
    row_of_finished = row(
        ["train"], status="finished", experiment="demo", preset="toy_city", arm="supervised", source_miou=0.4,
        target_infomax=0.1, steps=10,
    )  # fmt: skip
    columns = ("hardware", "failure_class", "message", "images_per_second", "peak_memory_bytes", "unlabeled_images",
               "unlabeled_ratio")  # fmt: skip
    outcome = outcome_of(storage, {**dict.fromkeys(columns), **row_of_finished})
    assert outcome["objectives"] == {"source_miou": 0.4, "target_infomax": 0.1, "target_miou": None, "seconds": 1.0}
    assert outcome["training"] == {"steps": 10}
    assert outcome_of(storage, {**dict.fromkeys(columns), **row_of_finished, "experiment": "unknown"}) is None


def test_rows_of_a_sweep_without_a_ledger_are_no_loss(storage):
    write_scores(storage, [row(["k1"], sweep="elsewhere")])
    assert list(lost_outcomes(storage)) == []


def test_doctor_goes_on_after_a_check_that_fails(storage, monkeypatch):
    def broken(path):
        raise RuntimeError("no idea")
        yield

    monkeypatch.setattr("orchestrator.doctor._artifacts", broken)
    (storage / "sweeps/s/spec.json").write_text("[]")
    found = [finding.problem for finding in examine(storage)]
    assert any("no idea" in problem for problem in found)
    assert any("spec.json" in problem for problem in found)


def test_what_a_repair_cannot_do_is_told(nightshift, storage, monkeypatch):
    spoil(storage / "sweeps/s/spec.json", "list")

    def refuse(self, path):
        raise OSError("stale file handle")

    monkeypatch.setattr("orchestrator.artifacts.Store.quarantine", refuse)
    done = nightshift("doctor", "--repair", "--storage", storage)
    assert done.code == 2
    assert "could not be mended: stale file handle" in done.err


def test_no_shape_of_a_manifest_is_a_traceback(tmp_path):
    for shape in SHAPES:
        spoil(tmp_path / "manifest.json", shape)
        with pytest.raises(UserError):
            read_record(tmp_path / "manifest.json", Manifest, "the manifest")
