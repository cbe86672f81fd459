"""``sweep --dry-run`` refuses what the sweep refuses, and counts with the sweep's own numbers."""

import pytest

from orchestrator.leases import Lease
from orchestrator.ledger import Ledger
from orchestrator.resources import groups_that_fit, num_cpus


@pytest.fixture
def dry(nightshift, tmp_path):
    return lambda *words: nightshift("sweep", "demo", *words, "--dry-run", "--storage", tmp_path / "storage")


def refusal(done):
    assert (done.code, done.out) == (2, ""), done
    (line,) = done.err.splitlines()
    return line


def test_a_name_that_is_none_is_refused(dry):
    assert "'../x' cannot name a sweep" in refusal(dry("--name", "../x"))


def test_a_missing_sweep_to_start_warm_from_is_refused(dry):
    assert "--warm-start gone: there is no such sweep" in refusal(dry("--warm-start", "gone"))


def test_the_name_of_another_sweep_is_refused(dry, tmp_path):
    Ledger(tmp_path / "storage", "x").open({"experiment": "bimix", "arm": "supervised"})
    assert "the sweep x exists with other settings" in refusal(dry("--name", "x"))


def test_a_scheduler_without_a_rung_is_refused(dry):
    assert "--scheduler asha has no rung" in refusal(dry("--scheduler", "asha", "--grace-steps", "100000"))


def test_a_sweep_that_runs_is_refused(dry, tmp_path):
    lease = Lease(tmp_path / "storage" / "sweeps" / "x" / "driver")
    assert lease.try_acquire()
    with lease:
        assert "is being run by process" in refusal(dry("--name", "x"))


def test_nothing_of_a_sweep_is_written(dry, tmp_path):
    assert dry("--name", "x", "--trials", "2").code == 0
    assert list((tmp_path / "storage").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_trials_at_once_are_those_that_the_sweep_starts(dry, workers, monkeypatch):
    monkeypatch.setattr("orchestrator.preflight.num_cpus", lambda: 2)
    monkeypatch.setattr("orchestrator.resources.num_cpus", lambda: 2)
    done = dry("--workers", workers, "--trials", "4")
    fit = groups_that_fit([{"CPU": 2.0}], [{"CPU": 1.0}] * workers)
    assert f"4 trials to run, {fit} at a time, each with {workers} x (1 CPU)" in done.out


def test_one_trial_gets_every_core_and_several_share_them(dry):
    assert f"1 at a time, each with 1 x ({num_cpus()} CPU)" in dry("--trials", "1").out
    assert f"{num_cpus()} at a time, each with 1 x (1 CPU)" in dry("--trials", "100").out
