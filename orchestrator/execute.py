"""Walk a planned graph: reuse what exists, make what is missing, once.

The same code runs in the driver, in a Tune trial's process and on every rank of a Ray Train worker group; rank 0
decides and the other ranks follow.
"""

from __future__ import annotations  # The annotations that need torch are never evaluated.

import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.artifacts import Artifact, Store
from orchestrator.graph import Planned
from orchestrator.leases import Lease, LeaseLost, acquire
from orchestrator.records import Damaged
from trainers.errors import MethodWarning

if TYPE_CHECKING:
    from trainers.context import OnReport, TrainContext

ABSENT, HIT, MAKE = 0, 1, 2
WAITING = 3
"""What rank 0 says while it waits for another process, so that no collective of the others runs into its timeout."""


@dataclass(frozen=True)
class StageReport:
    """What became of one stage in a walk."""

    name: str
    key: str
    hit: bool
    seconds: float
    """What it took to make: now, or in the past for a hit."""


@dataclass(frozen=True)
class Event:
    """Something to tell the person who watches."""

    kind: str
    """``start``, ``hit``, ``progress``, ``warning``, ``done``, ``waiting``, ``damaged``, ``lost``; ``over`` ends the
    whole walk; ``group`` names what a worker group has reserved, for whoever outlives its owner."""
    stage: str
    text: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


Observe = Callable[[Event], None]


class Throttle:
    """At most one progress event a second, and every one on which a decision hangs."""

    def __init__(self) -> None:
        self._told = -1.0

    def passes(self, event: Event) -> bool:
        """Whether ``event`` is to be told on."""
        scored = event.metrics.get("selection_step") == event.metrics.get("step")
        matters = event.kind != "progress" or "resumed" in event.metrics or scored
        if not matters and time.monotonic() - self._told < 1:
            return False
        self._told = time.monotonic()
        return True


class MakeContext(Protocol):
    """How a launcher makes the context of one stage."""

    def __call__(self, folder: Path, *, on_report: OnReport, guard: Callable[[], None]) -> TrainContext:
        """``folder`` keeps the checkpoints; ``guard`` is called before each is written."""
        ...


@dataclass
class Walk:
    """One walk over the graph of a trial."""

    planned: Mapping[str, Planned]
    store: Store
    roots: Mapping[str, Path]
    """Data set → folder, for the data sets that no stage makes."""
    make_context: MakeContext
    observe: Observe

    def run(self, ends: Sequence[str]) -> list[StageReport]:
        """Make every stage of ``ends``, and of their inputs only what that takes."""
        context = self.make_context(self.store.root, on_report=lambda metrics: None, guard=lambda: None)
        decisions = self._agree(self._decide(ends) if context.rank == 0 else [0] * len(self.planned), context)
        reports = []
        for one, decision in zip(self.planned.values(), decisions, strict=True):
            if decision == MAKE:
                reports.append(self._make_once(one, context))
            elif decision == HIT:
                reports.append(self._hit(one, context))
        return reports

    def _decide(self, ends: Sequence[str]) -> list[int]:
        """For each planned stage: reuse it, make it, or leave it absent because nobody needs it."""
        needed = set(ends)
        decisions: dict[str, int] = {}
        for name, one in reversed(list(self.planned.items())):  # Consumers before their inputs.
            if self._whole(one) is not None:
                decisions[name] = HIT
            elif name in needed:
                decisions[name] = MAKE
                needed.update(one.stage.sources().values())
            else:
                decisions[name] = ABSENT
        return [decisions[name] for name in self.planned]

    def _whole(self, one: Planned) -> Artifact | None:
        """The artifact of a stage, if it exists and is undamaged."""
        try:
            return self.store.find(one.method.name, one.key)
        except Damaged as error:
            damage = str(error).partition(";")[0]
        try:
            grave = self.store.quarantine(self.store.folder(one.method.name, one.key))
        except FileNotFoundError:  # Another one saw the damage too, and was faster.
            return None
        self.observe(Event("damaged", one.name, f"{damage}; moved to {grave}; made again where needed"))
        return None

    def _hit(self, one: Planned, context: TrainContext) -> StageReport:
        # Rank 0 has read it whole when it decided, unless another process has made it since.
        look = self.store.find if context.rank == 0 else self.store.peek
        artifact = look(one.method.name, one.key)
        assert artifact is not None, f"{one.name} {one.key} vanished from the storage"
        if context.rank == 0:
            self.store.bury_partial(one.key)
            self.observe(Event("hit", one.name, f"saved {artifact.seconds:.1f} s"))
        return StageReport(one.name, one.key, hit=True, seconds=artifact.seconds)

    def _make_once(self, one: Planned, context: TrainContext) -> StageReport:
        """Make a stage, however often this process stands still and loses its lease to another one."""
        while True:
            try:
                return self._make_under_lease(one, context)
            except LeaseLost:
                if context.world_size > 1:  # The other ranks wait in a collective: their group has to end.
                    raise
                self.observe(Event("lost", one.name, "stood still for too long, and another process took over"))

    def _make_under_lease(self, one: Planned, context: TrainContext) -> StageReport:
        """Make a stage under its lease, unless somebody else does so first."""
        partial = self.store.partial(one.key)
        lease: Lease | None = None
        if context.rank == 0:
            lease = acquire(
                partial / "lease",
                unless=lambda: self._keep_ranks_waiting(context) or self.store.exists(one.method.name, one.key),
                waiting=lambda holder: self.observe(Event("waiting", one.name, f"{holder} is making it")),
            )
        try:
            made = context.rank == 0 and (lease is None or self.store.exists(one.method.name, one.key))
            while (agreed := self._agree([int(made)], context)) == [WAITING]:
                pass
            if agreed == [1]:
                return self._hit(one, context)
            return self._make(one, partial, lease, context)
        finally:
            if lease is not None:
                lease.release()
                self.store.forget_partial(one.key)
                if self.store.exists(one.method.name, one.key):
                    self.store.bury_partial(one.key)

    def _keep_ranks_waiting(self, context: TrainContext) -> bool:
        """Rank 0 still waits for a lease; the others hear so, whatever their timeout."""
        if context.world_size > 1:
            self._agree([WAITING], context)
        return False

    def _make(self, one: Planned, partial: Path, lease: Lease | None, context: TrainContext) -> StageReport:
        # A folder of its own: a former holder that stood still may wake up and go on writing into its own.
        (nonce,) = self._agree([secrets.randbits(31) if context.rank == 0 else 0], context)
        output = partial / f"output-{nonce:08x}"
        if context.rank == 0:
            self.observe(Event("start", one.name))
            for leftover in partial.glob("output-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            output.mkdir(parents=True)
        context.barrier()
        started = time.monotonic()
        stage_context = self.make_context(
            partial,
            on_report=lambda metrics: self.observe(Event("progress", one.name, metrics=metrics)),
            guard=lease.require_held if lease is not None else lambda: None,
        )
        method, inputs = one.method.load(), self._inputs(one)
        method.check(one.config, inputs)
        try:
            with self._passing_on_warnings(one.name), _keeping_tf32():
                result: dict[str, Any] = method.run(one.config, inputs, output, one.seed, stage_context)
        finally:
            stage_context.settle()
        context.barrier()
        # A training that continued from a checkpoint has cost more than this attempt.
        seconds = max(time.monotonic() - started, float(result.get("seconds", 0)))
        if context.rank == 0:
            if lease is not None:
                lease.require_held()
            self.store.publish(
                output,
                method=one.method.name,
                key=one.key,
                content=one.content,
                result=result,
                seconds=seconds,
            )
            self.store.discard_partial(one.key)
            self.observe(Event("done", one.name, f"{seconds:.1f} s"))
        context.barrier()
        return StageReport(one.name, one.key, hit=False, seconds=seconds)

    @contextmanager
    def _passing_on_warnings(self, stage: str) -> Iterator[None]:
        """A method's warnings become events: what a worker's process prints reaches nobody."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", MethodWarning)
            show = warnings.showwarning

            def pass_on(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, MethodWarning):
                    self.observe(Event("warning", stage, str(message)))
                else:
                    show(message, category, *where, **more)

            warnings.showwarning = pass_on
            yield

    def _inputs(self, one: Planned) -> dict[str, Path]:
        """Role or data set → folder."""
        inputs = dict(self.roots)
        for role, source in one.stage.sources().items():
            inputs[role] = self.store.folder(self.planned[source].method.name, self.planned[source].key)
        return inputs

    def _agree(self, values: list[int], context: TrainContext) -> list[int]:
        """Rank 0's values on every rank; the others pass zeros."""
        import torch

        agreed: list[int] = context.all_reduce(torch.tensor(values, device=context.device)).tolist()
        return agreed


@contextmanager
def _keeping_tf32() -> Iterator[None]:
    """Stages that predict switch TF32 off: what trains after one shall not depend on whether it was a hit."""
    import torch

    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
