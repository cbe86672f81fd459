"""Early stopping whose memory is the ledger: one record per configuration and rung, written before the verdict.

A rung is a step of the last training stage at which the selection score is known. Configurations race with their first
seed; the others run only for those that survive, unpruned. Nothing is stopped at its last step: the evaluation is to
come. A restart reads the verdicts back, so it decides as the undisturbed sweep does.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from orchestrator.ledger import Ledger

SchedulerName = Literal["none", "asha", "median"]


class Rule(Protocol):
    """Whether a configuration goes on, from its score at a rung and those of the others."""

    def __call__(self, rung: int, scores: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> bool:
        """``scores`` and each of ``others``: rung → score, of the configuration and of those before it."""
        ...


def asha(reduction_factor: float) -> Rule:
    """Keep what is not below the (1 - 1 / factor) quantile of the scores that this rung has seen before.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning; ``ray.tune.schedulers.ASHAScheduler``
        with one bracket, whose cut is this quantile.
    """

    def keep(rung: int, scores: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> bool:
        seen = [other[rung] for other in others if rung in other]
        return not seen or scores[rung] >= float(np.percentile(seen, (1 - 1 / reduction_factor) * 100))

    return keep


def median(min_others: int = 3) -> Rule:
    """Keep what has ever been as good as the median of the others' mean scores up to this rung.

    Source: Golovin et al., Google Vizier, median stopping rule.
    """

    def keep(rung: int, scores: Mapping[int, float], others: Sequence[Mapping[int, float]]) -> bool:
        means = [
            statistics.fmean(value for step, value in other.items() if step <= rung)
            for other in others
            if rung in other
        ]
        best = max(value for step, value in scores.items() if step <= rung)
        return len(means) < min_others or best >= statistics.median(means)

    return keep


def rungs(*, steps: int, score_every: int, grace: int, reduction_factor: float | None) -> list[int]:
    """The steps at which configurations are judged, all before the last step.

    With a factor: ``grace``, then times the factor, each rounded up to the next score; without: every score from
    ``grace`` on.
    """
    if reduction_factor is None:
        return [step for step in range(score_every, steps, score_every) if step >= grace]
    found, target = [], float(grace)
    while (rung := math.ceil(target / score_every) * score_every) < steps:
        found.append(rung)
        target = max(target * reduction_factor, rung + 1)
    return found


class Pruner:
    """Verdicts over a ledger, among configurations of one base: scores under another training length say nothing."""

    def __init__(self, ledger: Ledger, rule: Rule, at: Sequence[int], *, base: str = "") -> None:
        self._ledger, self._rule, self._at, self._base = ledger, rule, set(at), base
        self._scores: dict[str, dict[int, float]] = {}
        self._cut: dict[str, int] = {}
        """Configuration → the rung at which it was stopped."""
        for record in ledger.read("rungs").values():
            if record["base"] != base:
                continue
            self._scores.setdefault(record["config"], {})[record["rung"]] = record["score"]
            if not record["keep"]:
                self._cut[record["config"]] = record["rung"]

    def keeps(self, config: str, step: int, score: float) -> bool:
        """The verdict on a configuration that has ``score`` at ``step``; a verdict once given stands."""
        if config in self._cut:
            return False
        scores = self._scores.setdefault(config, {})
        if step not in self._at or step in scores:
            return True
        scores[step] = score
        others = [other for name, other in self._scores.items() if name != config]
        keep = self._rule(step, scores, others)
        record = {"config": config, "rung": step, "score": score, "keep": keep, "base": self._base}
        self._ledger.write("rungs", f"{config}.{step:08d}", record)
        if not keep:
            self._cut[config] = step
        return keep

    def cut(self, config: str) -> tuple[int, float] | None:
        """(rung, score) at which a configuration was stopped."""
        rung = self._cut.get(config)
        return None if rung is None else (rung, self._scores[config][rung])
