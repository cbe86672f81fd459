import json
import os

import pytest
import torch

from results.leaderboard import load

pytestmark = pytest.mark.integration

SHORT = ("--set", "train.loop.steps=4", "--set", "train.loop.log_every_steps=2", "--cpus-per-worker", "1")


def trained(storage):
    (folder,) = (storage / "artifacts" / "supervised").iterdir()
    return folder


@pytest.mark.slow
def test_one_worker_computes_the_same_bits_as_this_process(nightshift, tiny, tmp_path):
    for workers in (0, 1):
        words = ("run", "demo", *tiny, *SHORT, "--workers", workers, "--storage", tmp_path / str(workers))
        done = nightshift(*words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("train: done") == 1
        assert "0 of 10 stages were hits" in done.stderr
    alone, worker = (trained(tmp_path / str(workers)) for workers in (0, 1))
    assert alone.name == worker.name
    for name in ("final.pt", "best.pt"):
        first, second = (torch.load(folder / name, weights_only=True)["weights"] for folder in (alone, worker))
        for tensor, value in first.items():
            assert torch.equal(value, second[tensor]), f"{name} differs in {tensor}"
    assert json.loads((alone / "curves.json").read_text()) == json.loads((worker / "curves.json").read_text())
    rows = [load(tmp_path / str(workers)) for workers in (0, 1)]
    assert rows[0]["miou"].tolist() == rows[1]["miou"].tolist()
    assert rows[0]["confusion"].map(list).tolist() == rows[1]["confusion"].map(list).tolist()
    assert rows[0]["trial"].tolist() == rows[1]["trial"].tolist()
    assert set(rows[1]["devices"]) == {1}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores")
def test_two_workers_walk_the_graph_together(nightshift, tiny, tmp_path):
    words = ("run", "demo", *tiny, *SHORT, "--workers", "2", "--storage", tmp_path)
    done = nightshift(*words)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    rows = load(tmp_path)
    assert set(rows["status"]) == {"finished"}
    assert set(rows["devices"]) == {2}
    assert set(rows["images"]) == {4}
    assert rows["confusion"].map(sum).min() > 0
    assert len(list(tmp_path.glob("artifacts/*/*/manifest.json"))) == 10
    assert list(tmp_path.glob("partial/*")) == []
    assert list(tmp_path.glob("groups/*")) == []
    assert "every stage is a hit" in nightshift("show", *words[1:]).stdout
