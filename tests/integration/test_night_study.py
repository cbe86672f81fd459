"""night_self_training whole, with tiny budgets: each stage is executed once, also with four trials at a time."""

import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from orchestrator.experiments.night_rows import ROWS
from orchestrator.graph import Experiment, Seeds
from orchestrator.launch import run_in_process
from orchestrator.trial import Place, Trial
from tests.orchestrator.test_night_translation import tiny
from trainers.errors import MethodWarning

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]


def study() -> Experiment:
    wide = {"lower": 0.0, "threshold": 100.0, "unlabeled_ratio": 0.5}
    return tiny(
        "night_self_training",
        city_pool={"pool_ratio": 3.0, "pairs": 5},
        select_his=wide,
        select_fda=wide,
        select_fid={"quantile": 0.5, "unlabeled_ratio": 0.4},
    )


def trial(arm: str, storage: Path) -> Trial:
    graph = study()
    place = Place(storage=storage, roots={}, fingerprints={})
    return Trial.of(graph, graph.arms[arm], {}, Seeds(0, 0, "declared"), place)


def executed(arm: str, storage: Path) -> list[str]:
    """Keys of the stages that this trial made itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MethodWarning)
        outcome = run_in_process(trial(arm, storage), lambda event: None)
    assert outcome.status == "finished", outcome.message
    return [stage["key"] for stage in outcome.stages if not stage["hit"]]


@pytest.mark.parametrize("at_a_time", [1, 4])
def test_every_stage_is_executed_once(at_a_time: int, tmp_path: Path):
    arms = list(study().arms)
    with ProcessPoolExecutor(at_a_time, mp_context=get_context("spawn")) as pool:
        made = Counter(key for keys in pool.map(partial(executed, storage=tmp_path), arms) for key in keys)
    assert set(made.values()) == {1}
    plans = [trial(arm, tmp_path).planned for arm in arms]
    assert set(made) == {one.key for plan in plans for one in plan.values()}
    assert len(made) < 0.6 * sum(map(len, plans))
    trained = {
        kind: len({one.key for plan in plans for name, one in plan.items() if name.startswith(kind)})
        for kind in ("train_", "unit_")
    }
    # Beside the thesis's twenty: 3.1 for longer, the legacy focal loss, and FDA.
    assert trained == {"train_": len(ROWS) + 3, "unit_": 2}
    assert not list((tmp_path / "partial").iterdir())
