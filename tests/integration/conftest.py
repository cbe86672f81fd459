import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CITY = "city.images={day: {train: 8, val: 4, test: 4}, night: {train: 4, val: 4, test: 4}}"
FIELDS = (
    CITY,
    "city.height=32",
    "city.width=64",
    "train.height=32",
    "train.width=64",
    "train.loop.score_every_steps=20",
)
TINY = [word for field in FIELDS for word in ("--set", field)]
"""The demo on eight pictures of 32×64."""

COMMAND = [sys.executable, "-m", "orchestrator"]


class Commands:
    """Commands in processes of their own, in the repository, on the CPU."""

    def __init__(self, logs):
        self._logs = logs
        self._started = []
        hidden = {"NIGHTSHIFT_STORAGE", "RAY_ADDRESS"}
        self._environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self._environment |= {"COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}

    def __call__(self, *words):
        """Run to the end."""
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def start(self, *words):
        """Start in a process group of its own; what it prints goes to the files ``out`` and ``err`` of the process."""
        number = len(self._started)
        paths = [self._logs / f"{number}.{name}" for name in ("out", "err")]
        with paths[0].open("w") as out, paths[1].open("w") as err:
            process = subprocess.Popen(
                [*COMMAND, *map(str, words)],
                cwd=ROOT,
                env=self._environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        process.out, process.err = paths
        self._started.append(process)
        return process

    def kill_what_is_left(self):
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def nightshift(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("logs"))
    yield commands
    commands.kill_what_is_left()


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture(scope="session")
def wait_for():
    """Waits until ``found()`` is true, while ``process`` runs; what it gave."""

    def wait(found, process, seconds=150):
        deadline = time.monotonic() + seconds
        while not (result := found()):
            assert process.poll() is None, process.err.read_text()
            assert time.monotonic() < deadline, process.err.read_text()
            time.sleep(0.01)
        return result

    return wait


@pytest.fixture(scope="module")
def key_of(nightshift):
    """``key_of(storage, "train", *options)``: the key of a stage of the demo."""

    def key(storage, stage, *options):
        shown = nightshift("show", "demo", *options, "--storage", storage, "--json")
        assert shown.returncode == 0, shown.stderr
        return next(one["key"] for one in json.loads(shown.stdout)["stages"] if one["name"] == stage)

    return key
