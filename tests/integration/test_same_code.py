"""Workers run the code of their driver, whatever lies in the folder in which a command is given."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from results.leaderboard import load
from tests.integration.conftest import ROOT

pytestmark = pytest.mark.integration


@pytest.fixture
def command():
    """The installed program: ``python -m`` would put the current folder on the driver's own path."""
    program = Path(sys.executable).with_name("nightshift")
    if not program.is_file():
        pytest.skip("the package is not installed here")
    return str(program)


def sweep(nightshift, command, tiny, folder, storage):
    words = [command, "sweep", "demo", "--trials", "1", *tiny, "--set", "train.loop.steps=2", "--storage", str(storage)]
    return subprocess.run(
        words, cwd=folder, env=nightshift._environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_module_of_the_users_that_is_called_like_one_of_ours_is_not_imported(nightshift, command, tiny, tmp_path):
    folder = tmp_path / "project"
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "__init__.py").write_text("raise RuntimeError('the module of the user')")
    (folder / "trainers.py").write_text("raise RuntimeError('the module of the user')")
    done = sweep(nightshift, command, tiny, folder, tmp_path / "storage")
    assert done.returncode == 0, done.stderr
    assert set(load(tmp_path / "storage")["status"]) == {"finished"}


@pytest.mark.slow
def test_another_checkout_in_the_current_folder_is_not_imported(nightshift, command, tiny, tmp_path):
    folder = tmp_path / "checkout"
    for package in ("orchestrator", "search_spaces", "trainers", "results"):
        shutil.copytree(ROOT / package, folder / package)
    broken = folder / "orchestrator" / "trial.py"
    broken.write_text(broken.read_text() + "\nraise RuntimeError('another checkout')\n")
    done = sweep(nightshift, command, tiny, folder, tmp_path / "storage")
    assert done.returncode == 0, done.stderr
    assert set(load(tmp_path / "storage")["status"]) == {"finished"}


def test_other_code_on_the_workers_is_refused_before_the_first_trial(monkeypatch):
    import ray

    from orchestrator import cluster
    from trainers.errors import UserError

    monkeypatch.setattr(cluster, "code_hash", lambda: "the driver's")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    try:
        with pytest.raises(UserError, match="import other code of ours"):
            cluster.connect()
    finally:
        ray.shutdown()
