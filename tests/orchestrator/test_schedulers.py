"""Early stopping: the rule against Ray's own, verdicts that survive a restart, rungs."""

import random
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import Ledger
from orchestrator.schedulers import Pruner, asha, median, rungs
from orchestrator.start import SweepRequest, prepare
from trainers.errors import UserError


def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "race")


def test_rungs_lie_at_scores_grow_by_the_factor_and_stop_before_the_last_step() -> None:
    assert rungs(steps=270, score_every=10, grace=10, reduction_factor=3) == [10, 30, 90]
    assert rungs(steps=300, score_every=50, grace=30, reduction_factor=3) == [50, 100]
    assert rungs(steps=100, score_every=20, grace=40, reduction_factor=None) == [40, 60, 80]
    assert rungs(steps=100, score_every=100, grace=1, reduction_factor=3) == []


def test_asha_decides_as_ray_does() -> None:
    """The same scores in the same order through one bracket of Ray's scheduler."""
    from ray.tune.schedulers.async_hyperband import _Bracket

    class FakeTrial:
        def __init__(self, name: str) -> None:
            self.trial_id = name

    draw = random.Random(3)
    bracket = _Bracket(min_t=1, max_t=1000, reduction_factor=3, s=0)
    keep = asha(3)
    seen: list[dict[int, float]] = []
    verdicts = []
    for number in range(60):
        score = draw.random()
        ours = keep(1, {1: score}, seen)
        seen.append({1: score})
        action = bracket.on_result(FakeTrial(str(number)), 1, score)
        verdicts.append(ours)
        assert ours == (action != "STOP"), number
    assert set(verdicts) == {True, False}


def test_median_waits_for_three_others_and_compares_the_best_with_their_means() -> None:
    keep = median(min_others=3)
    others = [{10: 0.2, 20: 0.4}, {10: 0.5, 20: 0.5}, {10: 0.6, 20: 0.8}]  # means .3 .5 .7
    assert keep(20, {10: 0.0, 20: 0.0}, others[:2])
    assert keep(20, {10: 0.5, 20: 0.1}, others)
    assert not keep(20, {10: 0.1, 20: 0.49}, others)


def test_a_verdict_is_on_the_ledger_before_it_is_answered_and_stands_after_a_restart(tmp_path: Path) -> None:
    pruner = Pruner(ledger(tmp_path), asha(3), [10, 30])
    assert pruner.keeps("a", 10, 0.9)
    assert not pruner.keeps("b", 10, 0.1)
    again = Pruner(ledger(tmp_path), asha(3), [10, 30])
    assert not again.keeps("b", 30, 1.0), "what was cut stays cut, whatever it scores later"
    assert again.cut("b") == (10, 0.1)
    assert again.cut("a") is None
    assert not again.keeps("c", 10, 0.5), "scores of before the restart still count"


def test_a_step_between_rungs_is_never_taken_for_a_rung(tmp_path: Path) -> None:
    pruner = Pruner(ledger(tmp_path), asha(3), [10, 30])
    pruner.keeps("a", 10, 0.9)
    assert pruner.keeps("b", 20, 0.0)
    assert ledger(tmp_path).read("rungs").keys() == {"a.00000010"}


def test_a_resumed_trial_is_not_judged_twice_at_a_rung(tmp_path: Path) -> None:
    pruner = Pruner(ledger(tmp_path), asha(3), [10])
    assert pruner.keeps("a", 10, 0.1)
    assert pruner.keeps("b", 10, 0.9)
    assert pruner.keeps("a", 10, 0.1), "the first verdict stands although others are better by now"


def test_scores_under_another_base_judge_nobody(tmp_path: Path) -> None:
    short = Pruner(ledger(tmp_path), asha(3), [10], base="200 steps")
    for number in range(5):
        short.keeps(f"s{number}", 10, 0.9)
    assert Pruner(ledger(tmp_path), asha(3), [10], base="800 steps").keeps("a", 10, 0.1)
    assert not Pruner(ledger(tmp_path), asha(3), [10], base="200 steps").keeps("b", 10, 0.1)


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_asha_keeps_about_one_in_factor(factor: float) -> None:
    draw = random.Random(0)
    keep, seen, kept = asha(factor), [], 0
    for _ in range(400):
        score = draw.random()
        kept += keep(1, {1: score}, seen)
        seen.append({1: score})
    assert kept / 400 == pytest.approx(1 / factor, abs=0.07)


def test_early_stopping_needs_the_objective_that_it_judges_by(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"experiment": "night_self_training", "arm": "7.2", "name": "raced", "scheduler": "asha"}
    with pytest.raises(UserError, match="and target_infomax is searched; use --scheduler none, or --objective source"):
        prepare(SweepRequest(**asked), tmp_path)
    assert prepare(SweepRequest(**asked, objective="source_miou"), tmp_path).experiment.objective == "source_miou"
    plain = SweepRequest(**{**asked, "scheduler": "none"})
    assert prepare(plain, tmp_path).experiment.objective == "target_infomax"
    oracle = SweepRequest(**{**asked, "scheduler": "none"}, objective="target_miou")
    assert prepare(oracle, tmp_path).experiment.objective == "target_miou"
