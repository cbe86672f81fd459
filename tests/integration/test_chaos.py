"""``kill -9`` of the driver with everything it started, at random moments: nothing is lost, nothing is doubled."""

from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from tests.integration.chaos import command, resumed_steps, run_with_kills, scores


def check(tmp_path: Path, *, trials: int, kills: int, steps: int, longest: float) -> None:
    options = ("--trials", str(trials), "--set", f"train.loop.steps={steps}")
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    run_with_kills(command(calm, *options), calm, tmp_path / "calm.log", kills=0, seed=0, longest=longest)
    seen = run_with_kills(command(rough, *options), rough, tmp_path / "rough.log", kills=kills, seed=1, longest=longest)

    expected, found = scores(calm), scores(rough)
    assert set(found["trial"]) == set(expected["trial"])
    assert len(found["trial"].unique()) == trials
    assert (found["status"] == "finished").all()
    assert not found.duplicated(["sweep", "trial", "evaluation_set", "checkpoint"]).any()
    assert len(found) == len(expected)
    assert (found["miou"] == expected["miou"]).all(), "a continued training computes what the undisturbed one computes"
    assert [list(one) for one in found["confusion"]] == [list(one) for one in expected["confusion"]]

    ledger = Ledger(rough, "chaos")
    assert len(ledger.read("asked")) == trials
    assert sorted(name.rpartition(".")[0] for name in ledger.read("outcomes")) == sorted(set(found["trial"]))
    resumed = resumed_steps(seen.output)
    assert set(resumed) <= set(seen.checkpoints), "a start goes on from the newest checkpoint that the kill left"
    assert resumed or not seen.checkpoints
    assert not list((rough / "partial").glob("*/step-*")), "finished stages keep no checkpoint"


@pytest.mark.integration
def test_two_kills_of_a_sweep_of_three_trials_lose_and_double_nothing(tmp_path: Path) -> None:
    check(tmp_path, trials=3, kills=2, steps=80, longest=16)


@pytest.mark.slow
def test_twenty_kills_of_a_sweep_of_twelve_trials_lose_and_double_nothing(tmp_path: Path) -> None:
    check(tmp_path, trials=12, kills=20, steps=200, longest=25)
