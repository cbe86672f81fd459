"""The driver killed, interrupted or hung up at random moments: nothing is lost, nothing is doubled."""

import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.preflight import num_cpus
from tests.integration.chaos import (
    CHECKPOINT_EVERY_STEPS,
    WAYS,
    assert_same_results,
    command,
    random_moments,
    redone_steps,
    resumed_steps,
    run_with_kills,
    scores,
)


def check_kills(
    tmp_path: Path, *, trials: int, kills: int, steps: int, longest: float, ways: Sequence[str] = ("SIGKILL",)
) -> None:
    options = ("--trials", str(trials), "--set", f"train.loop.steps={steps}")
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    began = time.monotonic()
    run_with_kills(command(calm, *options), tmp_path / "calm.log", [], steps=tmp_path / "calm.steps", seconds=2400)
    middle = time.monotonic()
    log, executed = tmp_path / "rough.log", tmp_path / "rough.steps"
    moments = random_moments(executed, kills, total=trials * steps, seed=1, longest=longest)
    codes: Counter[tuple[str, int]] = Counter()
    done = run_with_kills(command(rough, *options), log, moments, steps=executed, seconds=2400, ways=ways, codes=codes)
    end = time.monotonic()
    assert done == kills, f"the sweep ended after {done} of {kills} kills: the trials are too short"

    assert_same_results(rough, calm)
    found = scores(rough)
    assert found["trial"].nunique() == trials
    assert (found["status"] == "finished").all()
    assert not found.duplicated(["sweep", "trial", "evaluation_set", "checkpoint"]).any()
    ledger, undisturbed = Ledger(rough, "chaos"), Ledger(calm, "chaos")
    assert ledger.read("asked") == undisturbed.read("asked")
    assert sorted(name.rpartition(".")[0] for name in ledger.read("outcomes")) == sorted(set(found["trial"]))
    assert not list((rough / "partial").glob("*/step-*")), "finished stages keep no checkpoint"

    redone = redone_steps(executed)
    # A checkpoint reaches the disk in the background, before the next one is written.
    assert max(redone, default=0) < 2 * CHECKPOINT_EVERY_STEPS
    assert len(executed.read_text().splitlines()) == trials * steps + sum(redone)
    assert len((tmp_path / "calm.steps").read_text().splitlines()) == trials * steps
    assert resumed_steps(log.read_text()), "no kill met a training: that proves nothing"
    attempts = len(ledger.read("attempts"))
    print(
        f"\n{kills} kills, {trials} trials in {attempts} attempts, {len(resumed_steps(log.read_text()))} trainings "
        f"continued, re-done steps {sum(redone)} of {trials * steps} (at most {max(redone, default=0)} at once), "
        f"{middle - began:.0f} s undisturbed, {end - middle:.0f} s with kills, rows {len(found)}; "
        f"exit codes: {', '.join(f'{way} {code} x {count}' for (way, code), count in codes.items())}"
    )
    for way, code in codes:
        number = int(getattr(signal, way.partition(" ")[0]))
        assert code in (128 + number, -number), f"{way} ended with {code}"  # Negative: before Python could answer.


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_kills_of_a_sweep_of_three_trials_lose_and_double_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, trials=3, kills=2, steps=60, longest=1)


@pytest.mark.slow
def test_twenty_kills_of_a_sweep_of_twelve_trials_lose_and_double_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, trials=12, kills=20, steps=60, longest=1.5, ways=WAYS)


@pytest.mark.integration
@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_a_killed_search_stops_the_same_configurations_at_the_same_rungs(tmp_path: Path) -> None:
    """One trial at a time: what ASHA decides depends on the order of arrival, which is fixed only then."""
    options = ("--trials", "5", "--scheduler", "asha", "--reduction-factor", "2", "--grace-steps", "10")
    options += ("--set", "train.loop.steps=60", "--set", "train.loop.score_every_steps=10")
    options += ("--cpus-per-worker", str(num_cpus()))
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    run_with_kills(command(calm, *options), tmp_path / "calm.log", [], steps=tmp_path / "calm.steps", seconds=400)
    rungs = rough / "sweeps" / "chaos" / "rungs"
    moments = [lambda count=count: len(list(rungs.glob("*.json"))) >= count for count in (2, 5)]
    log, executed = tmp_path / "rough.log", tmp_path / "rough.steps"
    assert run_with_kills(command(rough, *options), log, moments, steps=executed, seconds=400) == 2

    verdicts, found = Ledger(calm, "chaos").read("rungs"), Ledger(rough, "chaos").read("rungs")
    assert found == verdicts
    assert {record["keep"] for record in verdicts.values()} == {True, False}, (
        "a search that stops nobody proves nothing"
    )
    assert_same_results(rough, calm)
    assert set(scores(rough)["status"]) == {"finished", "pruned"}
    assert max(redone_steps(executed), default=0) <= CHECKPOINT_EVERY_STEPS
