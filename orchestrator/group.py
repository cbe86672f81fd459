"""A Ray Train worker group that serves trial after trial: what its ranks run, and the run of Ray Train around them.

Imports Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.torch

from orchestrator.execute import Event, Throttle
from orchestrator.leases import LeaseLost
from orchestrator.mailbox import Letter
from orchestrator.trial import Place, Trial, failure, run_trial

if TYPE_CHECKING:
    import torch

    from trainers.context import OnReport, TrainContext


@dataclass(frozen=True)
class Job:
    """What a group is to do."""

    trial: Trial
    ends: Sequence[str] | None = None
    """Only these stages; all of the arm's when ``None``."""


class NodeLeaves(RuntimeError):
    """A machine of the group is about to be taken away; the trial has saved and goes on elsewhere."""


class Collateral(RuntimeError):
    """A rank cannot go on because of another one; Ray Train builds the group anew."""


def trainer(place: Place, mailbox: Any, folder: Path) -> Any:
    """The Ray Train run whose workers serve ``mailbox`` until it closes; it rebuilds them however often they die."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    return TorchTrainer(
        serve,
        train_loop_config={"mailbox": mailbox},
        torch_config=TorchConfig(
            backend="nccl" if place.device_type == "cuda" else "gloo", timeout_s=int(place.collective_seconds)
        ),
        scaling_config=ScalingConfig(
            num_workers=place.workers,
            use_gpu=place.device_type == "cuda",
            resources_per_worker=dict(place.bundles[0]),
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            # The owner counts what a trial has lost, and gives the trial up, not the group.
            failure_config=FailureConfig(max_failures=-1),
            callbacks=[TellOwner(mailbox)],
        ),
    )


class TellOwner(ray.train.UserCallback):
    """Runs in Ray Train's controller, the only one who sees a rank die."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Ranks have ended that should not have."""
        ray.get(self._mailbox.broke.remote({rank: cause(error) for rank, error in worker_exceptions.items()}))


def cause(error: BaseException) -> str:
    """One line on why a rank ended: what it raised last, or that its process died."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # Ray's own account of a death is a page of advice.
    return "its process died" if "HealthCheck" in type(error).__name__ else f"{type(error).__name__}: {lines[-1][:300]}"


def serve(config: dict[str, Any]) -> None:
    """What each rank runs: jobs, until there are no more.

    Whatever a rank raises here ends the group, for the others may be waiting in a collective. An error of the trial
    itself is told before that: then it is the trial's outcome, and the new group gets the next job.
    """
    mailbox, rank = config["mailbox"], ray.train.get_context().get_world_rank()
    device = ray.train.torch.get_device()
    number = 0
    while given := _next_job(mailbox, number, device):
        number, job = given
        if rank == 0:
            mailbox.tell.remote(number, Letter("ready", _reservation()))
        try:
            outcome = _work(mailbox, number, job, rank, device)
        except ray.exceptions.RayError:
            return  # The mailbox is gone, so the owner is: no group is needed any more.
        except Exception as error:
            if _is_collateral(error):
                raise Collateral(f"{type(error).__name__}: {error}") from error
            if not isinstance(error, NodeLeaves):
                ray.get(mailbox.tell.remote(number, Letter("outcome", failure(error, job.trial.place.storage))))
            raise
        if rank == 0:
            ray.get(mailbox.tell.remote(number, Letter("outcome", outcome)))


def _reservation() -> str:
    """The placement group that this rank runs in, in hexadecimal digits."""
    reserved = ray.util.get_current_placement_group()
    return "" if reserved is None else reserved.id.hex()


def release(reservation: str) -> None:
    """Give back what a worker group held whose owner has died.

    Its processes end with the owner, its placement group does not: Ray keeps one until the whole job ends.
    """
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(reservation))))


def _next_job(mailbox: Any, after: int, device: torch.device) -> tuple[int, Job] | None:
    """A job that all ranks have; one that was slower may have got a later one than the others."""
    import torch
    import torch.distributed as dist

    while (given := _given(mailbox, after)) is not None:
        numbers = torch.tensor([given[0], -given[0]], device=device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        highest, lowest = int(numbers[0]), -int(numbers[1])
        if highest == lowest:
            return given
        after = highest - 1
    return None


def _given(mailbox: Any, after: int) -> tuple[int, Job] | None:
    """A job; ``None`` where the owner has closed the mailbox, or has died and taken it along."""
    try:
        given: tuple[int, Job] | None = ray.get(mailbox.get.remote(after))
    except ray.exceptions.RayError:
        return None
    return given


def _work(mailbox: Any, number: int, job: Job, rank: int, device: torch.device) -> Any:
    """The outcome of a job; ``None`` where the owner stopped it."""
    from trainers.context import DistributedContext

    throttle, leaving = Throttle(), False

    def observe(event: Event) -> None:
        if rank != 0 or not throttle.passes(event):
            return
        progress = event.kind == "progress"
        answer = mailbox.tell.remote(number, Letter("event", event), wait=progress)
        if progress and (code := ray.get(answer)):
            raise SystemExit(code)

    def preempted() -> bool:
        nonlocal leaving
        leaving = leaving or get_preemption_info() is not None
        return leaving

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        return DistributedContext(folder, device=device, on_report=on_report, guard=guard, preempted=preempted)

    get_preemption_info = getattr(ray.train, "get_preemption_info", lambda: None)  # Since Ray 2.5x.
    try:
        return run_trial(job.trial, make_context=make_context, observe=observe, ends=job.ends)
    except SystemExit:
        if not leaving:
            return None
    if rank == 0:
        ray.get(mailbox.tell.remote(number, Letter("leaving")))
    raise NodeLeaves("a node of this group is about to be taken away")


def _is_collateral(error: BaseException | None) -> bool:
    """Whether a rank failed only because another one is gone, stands still, or has lost its lease."""
    import torch.distributed as dist

    while error is not None:
        text = str(error).lower()
        if isinstance(error, dist.DistError | LeaseLost):
            return True
        if isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text):
            return True
        error = error.__cause__
    return False
