"""SIGTERM, Ctrl-C, a closed terminal, a closed pipe: what trains saves, the last line says what is open."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from results.leaderboard import load
from tests.integration.chaos import resumed_steps
from tests.integration.conftest import COMMAND, ROOT

pytestmark = pytest.mark.integration

STEPS = 40
LONG = ("--set", f"train.loop.steps={STEPS}", "--set", "train.loop.checkpoint_every_steps=1000",
        "--set", "train.loop.log_every_steps=2")  # fmt: skip
TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")
RUN = ("run", "demo")
SWEEP = ("sweep", "demo", "--trials", "2", "--name", "x")
GROUPS = (*SWEEP, "--workers", "2", "--cpus-per-worker", "1")
SLOW = pytest.mark.slow


def wait_for_training(storage, process):
    """Until the stage after the pictures has begun."""
    end = time.monotonic() + 200
    while not (list(storage.glob("artifacts/toy_city/*/manifest.json")) and list(storage.glob("partial/*/output-*"))):
        assert process.poll() is None, process.err.read_text()
        assert time.monotonic() < end, process.err.read_text()
        time.sleep(0.05)


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        pytest.param(RUN, signal.SIGTERM, id="run-SIGTERM"),
        pytest.param(RUN, signal.SIGINT, id="run-SIGINT"),
        pytest.param(SWEEP, signal.SIGINT, id="sweep-SIGINT"),
        pytest.param(RUN, signal.SIGHUP, id="run-SIGHUP", marks=SLOW),
        pytest.param(SWEEP, signal.SIGHUP, id="sweep-SIGHUP", marks=SLOW),
        pytest.param(SWEEP, signal.SIGTERM, id="sweep-SIGTERM", marks=SLOW),
        pytest.param(GROUPS, signal.SIGTERM, id="groups-SIGTERM", marks=[TWO, SLOW]),
        pytest.param(GROUPS, signal.SIGINT, id="groups-SIGINT", marks=[TWO, SLOW]),
    ],
)
def test_what_is_stopped_has_saved_says_what_is_open_and_goes_on_there(nightshift, tiny, tmp_path, words, number):
    command = (*words, *tiny, *LONG, "--storage", tmp_path)
    process = nightshift.start(*command)
    wait_for_training(tmp_path, process)
    started = children(process)
    os.killpg(process.pid, number)  # As a terminal does: to everything in the foreground.
    assert process.wait(timeout=60) == 128 + number, process.err.read_text()
    last_line = process.err.read_text().splitlines()[-1]
    assert f"0 of {2 if words[0] == 'sweep' else 1} trials have ended" in last_line
    again = f"`nightshift resume x --storage {tmp_path}`" if words[0] == "sweep" else "`nightshift run demo"
    assert again in last_line
    assert "Traceback" not in process.err.read_text()
    assert process.out.read_text() == "", "no leaderboard of a sweep that has not ended"
    assert psutil.wait_procs(started, timeout=10)[1] == []
    saved = [int(path.name.removeprefix("step-")) for path in tmp_path.glob("partial/*/step-*")]
    assert saved
    assert all(0 < step < STEPS for step in saved)
    assert not (tmp_path / "leaderboard").exists()
    done = nightshift(*command)
    assert done.returncode == 0, done.stderr
    assert sorted(resumed_steps(done.stderr + done.stdout)) == sorted(saved)
    assert set(load(tmp_path)["status"]) == {"finished"}


@pytest.mark.parametrize("words", [RUN, pytest.param(SWEEP, marks=SLOW), pytest.param(GROUPS, marks=[TWO, SLOW])])
def test_a_second_interrupt_ends_at_once_and_leaves_no_process_behind(nightshift, tiny, tmp_path, words):
    process = nightshift.start(*words, *tiny, "--set", "train.loop.steps=100000", "--storage", tmp_path)
    wait_for_training(tmp_path, process)
    started = children(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=20) == 128 + signal.SIGINT
    assert time.monotonic() - began < 10
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_closed_pipe_stops_a_run_as_a_signal_does(tiny, tmp_path):
    """``run … 2>&1 | head -1``: whoever read has gone after the first line."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    words = [*COMMAND, *RUN, *tiny, *LONG, "--storage", str(tmp_path)]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert "city: start" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert not (tmp_path / "leaderboard").exists()


def test_an_answer_that_nobody_reads_ends_quietly(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "leaderboard", "--published", "--rows", "--csv"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_sweep_whose_trials_fail_names_them_and_the_command_that_retries(nightshift, tiny, tmp_path: Path):
    """A trial that finished earlier does not hide that all of this start's have failed."""
    words = ("sweep", "demo", "--name", "x", *tiny, "--set", "train.loop.steps=2", "--storage", tmp_path)
    first = nightshift(*words, "--trials", "1")
    assert first.returncode == 0, first.stderr
    failing = nightshift(*words, "--trials", "2", "--set", "train.optimizer.learning_rate=1e30")
    assert failing.returncode == 1, failing.stderr
    last_line = failing.stderr.splitlines()[-1]
    assert "2 of 2 trials diverged" in last_line
    assert "nightshift resume x" in last_line
    assert "--retry diverged`" in last_line
