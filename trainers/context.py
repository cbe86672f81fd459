"""What a trainer sees of the world around it.

The same trainer runs in a test, under a debugger, in a Ray Tune process and on a Ray Train worker: all of them
hand it a ``TrainContext``.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from trainers.checkpoint import keep_aside, newest_checkpoint, whole_checkpoint, write_aside

WriteCheckpoint = Callable[[Path], None]
"""Writes a checkpoint's files into the empty folder that it is given."""

SAVE_AND_EXIT = 143
"""Code of the ``SystemExit`` that asks for a checkpoint first; any other ends the stage for good. (128 + SIGTERM)"""

STOP = 1
"""What any other code becomes where ranks agree on it."""

Metrics = Mapping[str, float | int]
"""Numbers by name. An int is no float to the checker that runs in the tests, so both are named."""

OnReport = Callable[[Metrics], None]


@runtime_checkable
class TrainContext(Protocol):
    """One rank of a stage.

    ``report`` may raise ``SystemExit`` to stop the trial early; nobody may swallow it.
    """

    rank: int
    world_size: int
    device: torch.device

    def resume(self) -> Path | None:
        """The folder of the newest checkpoint of this stage, if one exists; a damaged one is refused by name."""
        ...

    def report(self, metrics: Metrics, checkpoint: WriteCheckpoint | None = None, *, due: bool = True) -> None:
        """Tell the numbers of a step (``metrics["step"]``); a checkpoint holds the state of this moment.

        It reaches the disk in the background: before the next one is written, and before ``settle`` returns.
        A checkpoint that is not ``due`` is written only where the trial is stopped now to go on later.
        Every rank offers a checkpoint at the same steps; only rank 0 decides and writes, and only rank 0 is heard.
        A stop reaches all ranks at such a step.
        """
        ...

    def settle(self) -> None:
        """Wait until the last checkpoint is durable; raises what its writing raised."""
        ...

    def barrier(self) -> None:
        """Wait for all ranks."""
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of ``tensor`` over all ranks, on every rank; carries no gradient."""
        ...


def in_background(work: Callable[[], None]) -> "Future[None]":
    """Run ``work`` in a thread that the end of the process waits for."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="checkpoint").start()
    return future


class PlainContext:
    """One process, no launcher: for in-process trials, tests and the debugger."""

    rank = 0
    world_size = 1

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        on_report: OnReport | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """``guard`` is called before each checkpoint is written; it raises where that is no longer allowed."""
        self.folder = folder
        self.device = torch.device(device)
        self._on_report = on_report
        self._guard = guard or (lambda: None)
        self._writer: Future[None] | None = None
        self._whole: Path | None = None
        """The checkpoint that was read whole last."""

    def resume(self) -> Path | None:
        """See ``TrainContext``."""
        self.settle()
        if newest_checkpoint(self.folder) != self._whole:
            self._whole = whole_checkpoint(self.folder)
        return self._whole

    def report(self, metrics: Metrics, checkpoint: WriteCheckpoint | None = None, *, due: bool = True) -> None:
        """See ``TrainContext``."""
        if checkpoint is not None and due:
            self._write(metrics, checkpoint)
        try:
            if self._on_report is not None:
                self._on_report(metrics)
        except BaseException as stop:
            saves = isinstance(stop, SystemExit) and stop.code == SAVE_AND_EXIT
            if saves and checkpoint is not None and not due:
                self._write(metrics, checkpoint)
            self.settle()
            raise

    def _write(self, metrics: Metrics, checkpoint: WriteCheckpoint) -> None:
        """Write at once what the next step would change; the wait for the disk is the background's."""
        self.settle()
        self._guard()
        aside = write_aside(self.folder, checkpoint)

        def keep() -> None:
            self._guard()
            keep_aside(aside, int(metrics["step"]))

        self._writer = in_background(keep)

    def settle(self) -> None:
        """See ``TrainContext``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.result()

    def barrier(self) -> None:
        """See ``TrainContext``."""

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """See ``TrainContext``."""
        return tensor.detach()


class DistributedContext(PlainContext):
    """One rank of an initialised ``torch.distributed`` group, whoever started it."""

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        on_report: OnReport | None = None,
        guard: Callable[[], None] | None = None,
        preempted: Callable[[], bool] = lambda: False,
    ) -> None:
        """``preempted`` is asked by every rank at the same reports: whether the group has to leave its machines."""
        super().__init__(folder, device=device, on_report=on_report, guard=guard)
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._preempted = preempted

    def report(self, metrics: Metrics, checkpoint: WriteCheckpoint | None = None, *, due: bool = True) -> None:
        """See ``TrainContext``."""
        if checkpoint is None:
            # Rank 0 may be alone here: a stop waits for the next report that all ranks make, and is said again there.
            with contextlib.suppress(SystemExit):
                if self.rank == 0:
                    super().report(metrics)
            return
        code = SAVE_AND_EXIT if self._preempted() else 0
        if self.rank == 0:
            try:
                super().report(metrics, checkpoint, due=due or code == SAVE_AND_EXIT)
            except SystemExit as stop:
                code = SAVE_AND_EXIT if stop.code == SAVE_AND_EXIT else STOP
        agreed = int(self.all_reduce(torch.tensor(code if self.rank == 0 else 0, device=self.device)))
        if agreed:
            self.settle()
            raise SystemExit(agreed)

    def barrier(self) -> None:
        """See ``TrainContext``."""
        dist.barrier()

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """See ``TrainContext``."""
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total
