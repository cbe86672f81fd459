"""From what a person asked for to a sweep that runs; what was asked is kept beside the ledger, for ``resume``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.experiments import build
from orchestrator.files import replace_json
from orchestrator.graph import Objective, Seeds, SeedScope
from orchestrator.leases import is_held, read_lease, take
from orchestrator.ledger import Ledger, sweep_names
from orchestrator.overrides import assign, one_line, split_roots
from orchestrator.preflight import (
    Bar,
    Request,
    check_data,
    check_methods,
    no_bar,
    place,
    the_arm,
)
from orchestrator.records import CURE, SCHEMA_VERSION, Damaged, read_record
from orchestrator.samplers import SamplerName
from orchestrator.schedulers import Pruner, SchedulerName, asha, median, rungs
from orchestrator.scored import check_objective
from orchestrator.search import Search, Sweep, base, identity
from orchestrator.spaces import check_space, check_space_methods, search_space
from orchestrator.trial import Trial
from trainers.errors import UserError, nearest

if TYPE_CHECKING:
    from orchestrator.searcher import Watcher


class Confirmation(BaseModel):
    """Which configurations of which sweep run again, with seeds that it has not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: str
    points: list[dict[str, Any]]
    """``stage.field`` → value, the best configuration first."""
    first_seed: int


class SweepRequest(BaseModel):
    """Everything that makes a sweep, in plain values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    arm: str | None = None
    space: str | None = None
    preset: str | None = None
    values: dict[str, Any] = {}
    """``stage.field`` or ``data.NAME.root`` → value."""
    data_root: Path | None = None
    trials: int = 10
    seeds: int = 1
    seed: int = 0
    seed_scope: SeedScope = "last"
    objective: Objective | None = None
    """``None``: the experiment's."""
    sampler: SamplerName = "tpe"
    scheduler: SchedulerName = "none"
    grace_steps: int | None = None
    reduction_factor: float = 3.0
    cost: Literal["seconds"] | None = None
    warm_start: str | None = None
    hours: float | None = None
    workers: int = 0
    gpus_per_worker: float | None = None
    cpus_per_worker: int | None = None
    """``None``: see ``preflight.Request``."""
    collective_seconds: float = 1800.0
    confirms: Confirmation | None = None
    name: str

    @property
    def first_seed(self) -> int:
        """The first trial's seed."""
        return self.confirms.first_seed if self.confirms else self.seed


@dataclass(frozen=True)
class Retry:
    """Which ended trials run again."""

    statuses: frozenset[str] = frozenset()
    trial: str | None = None


def prepare(request: SweepRequest, storage: Path, retry: Retry | None = None, bar: Bar = no_bar) -> Sweep:
    """Check everything that can be checked before a sweep starts; ``bar`` shows the reading of new data sets.

    Raises:
        UserError: with the first thing that is wrong.
    """
    fields, roots = split_roots(request.values)
    experiment = assign(build(request.experiment, request.preset), fields)
    experiment = replace(experiment, objective=request.objective or experiment.objective)
    arm = the_arm(experiment, request.arm)
    arm = arm.confirming() if request.confirms else arm
    space = search_space(experiment, request.space)
    check_space(experiment, space)
    here = place(
        experiment,
        [arm],
        Request(
            storage=storage,
            data_root=request.data_root,
            roots=roots,
            workers=request.workers,
            gpus_per_worker=request.gpus_per_worker,
            cpus_per_worker=request.cpus_per_worker,
            collective_seconds=request.collective_seconds,
            max_concurrent=request.trials * request.seeds,
        ),
        bar,
    )
    if request.cost and request.scheduler != "none":
        raise UserError(f"--cost {request.cost} makes two objectives, which cannot be pruned; use --scheduler none")
    if request.scheduler != "none" and experiment.objective != "source_miou":
        raise UserError(
            f"--scheduler {request.scheduler} judges by the selection mIoU, and {experiment.objective} is searched; "
            "use --scheduler none, or --objective source_miou"
        )
    retry = retry or Retry()
    sweep = Sweep(
        experiment=experiment,
        arm=arm,
        space=space,
        trials=request.trials,
        num_seeds=request.seeds,
        seeds=Seeds(request.seed, request.first_seed, request.seed_scope),
        sampler=request.sampler,
        place=here,
        cost=request.cost,
        first_seed_races=request.scheduler != "none",
        retry=retry.statuses,
        retry_trial=retry.trial,
        warm_start=request.warm_start,
        hours=request.hours,
        points=request.confirms.points if request.confirms else None,
    )
    check_objective(sweep)
    check_methods(Trial.of(experiment, arm, {}, sweep.seeds, here))
    check_space_methods(experiment, space, here.roots)
    check_data(here, bar)
    return sweep


def pruner(request: SweepRequest, sweep: Sweep, ledger: Ledger) -> Pruner | None:
    """The scheduler that was asked for, with what the ledger knows of its verdicts."""
    if request.scheduler == "none":
        return None
    loop = sweep.experiment.stages[sweep.arm.train].config.model_dump()["loop"]
    steps, every = loop["steps"], loop["score_every_steps"]
    factor = request.reduction_factor if request.scheduler == "asha" else None
    at = rungs(steps=steps, score_every=every, grace=request.grace_steps or every, reduction_factor=factor)
    if not at:
        raise UserError(
            f"--scheduler {request.scheduler} has no rung: scores come every {every} of {steps} steps; lower "
            f"{sweep.arm.train}.loop.score_every_steps or --grace-steps"
        )
    return Pruner(ledger, asha(request.reduction_factor) if factor else median(), at, base=base(sweep))


@contextmanager
def opened(request: SweepRequest, sweep: Sweep) -> Iterator[Ledger]:
    """The ledger of a sweep, for one driver at a time; what was asked is kept in it.

    Raises:
        UserError: another process runs this sweep, or the name is another sweep's.
    """
    ledger = Ledger(sweep.place.storage, request.name)
    ledger.open(identity(sweep))
    lease = take(ledger.root / "driver")
    if lease is None:
        raise _is_being_run(ledger)
    with lease:
        asked = {"schema_version": SCHEMA_VERSION, **request.model_dump(mode="json")}
        replace_json(ledger.root / "request.json", asked)
        yield ledger


def rehearse(request: SweepRequest, sweep: Sweep) -> Search:
    """Refuse all that a start would refuse beyond ``prepare``, and write nothing; the search as it would start.

    Raises:
        UserError: the name is no name or another sweep's, another process runs the sweep, the sweep to start warm from
            is missing, or the scheduler has no rung.
    """
    ledger = Ledger(sweep.place.storage, request.name)
    ledger.require_same(identity(sweep))
    if is_held(ledger.root / "driver"):
        raise _is_being_run(ledger)
    search = Search(sweep, ledger)
    pruner(request, sweep, ledger)
    return search


def _is_being_run(ledger: Ledger) -> UserError:
    holder = read_lease(ledger.root / "driver")
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    return UserError(f"the sweep {ledger.name} is being run by {who}; wait for it, or stop it first")


def load_request(storage: Path, name: str) -> SweepRequest:
    """What the sweep ``name`` was last asked for.

    Raises:
        UserError: there is no such sweep, or its record is damaged.
    """
    path = Ledger(storage, name).root / "request.json"
    if not path.is_file():
        known = [one for one in sweep_names(storage) if (storage / "sweeps" / one / "request.json").is_file()]
        raise UserError(f"no sweep {name!r} in {storage}: {nearest(name, known)}")
    try:
        asked = read_record(path, dict[str, Any], "the request of the sweep")
        return SweepRequest.model_validate({name: asked[name] for name in asked if name != "schema_version"})
    except ValidationError as error:
        raise Damaged(f"the request of the sweep {path} is damaged ({one_line(error, 'request')}); {CURE}") from error


def run(request: SweepRequest, search: Search, watcher: Watcher) -> None:
    """Run what is left to do."""
    from orchestrator.sweep import run_sweep

    run_sweep(search, watcher, pruner(request, search.sweep, search.ledger))


def extended(request: SweepRequest, **changes: Any) -> SweepRequest:
    """The request with the options that were given anew."""
    return request.model_copy(update={name: value for name, value in changes.items() if value is not None})
