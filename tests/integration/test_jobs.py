"""Jobs on a local head with token authentication: submitted by us and by Ray itself; a head that dies under a sweep."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.chaos import resumed_steps
from tests.integration.conftest import TINY
from tests.integration.head import RAY, Head

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    head = Head(tmp_path_factory.mktemp("head"))
    head.start()
    yield head
    head.kill()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of our code with nothing else, as a person would have it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("orchestrator", "trainers", "search_spaces", "results"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "runs").mkdir()
    (folder / "runs" / "large").write_bytes(bytes(40_000_000))
    return folder


def words(storage, name, *options):
    steps = () if "train.loop.steps" in " ".join(options) else ("--set", "train.loop.steps=4")
    return ["sweep", "demo", "--name", name, "--storage", str(storage), *TINY, *steps, "--trials", "1", *options]


def submit(head, project, *command, environment=None):
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "submit", "--address", head.address, *map(str, command)],
        cwd=project,
        env=head.environment | (environment or {}),
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_our_command_sends_the_code_and_follows_the_sweep(head, project, tmp_path):
    done = submit(head, project, "--", *words(tmp_path / "storage", "ours"))
    assert done.returncode == 0, done.stderr + done.stdout
    sent = done.stderr.splitlines()[0]
    assert sent.endswith(" MB")
    assert float(sent.split()[2]) < 20, "the folder runs/ was sent"
    assert head.address in done.stderr
    assert "1/1  finished" in done.stdout
    rows = pd.read_parquet(tmp_path / "storage" / "leaderboard" / "scores")
    assert set(rows["status"]) == {"finished"}
    assert len(rows) == 6


def test_rays_own_command_does_the_same(head, project, tmp_path):
    done = subprocess.run(
        [
            str(RAY), "job", "submit", f"--address={head.address}", "--working-dir", ".", "--",
            "python", "-m", "orchestrator", *words(tmp_path / "storage", "rays"),
        ],
        cwd=project, env=head.environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert pd.read_parquet(tmp_path / "storage" / "leaderboard" / "scores")["sweep"].unique().tolist() == ["rays"]


def test_a_relative_storage_is_refused_by_the_job_itself(head, project):
    done = subprocess.run(
        [
            str(RAY), "job", "submit", f"--address={head.address}", "--working-dir", ".", "--",
            "python", "-m", "orchestrator", *words("runs", "relative"),
        ],
        cwd=project, env=head.environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode != 0
    assert "--storage runs is relative, and a submitted job's folder is thrown away" in done.stdout + done.stderr


@pytest.mark.parametrize("token", ["wrong", "missing"])
def test_a_wrong_or_missing_token_is_one_line_with_the_fix(head, project, tmp_path, token):
    path = tmp_path / "token"
    if token == "wrong":
        path.write_text("ab" * 32)
    done = submit(head, project, "--", *words("/storage", "token"), environment={"RAY_AUTH_TOKEN_PATH": str(path)})
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("nightshift: ")]
    assert "RAY_AUTH_MODE=token" in line
    assert "Traceback" not in done.stderr


def test_a_sweep_whose_head_dies_continues_when_it_is_submitted_again(project, tmp_path):
    head = Head(tmp_path)
    storage = tmp_path / "storage"
    steps = ("--set", "train.loop.steps=120", "--set", "train.loop.checkpoint_every_steps=5", "--trials", "2")
    command = ("--no-wait", "--", *words(storage, "again", *steps))
    head.start()
    try:
        first = submit(head, project, *command)
        assert first.returncode == 0, first.stderr
        end = time.monotonic() + 600
        while not list(storage.glob("partial/*/step-*")):
            assert time.monotonic() < end
            time.sleep(0.2)
        head.kill()
        assert not (storage / "leaderboard").exists()
        head.start()
        second = submit(head, project, *command[1:])
        assert second.returncode == 0, second.stderr + second.stdout
    finally:
        head.kill()
    rows = pd.read_parquet(storage / "leaderboard" / "scores")
    assert rows["trial"].nunique() == 2
    assert set(rows["status"]) == {"finished"}
    assert len(resumed_steps(second.stdout)) >= 1
