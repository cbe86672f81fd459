"""SIGTERM: whoever trains saves off its schedule, and the same command continues there."""

import os
import signal
import time
from pathlib import Path

import pytest

from results.leaderboard import load
from tests.integration.chaos import resumed_steps

pytestmark = pytest.mark.integration

STEPS = 40
LONG = ("--set", f"train.loop.steps={STEPS}", "--set", "train.loop.checkpoint_every_steps=1000",
        "--set", "train.loop.log_every_steps=2")  # fmt: skip
TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")


def wait_for_training(storage, process):
    """Until the stage after the pictures has begun."""
    end = time.monotonic() + 200
    while not (list(storage.glob("artifacts/toy_city/*/manifest.json")) and list(storage.glob("partial/*/output-*"))):
        assert process.poll() is None, process.err.read_text()
        assert time.monotonic() < end, process.err.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("run", "demo"), id="run"),
        pytest.param(("sweep", "demo", "--trials", "1"), id="sweep", marks=pytest.mark.slow),
        pytest.param(
            ("sweep", "demo", "--trials", "1", "--workers", "2", "--cpus-per-worker", "1"),
            id="sweep-of-groups",
            marks=[TWO, pytest.mark.slow],
        ),
    ],
)
def test_what_is_stopped_has_saved_and_goes_on_there(nightshift, tiny, tmp_path: Path, words):
    command = (*words, *tiny, *LONG, "--storage", tmp_path)
    process = nightshift.start(*command)
    wait_for_training(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM, process.err.read_text()
    assert "Traceback" not in process.err.read_text()
    (checkpoint,) = tmp_path.glob("partial/*/step-*")
    saved = int(checkpoint.name.removeprefix("step-"))
    assert 0 < saved < STEPS
    assert not (tmp_path / "leaderboard").exists()
    done = nightshift(*command)
    assert done.returncode == 0, done.stderr
    assert resumed_steps(done.stderr + done.stdout) == [saved]
    assert set(load(tmp_path)["status"]) == {"finished"}
