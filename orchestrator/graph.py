"""Experiments as graphs of stages, and the keys that name what each stage makes.

A key is the SHA-256 of everything that a stage's result depends on: method and version, the configuration with its
defaults, the keys of its inputs, the fingerprints of the data that it reads, and its seed if it draws random numbers.
Never a path, a date, a host or the number of workers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trainers.components.configs import OWN_STATISTICS
from trainers.config import Config, SeedFrom, keyed, walk
from trainers.data.datasets import DataSplit
from trainers.errors import UserError
from trainers.registry import Method, method

SeedScope = Literal["declared", "last", "all"]
"""Which stages follow the trial's seed: as each method declares, only the last training stage, or all."""

SplitRole = Literal["select", "report", "held_out"]
"""What a split may be used for; every benchmark gives each of its splits one role."""

Objective = Literal["source_miou", "target_infomax", "target_miou"]
"""What a search maximizes: mIoU on labeled source images, infomax on unlabeled target images, or, an oracle, mIoU on
the target's."""

CHECKPOINTS = ("best", "final")

RANKS = "ranks"
"""Entry of a stage's content: how many workers trained it, where that changes the numbers."""


@dataclass(frozen=True)
class Stage:
    """One unit of work."""

    name: str
    method: str
    config: Config
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role (or the name of the data set that the input is) → name of the stage that makes it."""
    follows: Mapping[str, str] = field(default_factory=dict)
    """Field of the configuration → stage whose field of that name it always equals."""
    seed_from: SeedFrom | None = None
    """Where it takes its seed from, where that differs from what its method declares: a segmenter whose features
    measure others is the same in every trial."""
    built: Config | None = None
    """The configuration that it had in its experiment, where it has been given another one since."""

    def sources(self) -> dict[str, str]:
        """The ``inputs`` that its configuration reads: these alone are made before it, and stand in its key."""
        return {role: source for role, source in self.inputs.items() if self.config.reads_input(role)}


@dataclass(frozen=True)
class Evaluation:
    """A split that an arm is scored on; its stages are ``<base>@best`` and ``<base>@final``."""

    name: str
    """What the leaderboard calls the split."""
    role: SplitRole
    base: str | None = None
    """Name of its stages without the checkpoint, where it is not ``name``: several arms may score one split."""
    distance: str | None = None
    """The ``frechet`` stage whose distance stands in the same rows: of translations to the domain of this split; or
    the ``selection`` that chose what was trained on, whose threshold stands there too."""
    quality: str | None = None
    """Name, without the checkpoint, of the ``image_quality`` stages whose PSNR and SSIM stand in the same rows."""

    def stage(self, checkpoint: str) -> str:
        """The stage that scores ``checkpoint``."""
        return f"{self.base or self.name}@{checkpoint}"

    def measures(self, checkpoint: str) -> list[str]:
        """The stages whose numbers stand beside its scores."""
        quality = None if self.quality is None else f"{self.quality}@{checkpoint}"
        return [stage for stage in (self.distance, quality) if stage is not None]


@dataclass(frozen=True)
class Arm:
    """A named end of the graph: what is trained last, and what it is scored on."""

    name: str
    train: str
    """The last training stage."""
    evaluations: tuple[Evaluation, ...]
    source: str
    """Base of the evaluation whose mIoU is ``source_miou``."""
    target_unlabeled: str
    """Base of the evaluation (need not be one of ``evaluations``) whose infomax is ``target_infomax``."""
    target: str
    """Base of the evaluation whose mIoU is ``target_miou``, an oracle."""
    held_out: Mapping[str, Evaluation] = field(default_factory=dict)
    """Name of an evaluation → the one on a held-out split that ``confirm`` checks it with; no sweep makes these."""

    def confirming(self) -> "Arm":
        """The same arm, scored on the held-out splits too."""
        return replace(self, evaluations=(*self.evaluations, *self.held_out.values()))

    def stages(self) -> list[str]:
        """Every stage that must exist for the arm's rows."""
        names = [evaluation.base or evaluation.name for evaluation in self.evaluations]
        extra = [] if self.target_unlabeled in names else [self.target_unlabeled]
        measures = [
            stage for one in self.evaluations for checkpoint in CHECKPOINTS for stage in one.measures(checkpoint)
        ]
        scored = (f"{name}@{checkpoint}" for name in names + extra for checkpoint in CHECKPOINTS)
        return [*scored, *dict.fromkeys(measures)]


@dataclass(frozen=True)
class Experiment:
    """A named graph of stages with default configurations."""

    name: str
    summary: str
    preset: str
    stages: Mapping[str, Stage]
    arms: Mapping[str, Arm]
    searches: Mapping[str, Mapping[str, str]]
    """Name of a search → {stage: space in ``search_spaces``}; the first is the default."""
    objective: Objective
    baseline: str | None = None
    """Arm that a report compares the others with, class by class."""

    def with_configs(self, configs: Mapping[str, Config]) -> "Experiment":
        """The same graph with other configurations for some stages, and for those that follow them.

        Raises:
            UserError: a field that follows another stage's is given another value.
        """
        stages = {
            name: replace(stage, config=configs[name], built=stage.built or stage.config) if name in configs else stage
            for name, stage in self.stages.items()
        }
        for name, stage in self.stages.items():
            led = {one: getattr(stages[leader].config, one) for one, leader in stage.follows.items()}
            for one, value in led.items():
                given = getattr(stages[name].config, one)
                if given not in (value, getattr(stage.config, one)):
                    leader = stage.follows[one]
                    raise UserError(f"{name}.{one} is always {leader}.{one} ({value}), got {given}: set {leader}.{one}")
            if led:
                following = stages[name].config.model_copy(update=led)
                stages[name] = replace(stages[name], config=following, built=stage.built or stage.config)
        return replace(self, stages=stages)

    def upstream(self, ends: list[str], *, unread: bool = False) -> list[str]:
        """The stages that ``ends`` need, each after its inputs; with ``unread`` also those that another configuration
        of the same graph would need.
        """
        ordered: dict[str, None] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in ordered:  # Once: the paths through a chain of self-trainings double with each link.
                return
            if name in path:
                raise ValueError(f"the stages of {self.name} depend on each other: {' → '.join((*path, name))}")
            stage = self.stages[name]
            for source in (stage.inputs if unread else stage.sources()).values():
                visit(source, (*path, name))
            ordered[name] = None

        for end in ends:
            visit(end, ())
        return list(ordered)


def evaluation_stages(
    train: str, splits: Mapping[str, str], *, data: Mapping[str, str] | None = None, **fields: Any
) -> dict[str, Stage]:
    """Evaluation stages of a segmenter: ``{base: "dataset/split"}`` for both checkpoints; ``fields`` go to all."""
    config = method("evaluation").config
    stages = {}
    for name, split in splits.items():
        for checkpoint in CHECKPOINTS:
            stage = f"{name}@{checkpoint}"
            inputs = {"segmenter": train, **(data or {})}
            stages[stage] = Stage(
                stage,
                "evaluation",
                config.model_validate({"split": split, "checkpoint": checkpoint, **fields}),
                inputs,
            )
    return stages


@dataclass(frozen=True)
class Planned:
    """A stage with everything decided: it can be looked up, or run."""

    stage: Stage
    method: Method
    config: Config
    seed: int | None
    content: Mapping[str, Any]
    """What the key is the hash of."""
    key: str

    @property
    def name(self) -> str:
        """The stage's name in its experiment."""
        return self.stage.name


@dataclass(frozen=True)
class Seeds:
    """Which seed each stage of a trial gets."""

    sweep: int
    trial: int
    scope: SeedScope

    def of(self, stage: Stage, kind: Method, *, last: str) -> int | None:
        """The seed of ``stage`` in an arm whose last training stage is ``last``."""
        if kind.seed_from is None:
            return None
        if self.scope == "all":
            return self.trial
        if self.scope == "last":
            return self.trial if stage.name == last else self.sweep
        return self.trial if (stage.seed_from or kind.seed_from) == "trial" else self.sweep


Fingerprints = Callable[[DataSplit], str]
"""The fingerprint of an external split."""


def external_splits(stage: Stage) -> list[DataSplit]:
    """The splits that a stage reads from outside: those that none of its inputs provides."""
    splits = {str(item): item for item in walk(stage.config) if isinstance(item, DataSplit)}
    return [split for _, split in sorted(splits.items()) if split.dataset not in stage.inputs]


def plan(
    experiment: Experiment,
    arm: Arm,
    *,
    seeds: Seeds,
    fingerprints: Fingerprints,
    device_type: str = "cpu",
    workers: int = 0,
) -> dict[str, Planned]:
    """Every stage of ``arm`` with its key, inputs first."""
    planned: dict[str, Planned] = {}
    for name in experiment.upstream(arm.stages()):
        stage = experiment.stages[name]
        planned[name] = plan_stage(
            stage,
            {role: planned[source].key for role, source in sorted(stage.sources().items())},
            seed=seeds.of(stage, method(stage.method), last=arm.train),
            fingerprints=fingerprints,
            device_type=device_type,
            workers=workers,
        )
    return planned


def plan_unread(
    experiment: Experiment,
    arm: Arm,
    *,
    fingerprints: Fingerprints,
    device_type: str = "cpu",
    workers: int = 0,
) -> dict[str, Planned]:
    """The stages of ``arm`` that no configuration reads, as the experiment was built; their keys mean nothing.

    Once they were inputs. They still count in ``config_hash``, so that it finds the rows of those days; what is set of
    them does not.
    """
    read = experiment.upstream(arm.stages())
    unread = [name for name in experiment.upstream(arm.stages(), unread=True) if name not in read]
    stages = (experiment.stages[name] for name in unread)
    return {
        stage.name: plan_stage(
            replace(stage, config=stage.built or stage.config),
            {},
            seed=None,
            fingerprints=fingerprints,
            device_type=device_type,
            workers=workers,
        )
        for stage in stages
    }


def plan_stage(
    stage: Stage,
    inputs: Mapping[str, str],
    *,
    seed: int | None,
    fingerprints: Fingerprints,
    device_type: str = "cpu",
    workers: int = 0,
) -> Planned:
    """A stage with its key; ``inputs`` are the keys of its inputs by role."""
    kind = method(stage.method)
    config = stage.config.resolved(device_type=device_type)
    content: dict[str, Any] = {
        "method": kind.name,
        "version": kind.version,
        "config": keyed(config),
        "inputs": dict(inputs),
        "data": {str(split): fingerprints(split) for split in external_splits(stage)},
    }
    if seed is not None:
        content["seed"] = seed
    if workers > 1 and depends_on_ranks(config):
        content[RANKS] = workers
    return Planned(stage, kind, config, seed, content, digest(content))


def depends_on_ranks(config: Config) -> bool:
    """Whether a training computes something else on several ranks: own batch statistics, or own dropout masks."""
    if not hasattr(config, "batch_norm"):
        return False
    network = getattr(config, "network", None)
    has_dropout = network is not None and network.dropout != 0  # Unset leaves the architecture's own.
    return bool(config.batch_norm in OWN_STATISTICS or has_dropout)


def digest(content: Any) -> str:
    """SHA-256 of canonical JSON, 32 hex digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:32]


def canonical(content: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf; an empty mapping has none."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def configuration(planned: Mapping[str, Planned]) -> dict[str, Any]:
    """The configuration of an arm by stage, evaluations left out: the keyed fields and what the workers add to them."""
    return {
        name: one.content["config"] | {key: one.content[key] for key in (RANKS,) if key in one.content}
        for name, one in planned.items()
        if one.method.name != "evaluation"
    }


def config_hash(experiment: str, arm: str, planned: Mapping[str, Planned]) -> str:
    """``c`` + 10 hex digits: what seeds share: methods with versions, configurations and data, of evaluations too.

    ``planned`` are the stages of ``plan`` and of ``plan_unread``.
    """
    parts = ("method", "version", "config", "data", RANKS)
    what = {name: {part: one.content[part] for part in parts if part in one.content} for name, one in planned.items()}
    return "c" + digest([experiment, arm, what])[:10]


def trial_id(experiment: str, arm: str, planned: Mapping[str, Planned], seeds: Seeds) -> str:
    """``t`` + 10 hex digits of (arm, configuration, seed): the same trial has the same name anywhere."""
    return "t" + digest([config_hash(experiment, arm, planned), seeds.trial, seeds.scope])[:10]
