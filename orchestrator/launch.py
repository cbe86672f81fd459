"""Start trials: in this process, or in a Ray Train worker group whose ranks walk the whole graph together."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.execute import Event
from orchestrator.signals import stopping_on_sigterm
from orchestrator.trial import Outcome, Trial, failure, run_trial

if TYPE_CHECKING:
    from trainers.context import OnReport, TrainContext

Watch = Callable[[Trial, Event], None]
"""Told what happens in which trial."""

POLL_SECONDS = 0.2


def run_trials(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """Run ``trials`` one after the other; yields each with its outcome as it ends."""
    if trials and trials[0].place.workers > 0:
        yield from _run_in_group(trials, watch)
        return
    from trainers.context import SAVE_AND_EXIT

    with stopping_on_sigterm() as stopping:
        for trial in trials:

            def observe(event: Event, trial: Trial = trial) -> None:
                watch(trial, event)
                if stopping and event.kind == "progress":
                    raise SystemExit(SAVE_AND_EXIT)

            yield trial, run_in_process(trial, observe)


def run_in_process(trial: Trial, observe: Callable[[Event], None]) -> Outcome:
    """Run one trial here."""
    from trainers.context import PlainContext

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        return PlainContext(folder, device=trial.place.device_type, on_report=on_report, guard=guard)

    return run_trial(trial, make_context=make_context, observe=observe)


class _Mailbox:
    """What the ranks tell the driver; an asynchronous actor that needs no CPU."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, Any]] = []

    async def put(self, kind: str, content: Any) -> None:
        self._letters.append((kind, content))

    async def take(self) -> list[tuple[str, Any]]:
        letters, self._letters = self._letters, []
        return letters


def _run_in_group(trials: Sequence[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """One worker group serves all trials; when it breaks, its trial has failed and a new group does the rest."""
    from orchestrator.cluster import connect

    connect()
    waiting = list(trials)
    while waiting:
        yield from _serve(waiting, watch)


def _serve(waiting: list[Trial], watch: Watch) -> Iterator[tuple[Trial, Outcome]]:
    """Run trials from the front of ``waiting`` in one group until they are done or the group breaks."""
    import ray

    mailbox = ray.remote(num_cpus=0)(_Mailbox).remote()
    folder = waiting[0].place.storage / "groups" / f"group-{time.time_ns()}"
    broken: list[BaseException] = []

    def fit() -> None:
        try:
            _group(list(waiting), mailbox, folder).fit()
        except Exception as error:
            broken.append(error)

    thread = threading.Thread(target=fit, name="worker group", daemon=True)
    thread.start()
    while waiting:
        alive = thread.is_alive()  # Read before the letters: a group that has ended sends no more.
        for kind, content in ray.get(mailbox.take.remote()):
            if kind == "event":
                watch(waiting[0], content)
            else:
                yield waiting.pop(0), content
        if not alive and waiting:
            yield waiting.pop(0), _group_failure(broken, folder.parents[1])
            break
        time.sleep(POLL_SECONDS)
    thread.join()
    ray.kill(mailbox)
    # Ray Train keeps its own state there; ours is in the stages' folders.
    shutil.rmtree(folder, ignore_errors=True)


def _group_failure(broken: list[BaseException], storage: Path) -> Outcome:
    """The outcome of the trial in whose middle the group ended, by the error of the rank that ended it."""
    if not broken:
        return Outcome("failed", failure_class="worker_lost", message="the worker group ended without a word")
    causes = list(getattr(broken[0], "worker_failures", {}).values())
    cause = causes[0] if causes else broken[0]
    inner = getattr(cause, "cause", None) or cause
    outcome = failure(inner, storage)
    if outcome.failure_class == "bug" and "died" in str(inner).lower():
        return Outcome("failed", failure_class="worker_lost", message=outcome.message, trace=outcome.trace)
    return outcome


def _group(trials: list[Trial], mailbox: Any, folder: Path) -> Any:
    """The Ray Train run whose workers walk ``trials``."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    place = trials[0].place
    on_gpu = place.device_type == "cuda"
    return TorchTrainer(
        _walk_on_worker,
        train_loop_config={"trials": trials, "mailbox": mailbox},
        # Ranks wait for each other through whole stages that rank 0 alone may be looking up or waiting for.
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo", timeout_s=24 * 3600),
        scaling_config=ScalingConfig(
            num_workers=place.workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": place.threads, **({"GPU": 1} if on_gpu else {})},
        ),
        run_config=RunConfig(name=folder.name, storage_path=str(folder.parent)),
    )


def _walk_on_worker(config: dict[str, Any]) -> None:
    """What each rank runs."""
    import ray
    import ray.train
    import ray.train.torch

    from trainers.context import DistributedContext

    rank = ray.train.get_context().get_world_rank()
    mailbox = config["mailbox"]

    def tell(kind: str, content: Any) -> None:
        if rank == 0:
            ray.get(mailbox.put.remote(kind, content))

    def make_context(folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        device = ray.train.torch.get_device()
        return DistributedContext(folder, device=device, on_report=on_report, guard=guard)

    for trial in config["trials"]:
        tell("outcome", run_trial(trial, make_context=make_context, observe=lambda event: tell("event", event)))
