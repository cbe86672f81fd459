"""A trial: one arm, one configuration, one seed — what it is, and how it runs to an outcome in any process."""

import gc
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from orchestrator.access import denied_path, is_denied, no_access, write_for_group
from orchestrator.artifacts import Store
from orchestrator.execute import MakeContext, Observe, StageReport, Walk
from orchestrator.files import is_no_space
from orchestrator.graph import (
    CHECKPOINTS,
    Arm,
    Experiment,
    Planned,
    Seeds,
    config_hash,
    plan,
    plan_unread,
    trial_id,
)
from orchestrator.ledger import Ledger
from orchestrator.overrides import assign
from orchestrator.surroundings import ensure_short_temporary_folder
from trainers.errors import Diverged, UserError

FailureClass = Literal[
    "invalid", "diverged", "out_of_memory", "disk_full", "bug", "worker_lost", "node_lost", "preempted"
]


@dataclass(frozen=True)
class Place:
    """Where trials run: folders, and what the hardware decides about keys."""

    storage: Path
    roots: Mapping[str, Path]
    fingerprints: Mapping[str, str]
    """``dataset/split`` → fingerprint, of every external split that the experiment reads."""
    device_type: Literal["cpu", "cuda"] = "cpu"
    workers: int = 0
    """Ranks that walk together; 0 is the process itself."""
    threads: int = 1
    """CPU cores of each rank: its torch threads on a CPU."""
    gpus: float = 0.0
    """GPUs of each rank; less than one where several trials share a device."""
    collective_seconds: float = 1800.0
    """How long a rank waits for the others before its group is taken to be broken."""

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What each rank takes of a node."""
        return [{"CPU": self.threads, **({"GPU": self.gpus} if self.gpus else {})}] * max(1, self.workers)


@dataclass(frozen=True)
class Trial:
    """One arm, one configuration, one seed."""

    experiment: Experiment
    arm: Arm
    varied: Mapping[str, Any]
    """``stage.field`` → value, for the fields that a search varies."""
    seeds: Seeds
    place: Place

    @classmethod
    def of(cls, experiment: Experiment, arm: Arm, varied: Mapping[str, Any], seeds: Seeds, place: Place) -> "Trial":
        """The trial of ``experiment`` with ``varied`` set."""
        return cls(assign(experiment, varied), arm, varied, seeds, place)

    @cached_property
    def planned(self) -> dict[str, Planned]:
        """Every stage with its key, inputs first."""
        return plan(
            self.experiment,
            self.arm,
            seeds=self.seeds,
            fingerprints=lambda split: self.place.fingerprints[str(split)],
            device_type=self.place.device_type,
            workers=self.place.workers,
        )

    @cached_property
    def id(self) -> str:
        """``t`` + 10 hex digits."""
        return trial_id(self.experiment.name, self.arm.name, self._identity, self.seeds)

    @cached_property
    def config_hash(self) -> str:
        """What trials that differ in their seed alone share."""
        return config_hash(self.experiment.name, self.arm.name, self._identity)

    @cached_property
    def _identity(self) -> dict[str, Planned]:
        """What names are made of: what is planned, and what once was an input."""
        unread = plan_unread(
            self.experiment,
            self.arm,
            # As built it may read splits that nobody has here; then it is no experiment that rows are known of.
            fingerprints=lambda split: self.place.fingerprints.get(str(split), str(split)),
            device_type=self.place.device_type,
            workers=self.place.workers,
        )
        return {**unread, **self.planned}


DISTANCES = (
    "fid", "fid_mean_term", "fid_covariance_term", "kid", "fid_features", "fid_weights_hash", "selection_threshold",
    "selection_quantile",
)  # fmt: skip
"""Columns of the leaderboard that a distance between sets of images fills, or a selection of images, which is one."""

SELECTED = {"fid_trace": "trace", "selection_quantiles": "quantiles"}
"""Column → name of what a selection of images tells of its reference and of its pool."""

QUALITIES = ("psnr", "ssim")
"""Columns that a comparison of images with their references fills."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, in plain values: it travels between processes and is kept as JSON."""

    status: Literal["finished", "pruned", "diverged", "failed"]
    stages: list[dict[str, Any]] = field(default_factory=list)
    """``StageReport`` of each stage, as dicts."""
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Evaluation stage (``day_val@best``) → its result."""
    training: dict[str, Any] = field(default_factory=dict)
    """Result of the last training stage, but ``steps`` of all stages."""
    objectives: dict[str, float | None] = field(default_factory=dict)
    """``source_miou``, ``target_infomax`` and ``target_miou`` of the best checkpoint; ``seconds``, hits included."""
    hardware: str | None = None
    failure_class: FailureClass | None = None
    message: str | None = None
    trace: str | None = None

    @property
    def all_hits(self) -> bool:
        """Whether nothing had to be computed."""
        return all(stage["hit"] for stage in self.stages)


def run_trial(
    trial: Trial, *, make_context: MakeContext, observe: Observe, ends: Sequence[str] | None = None
) -> Outcome:
    """Walk the trial's graph and read its scores; a failure becomes an outcome, an early stop passes through.

    With ``ends`` only these stages and their inputs are made, and there are no scores.
    """
    prepare_process(trial.place)
    store = Store(trial.place.storage)
    walk = Walk(trial.planned, store, trial.place.roots, make_context, observe)
    try:
        # The last training's curves and steps belong to the row, also where every evaluation is a hit.
        reports = walk.run([*trial.arm.stages(), trial.arm.train] if ends is None else ends)
    except Exception as error:
        # Where ranks walk together only a divergence is seen by all of them; anything else must end the group.
        if trial.place.workers > 1 and not isinstance(error, Diverged):
            raise
        return failure(error, trial.place.storage)
    if ends is not None:
        return Outcome("finished", stages=[asdict(report) for report in reports])
    return collect(trial, store, reports)


def prepare_process(place: Place) -> None:
    """Set every global state of torch that a trial before this one may have left changed."""
    import torch

    ensure_short_temporary_folder()
    write_for_group(place.storage)
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    torch.set_grad_enabled(True)
    if place.device_type == "cuda":
        gc.collect()  # What the trial before left in cycles still holds its memory.
        torch.cuda.empty_cache()
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    else:
        torch.set_num_threads(place.threads)
        torch.use_deterministic_algorithms(True)


def collect(trial: Trial, store: Store, reports: list[StageReport]) -> Outcome:
    """The outcome of a trial whose stages all exist."""
    from orchestrator.provenance import hardware

    def result(stage: str) -> dict[str, Any]:
        planned = trial.planned[stage]
        artifact = store.peek(planned.method.name, planned.key)
        return artifact.result if artifact is not None else {}

    arm = trial.arm
    steps = sum(result(name).get("steps", 0) for name in trial.planned)
    return Outcome(
        status="finished",
        stages=[asdict(report) for report in reports],
        scores={
            evaluation.stage(checkpoint): {
                **result(evaluation.stage(checkpoint)),
                **{
                    name: value
                    for stage in evaluation.measures(checkpoint)
                    for name, value in result(stage).items()
                    if name in (*DISTANCES, *SELECTED.values(), *QUALITIES)
                },
            }
            for evaluation in arm.evaluations
            for checkpoint in CHECKPOINTS
        },
        training=result(arm.train) | ({"steps": steps} if steps else {}),
        objectives={
            "source_miou": result(f"{arm.source}@best").get("miou"),
            "target_infomax": result(f"{arm.target_unlabeled}@best").get("infomax"),
            "target_miou": result(f"{arm.target}@best").get("miou"),
            "seconds": sum(report.seconds for report in reports),
        },
        hardware=hardware(trial.place.device_type),
    )


def failure(error: BaseException, storage: Path) -> Outcome:
    """The outcome of an error: its class, one line, and the trace for whoever looks for the bug."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Diverged):
        return Outcome("diverged", failure_class="diverged", message=message)
    if is_denied(error, storage):
        error, message = UserError(message), no_access(denied_path(error), storage)
    if isinstance(error, UserError):
        return Outcome("failed", failure_class="invalid", message=message)
    kind: FailureClass = "out_of_memory" if _is_out_of_memory(error) else "bug"
    if is_no_space(error, storage):
        kind = "disk_full"
    trace = "".join(traceback.format_exception(error))
    return Outcome("failed", failure_class=kind, message=f"{type(error).__name__}: {message}"[:500], trace=trace)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def with_seed(trial: Trial, seed: int) -> Trial:
    """The same configuration with another trial seed."""
    return replace(trial, seeds=replace(trial.seeds, trial=seed))


def attempt_record(trial: Trial) -> dict[str, Any]:
    """What the ledger keeps of an attempt that starts; ``gc`` spares its keys until the trial has ended well."""
    keys = [one.key for one in trial.planned.values()]
    return {"varied": dict(trial.varied), "seed": trial.seeds.trial, "keys": keys}


def keep_trace(ledger: Ledger, trial: Trial, attempt: int, outcome: Outcome) -> Outcome:
    """Move the trace of a bug into a file of the ledger; the message says where."""
    if outcome.trace is None:
        return outcome
    path = ledger.write_failure(trial.id, attempt, outcome.trace)
    return replace(outcome, trace=None, message=f"{outcome.message} (trace: {path})")
