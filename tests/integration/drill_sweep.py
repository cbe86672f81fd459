"""A sweep of drills on the cluster of RAY_ADDRESS: ``python -m tests.integration.drill_sweep STORAGE TRIALS PAUSE``."""

import sys
from pathlib import Path

from optuna.distributions import FloatDistribution

from orchestrator.graph import Seeds
from orchestrator.ledger import Ledger
from orchestrator.nodes import check_nodes
from orchestrator.search import Search, Sweep
from orchestrator.searcher import Watcher
from orchestrator.sweep import run_sweep
from orchestrator.trial import Place
from tests.integration.drill import experiment


def main() -> None:
    """Run it; one line for each event that a person would see."""
    from orchestrator.cluster import connect

    storage, trials, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    connect()
    check_nodes(storage, {}, {})
    place = Place(storage=storage, roots={}, fingerprints={}, workers=2, collective_seconds=60)
    study = experiment(pause_seconds=pause, loop={"steps": 8})
    space = {"train.value": FloatDistribution(0.0, 1.0)}
    sweep = Sweep(study, study.arms["drill"], space, trials, 1, Seeds(0, 0, "last"), "random", place)
    search = Search(sweep, Ledger(storage, "drill"))

    def tell(*parts: object) -> None:
        print(*parts, flush=True)

    run_sweep(
        search,
        Watcher(
            lambda trial, event: tell(trial.id, event.kind, event.stage, event.text, event.metrics.get("step")),
            lambda trial, outcome: tell(trial.id, "ended", outcome.status, outcome.failure_class, outcome.message),
            lambda text: tell("note", text),
        ),
    )


if __name__ == "__main__":
    main()
