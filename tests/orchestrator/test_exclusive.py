"""The first of several writers wins and no reader sees half a record, also where the file system has no hard links."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator import leases
from orchestrator.exclusive import _settle, place
from orchestrator.files import publish_json, require_writable
from orchestrator.leases import Lease, acquire, read_lease
from orchestrator.ledger import Ledger
from results.store import read_scores, write_scores
from tests.orchestrator import fakes
from tests.orchestrator.test_doctor import row

ROOT = Path(__file__).parents[2]
REFUSALS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK]


@pytest.fixture(params=REFUSALS, ids=errno.errorcode.get)
def without_links(request, monkeypatch):
    def refuse(*paths, **options):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("without_links")
def test_a_storage_without_links_can_be_used(tmp_path):
    require_writable(tmp_path / "storage")
    assert list((tmp_path / "storage").iterdir()) == []
    path = tmp_path / "record.json"
    assert publish_json(path, {"by": 1})
    assert not publish_json(path, {"by": 2})
    assert json.loads(path.read_text())["by"] == 1
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["record.json"]


@pytest.mark.usefixtures("without_links", "fake_methods")
def test_a_whole_walk_and_its_rows_need_no_links(tmp_path):
    assert not any(report.hit for report in fakes.walk(tmp_path))
    assert all(report.hit for report in fakes.walk(tmp_path))
    ledger = Ledger(tmp_path, "s")
    assert [ledger.begin("t0", {"varied": {}, "seed": 0, "keys": []}) for _ in range(2)] == [0, 1]
    write_scores(tmp_path, [row(["k1"])])
    assert read_scores(tmp_path)[0].num_rows == 1
    assert list(tmp_path.rglob(".*")) == []


@pytest.mark.usefixtures("without_links")
def test_of_many_threads_without_links_one_wins(tmp_path):
    for number in range(20):
        path, barrier, won = tmp_path / f"{number}.json", threading.Barrier(8), []

        def write(writer, path=path, barrier=barrier, won=won):
            barrier.wait()
            if publish_json(path, {"by": writer}):
                won.append(writer)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [json.loads(path.read_text())["by"]] == won
    assert len(list(tmp_path.iterdir())) == 20


WRITE = """
import errno, json, os, sys, time
from pathlib import Path
def refuse(*paths, **options):
    raise OSError(errno.EPERM, "no links")
os.link = refuse
from orchestrator.files import publish_json
folder, writer = Path(sys.argv[1]), sys.argv[2]
(folder / f"ready-{writer}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
won = [number for number in range(50) if publish_json(folder / "records" / f"{number}.json", {"by": writer})]
(folder / f"won-{writer}").write_text(json.dumps(won))
"""


def writers(tmp_path, count):
    started = [subprocess.Popen([sys.executable, "-c", WRITE, tmp_path, str(one)], cwd=ROOT) for one in range(count)]
    while len(list(tmp_path.glob("ready-*"))) < count:
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    return started


def test_of_many_processes_without_links_one_wins_and_no_reader_sees_half(tmp_path):
    started = writers(tmp_path, 4)
    while any(process.poll() is None for process in started):
        for path in (tmp_path / "records").glob("*.json"):
            assert json.loads(path.read_text())["by"] in "0123"
    assert [process.returncode for process in started] == [0] * 4
    won = {writer: json.loads((tmp_path / f"won-{writer}").read_text()) for writer in "0123"}
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(50))
    for writer, numbers in won.items():
        assert all(json.loads((tmp_path / f"records/{number}.json").read_text())["by"] == writer for number in numbers)
    assert len(list((tmp_path / "records").iterdir())) == 50


def test_killed_writers_hold_nobody_up(tmp_path):
    started = writers(tmp_path, 3)
    while not (tmp_path / "records").is_dir() or len(list((tmp_path / "records").glob("*.json"))) < 5:
        time.sleep(0.001)
    for process in started[:2]:
        process.kill()
    assert started[2].wait(60) == 0
    records = [json.loads(path.read_text())["by"] for path in (tmp_path / "records").glob("*.json")]
    assert len(records) == 50


@pytest.mark.usefixtures("without_links")
def test_what_a_writer_claimed_before_it_was_killed_is_what_the_record_holds(tmp_path):
    path, claim = tmp_path / "c0000.json", tmp_path / ".c0000.json.claim"
    claim.mkdir()
    (claim / ("a" * 32)).write_text('{"by": "killed"}')
    assert publish_json(path, {"by": "next"}) is False
    assert json.loads(path.read_text()) == {"by": "killed"}


@pytest.mark.usefixtures("without_links")
def test_a_winner_whose_claim_another_settles_has_still_won(tmp_path, monkeypatch):
    """The other one comes between our claim and our look."""
    path, aside = tmp_path / "c0000.json", tmp_path / "aside"
    aside.write_text("mine")
    rename = Path.rename

    def claim_and_be_helped(self, target):
        done = rename(self, target)
        if Path(target).suffix == ".claim":
            assert _settle(Path(target), path)
        return done

    monkeypatch.setattr(Path, "rename", claim_and_be_helped)
    assert place(aside, path) is True
    assert path.read_text() == "mine"


@pytest.mark.usefixtures("without_links")
def test_a_claim_that_comes_after_the_record_loses(tmp_path, monkeypatch):
    path, aside = tmp_path / "c0000.json", tmp_path / "aside"
    aside.write_text("late")
    rename = Path.rename

    def late(self, target):
        if Path(target).suffix == ".claim":  # Between our look and our claim another one comes, wins and tidies up.
            path.write_text("first")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert place(aside, path) is False
    assert path.read_text() == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["c0000.json"]


@pytest.mark.usefixtures("without_links")
def test_an_empty_claim_is_in_nobodys_way(tmp_path):
    """Its owner was killed while it removed it."""
    (tmp_path / ".c0000.json.claim").mkdir()
    assert publish_json(tmp_path / "c0000.json", {"by": "next"}) is True


@pytest.mark.usefixtures("without_links")
def test_a_lease_needs_no_links(tmp_path):
    path = tmp_path / "lease"
    first, second = Lease(path), Lease(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert first.is_held()
    first.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"token": 3}'])
def test_a_lease_that_says_nothing_is_taken_over_when_it_has_stood_still(tmp_path, text):
    """Its holder was killed between the name and the content."""
    path = tmp_path / "lease"
    path.write_text(text)
    assert read_lease(path) is None
    patience = time.monotonic() + 5
    lease = acquire(
        path, unless=lambda: time.monotonic() > patience, waiting=lambda who: None, ttl_seconds=0.1, poll_seconds=0.02
    )
    assert lease is not None
    lease.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_links")
def test_of_two_who_bury_a_lease_without_links_one_does(tmp_path):
    path = tmp_path / "lease"
    path.write_text("dead")
    leases._grave(path, b"dead").touch()
    leases.BURIAL_SECONDS, before = 0.01, leases.BURIAL_SECONDS
    try:
        leases._bury(path, b"dead")
        assert path.exists(), "another one is at it"
        leases._bury(path, b"dead")
    finally:
        leases.BURIAL_SECONDS = before
    assert list(tmp_path.iterdir()) == []
