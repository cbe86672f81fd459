"""Several raylets on one machine: a sweep over three nodes, a node that dies, one that returns, one that is drained."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.ledger import Ledger

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
TRIALS = 6


@pytest.fixture
def cluster(monkeypatch):
    """A head without CPUs for trials, and three nodes with two each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "num_gpus": 0, "object_store_memory": 100_000_000},
    )
    cluster.workers = [add_node(cluster) for _ in range(3)]
    cluster.wait_for_nodes(timeout=120)
    yield cluster
    cluster.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=2, num_gpus=0, object_store_memory=100_000_000, wait=False)


def start_sweep(cluster, storage, log, pause):
    storage.mkdir()
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    words = [sys.executable, "-m", "tests.integration.drill_sweep", str(storage), str(TRIALS), str(pause)]
    with log.open("wb") as file:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=file, stderr=file)


def wait_for(condition, process, log, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.2)


def running(log):
    """Trials that have made a step and have not ended."""
    lines = [line.split() for line in log.read_text().splitlines()]
    begun = {line[0] for line in lines if "progress" in line}
    return begun - {line[0] for line in lines if "ended" in line}


def assert_each_finished_once(storage, log):
    outcomes = Ledger(storage, "drill").outcomes()
    assert Counter(outcome["status"] for _, outcome in outcomes.values()) == {"finished": TRIALS}, log.read_text()
    rows = pd.read_parquet(storage / "leaderboard" / "scores")
    assert rows["trial"].nunique() == TRIALS
    assert rows.groupby(["trial", "evaluation_set", "checkpoint"]).size().max() == 1
    assert log.read_text().count(" ended finished") == TRIALS


def test_a_node_is_killed_in_the_middle_and_another_joins(cluster, tmp_path):
    storage, log = tmp_path / "storage", tmp_path / "log"
    sweep = start_sweep(cluster, storage, log, pause=3.0)
    try:
        wait_for(lambda: len(running(log)) == 3, sweep, log)
        cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
        wait_for(lambda: " lost " in log.read_text(), sweep, log)
        cluster.workers.append(add_node(cluster))
        assert sweep.wait(timeout=900) == 0, log.read_text()[-3000:]
    finally:
        sweep.kill()
    assert_each_finished_once(storage, log)
    steps = Counter(tuple(line.split()[:2]) for line in (storage / "steps.txt").read_text().splitlines())
    assert len(steps) == TRIALS * 8
    assert sum(steps.values()) <= TRIALS * 8 + 6, "what was done before the last checkpoint is not done again"


def test_a_node_that_is_to_be_taken_away_lets_its_trial_save(cluster, tmp_path):
    storage, log = tmp_path / "storage", tmp_path / "log"
    sweep = start_sweep(cluster, storage, log, pause=4.0)
    try:
        wait_for(lambda: len(running(log)) == 3, sweep, log)
        drained = cluster.workers[-1]
        command = [
            "drain-node", f"--address={cluster.address}", f"--node-id={drained.node_id}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=120",
        ]  # fmt: skip
        subprocess.run([str(Path(sys.executable).parent / "ray"), *command], check=True, timeout=120)
        wait_for(lambda: "is being taken away" in log.read_text() or "lost" in log.read_text(), sweep, log)
        assert sweep.wait(timeout=900) == 0, log.read_text()[-3000:]
    finally:
        sweep.kill()
    assert_each_finished_once(storage, log)
    assert "is being taken away; it has saved" in log.read_text()
    steps = Counter(tuple(line.split()[:2]) for line in (storage / "steps.txt").read_text().splitlines())
    assert set(steps.values()) == {1}, "nothing is done twice where there was a warning"
