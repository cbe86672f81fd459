import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.orchestrator import fakes
from trainers.registry import METHODS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake_methods(monkeypatch):
    """The fake methods of ``fakes`` in the registry."""
    methods, modules = {}, {}
    fakes.install(methods, modules)
    for name, path in methods.items():
        monkeypatch.setitem(METHODS, name, path)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def nightshift(monkeypatch, capsys):
    """The command in this process: ``nightshift("run", "demo")`` gives ``code``, ``out`` and ``err``."""
    from orchestrator.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NIGHTSHIFT_STORAGE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("orchestrator.cli.bar.LINE_EVERY_SECONDS", float("inf"))  # However slow the machine is.

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["nightshift", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return call


@pytest.fixture
def refused(nightshift, tmp_path):
    """Calls the command, which must refuse: code 2, one line that names ``what``, nothing in the storage."""

    def call(*words, what=(), storage=None):
        storage = storage or tmp_path / "storage"
        done = nightshift(*words, "--storage", storage)
        assert done.code == 2, done
        assert done.err.count("\n") == 1, done.err
        assert done.out == ""
        for part in (what,) if isinstance(what, str) else what:
            assert part in done.err, done.err
        for left in ("artifacts", "partial", "leaderboard", "sweeps"):
            assert not (storage / left).exists(), f"{left} was left behind"
        return done.err

    return call


@pytest.fixture
def camvid_root(tmp_path):
    """A whole little CamVid: two images of 64×48 in each split."""
    root = tmp_path / "camvid"
    dice = np.random.default_rng(0)
    for split in ("day_train", "day_val", "dusk_adapt", "dusk_val"):
        stems = [f"{split}_{number}" for number in range(2)]
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "labels").mkdir(exist_ok=True)
        (root / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            Image.fromarray(dice.integers(0, 256, (48, 64, 3), np.uint8)).save(root / "images" / f"{stem}.jpg")
            if split != "dusk_adapt":
                label = Image.fromarray(dice.integers(0, 12, (48, 64), np.uint8))
                label.save(root / "labels" / f"{stem}.png", compress_level=0)  # So all files have one size.
    return root


@pytest.fixture
def python():
    """Runs Python in a process of its own, in the repository: ``python("-c", "…")`` gives the completed process."""

    def call(*words, **options):
        return subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, text=True, capture_output=True, **options)

    return call
