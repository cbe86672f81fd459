import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from orchestrator import leases
from orchestrator.leases import Lease, LeaseLost, acquire, read_lease
from trainers.context import PlainContext

ROOT = Path(__file__).parents[2]
SILENT = {"unless": lambda: False, "waiting": lambda holder: None}


def foreign(path, beats=0):
    """A lease that a process on another host holds."""
    record = {"token": "theirs", "host": "elsewhere", "pid": 17, "beats": beats}
    path.write_text(json.dumps(record))
    return record


def test_a_lease_is_held_by_one_and_free_after_release(tmp_path):
    path = tmp_path / "deep" / "lease"
    first, second = Lease(path), Lease(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert first.is_held()
    assert not second.is_held()
    assert read_lease(path)["pid"] == os.getpid()
    first.release()
    assert second.try_acquire()
    assert not first.is_held()
    second.release()
    assert list(path.parent.iterdir()) == []


def test_leaving_the_context_releases_also_after_an_error(tmp_path):
    def fail():
        with acquire(tmp_path / "lease", **SILENT) as lease:
            assert lease.is_held()
            raise SystemExit

    with pytest.raises(SystemExit):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_release_leaves_the_lease_of_another_alone(tmp_path):
    path = tmp_path / "lease"
    lease = acquire(path, **SILENT)
    record = foreign(path)
    lease.release()
    assert read_lease(path) == record


def test_the_holder_keeps_changing_the_content(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.02)
    with acquire(tmp_path / "lease", **SILENT) as lease:
        first = read_lease(lease.path)
        deadline = time.monotonic() + 20
        while read_lease(lease.path) in (first, None):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert read_lease(lease.path)["token"] == first["token"]


WORK = """
import os, sys, time
from pathlib import Path
from orchestrator.leases import acquire
folder = Path(sys.argv[1])
for _ in range(8):
    with acquire(folder / "lease", unless=lambda: False, waiting=lambda holder: None, poll_seconds=0.002):
        inside = folder / "inside"
        descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)  # Fails where another one is inside.
        time.sleep(0.003)
        os.close(descriptor)
        inside.unlink()
"""


def test_of_several_processes_one_at_a_time_holds_it(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], cwd=ROOT) for _ in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from orchestrator.leases import acquire
acquire(Path(sys.argv[1]), unless=lambda: False, waiting=lambda holder: None)
print("held", flush=True)
time.sleep(600)
"""


def test_the_lease_of_a_killed_process_on_this_host_is_taken_at_once(tmp_path):
    path = tmp_path / "lease"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    token = read_lease(path)["token"]
    threading.Timer(0.3, lambda: (holder.kill(), holder.wait())).start()
    told = []
    # The time to live is far away: only the death of the process can free it.
    lease = acquire(path, unless=lambda: False, waiting=told.append, ttl_seconds=10_000, poll_seconds=0.02)
    assert lease.is_held()
    assert read_lease(path)["token"] != token
    assert told == [f"process {holder.pid} on {socket.gethostname()}"]
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_a_process_that_is_gone_or_dead_and_not_yet_buried_by_its_parent(tmp_path):
    path = tmp_path / "lease"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    told = []
    lease = acquire(path, unless=lambda: False, waiting=told.append, ttl_seconds=10_000, poll_seconds=60)
    assert lease.is_held()
    assert told == []
    lease.release()
    holder.wait()


def test_a_lease_from_another_host_is_taken_when_it_stood_still_for_its_time_to_live(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    began = time.monotonic()
    lease = acquire(path, **SILENT, ttl_seconds=0.4, poll_seconds=0.02)
    assert time.monotonic() - began >= 0.4
    assert lease.is_held()
    lease.release()


def test_a_lease_that_keeps_changing_is_not_taken(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    stop = threading.Event()

    def beat():
        beats = 0
        while not stop.wait(0.02):
            beats += 1
            aside = tmp_path / "aside"
            aside.write_text(json.dumps({"token": "theirs", "host": "elsewhere", "pid": 17, "beats": beats}))
            aside.replace(path)

    thread = threading.Thread(target=beat)
    thread.start()
    patience = time.monotonic() + 2.0
    try:
        taken = acquire(
            path,
            unless=lambda: time.monotonic() > patience,
            waiting=lambda holder: None,
            ttl_seconds=0.5,
            poll_seconds=0.02,
        )
    finally:
        stop.set()
        thread.join()
    assert taken is None
    assert read_lease(path)["token"] == "theirs"


def test_of_several_that_wait_for_a_dead_holder_one_takes_over(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    held, most = [], []

    def wait():
        lease = acquire(path, **SILENT, ttl_seconds=0.2, poll_seconds=0.01)
        held.append(lease)
        most.append(len(held))
        time.sleep(0.02)
        held.remove(lease)
        lease.release()

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
    assert list(tmp_path.iterdir()) == []


def test_a_taker_that_was_killed_while_it_buried_the_dead_is_no_obstacle(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    leases._grave(path, path.read_bytes()).touch()
    patience = time.monotonic() + 5
    lease = acquire(
        path,
        unless=lambda: time.monotonic() > patience,
        waiting=lambda holder: None,
        ttl_seconds=0.1,
        poll_seconds=0.02,
    )
    assert lease is not None
    lease.release()


def test_who_waits_is_told_once_for_whom_and_stops_when_the_work_is_done(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    asked, told = [], []

    def done():
        asked.append(1)
        return len(asked) > 5

    assert acquire(path, unless=done, waiting=told.append, poll_seconds=0.001) is None
    assert told == ["process 17 on elsewhere"]
    assert len(asked) == 6


def test_a_holder_that_lost_its_lease_writes_no_checkpoint(tmp_path):
    lease = acquire(tmp_path / "lease", **SILENT)
    context = PlainContext(tmp_path / "stage", guard=lease.require_held)

    def write(folder):
        (folder / "state.txt").write_text("state")

    context.report({"step": 1.0}, write)
    assert context.resume().name == "step-00000001"
    foreign(tmp_path / "lease")
    with pytest.raises(LeaseLost, match="taken over"):
        context.report({"step": 2.0}, write)
    assert context.resume().name == "step-00000001"
    lease.release()


def test_a_lease_file_that_is_cut_short_is_read_as_nobody(tmp_path):
    (tmp_path / "lease").write_text('{"token": "x"')
    assert read_lease(tmp_path / "lease") is None
    assert read_lease(tmp_path / "absent") is None


def test_a_number_that_another_process_got_since_is_no_holder(tmp_path):
    from orchestrator.leases import is_dead_here

    lease = Lease(tmp_path / "lease")
    assert lease.try_acquire()
    record = read_lease(lease.path)
    lease.release()
    assert not is_dead_here(record)
    assert is_dead_here({**record, "started": record["started"] - 100})


def test_take_refuses_a_living_holder_at_once_and_takes_a_dead_one(tmp_path):
    from orchestrator.leases import take

    held = Lease(tmp_path / "lease")
    assert held.try_acquire()
    assert take(held.path) is None
    record = read_lease(held.path)
    held.release()
    held.path.write_text(json.dumps({**record, "started": record["started"] - 100}))
    taken = take(held.path)
    assert taken is not None
    taken.release()


def test_who_waits_says_so_at_growing_intervals(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "FIRST_REMINDER_SECONDS", 0.05)
    holder = leases.Lease(tmp_path / "lease")
    assert holder.try_acquire()
    told, until = [], time.monotonic() + 1.0
    assert (
        leases.acquire(
            tmp_path / "lease", unless=lambda: time.monotonic() > until, waiting=told.append, poll_seconds=0.005
        )
        is None
    )
    holder.release()
    assert told[0] == f"process {os.getpid()} on {socket.gethostname()}"
    assert all(text.startswith(told[0] + ", ") and text.endswith(" s so far") for text in told[1:])
    assert 2 <= len(told) <= 6, "at 0, 0.05, 0.1, 0.2, 0.4 and 0.8 s"
