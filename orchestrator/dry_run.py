"""What a sweep would do, without doing it."""

from typing import Any

from orchestrator.explain import status_of_stages
from orchestrator.samplers import grid, sampler
from orchestrator.search import Sweep
from orchestrator.trial import Trial
from trainers.data.sampling import derive_seed


def sampled_configurations(sweep: Sweep, count: int) -> list[dict[str, Any]]:
    """The first configurations that a new sweep would ask for, before it has heard any result."""
    import optuna

    if sweep.sampler == "grid":
        return grid(sweep.space, sweep.trials)[:count]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    found = []
    for number in range(min(count, sweep.trials)):
        study.sampler = sampler(sweep.sampler, derive_seed(sweep.seeds.sweep, "ask", number) % 2**32)
        found.append(dict(study.ask(dict(sweep.space)).params))
    return found


def trial_seconds(sweep: Sweep) -> tuple[float, list[str]]:
    """Estimated seconds of one more trial, from artifacts like its missing stages, and the stages without any."""
    varied = {name: getattr(one, "choices", [getattr(one, "low", None)])[0] for name, one in sweep.space.items()}
    trial = Trial.of(sweep.experiment, sweep.arm, varied, sweep.seeds, sweep.place)
    missing = [status for status in status_of_stages(trial) if not status.hit]
    unknown = [status.name for status in missing if status.seconds is None]
    return sum(status.seconds or 0.0 for status in missing), unknown
