"""Before anything starts: prove that it can run. Every refusal is one line with the fix."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.artifacts import verify_named
from orchestrator.cluster import absolute, connect
from orchestrator.data_sight import Bar, check_files, no_bar, split_fingerprint
from orchestrator.files import require_writable
from orchestrator.graph import Arm, Experiment, external_splits
from orchestrator.leakage import check_targets
from orchestrator.nodes import check_nodes
from orchestrator.resources import cluster_nodes, is_on_cluster, num_cpus, num_gpus, require_fit
from orchestrator.trial import Place, Trial
from trainers.data.datasets import DATASETS, DataSplit
from trainers.errors import UserError, nearest

MIN_FREE_BYTES = 1_000_000_000
"""Free space below which nothing starts: a checkpoint, its artifact and the copy that is written aside."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for, options that all verbs share."""

    storage: Path
    data_root: Path | None = None
    roots: Mapping[str, Path] | None = None
    workers: int = 0
    gpus_per_worker: float | None = None
    """``None``: one where the machine has any."""
    cpus_per_worker: int | None = None
    """``None``: the machine's cores are shared out evenly by the trials that run at once; on a cluster one each."""
    collective_seconds: float = 1800.0
    max_concurrent: int = 1
    """Trials that run at once where they fit: a run takes one after the other, a sweep all that it can."""


def device_type(request: Request) -> Literal["cpu", "cuda"]:
    """Whether the trials of ``request`` run on GPUs.

    Raises:
        UserError: more GPUs are asked for than there are.
    """
    each = request.gpus_per_worker if request.gpus_per_worker is not None else float(num_gpus() > 0)
    check_gpus(each, request.workers)
    needed = each * max(1, request.workers)
    if needed > num_gpus():
        raise UserError(
            f"--gpus-per-worker {each:g} with {max(1, request.workers)} worker(s) needs {needed:g} "
            f"GPU(s), and this machine has {num_gpus()}; use --gpus-per-worker 0 for the CPU"
        )
    return "cuda" if each else "cpu"


def check_gpus(each: float, workers: int) -> None:
    """What a worker can take of GPUs.

    Raises:
        UserError: more than one, or a part of one for ranks that have to talk to each other.
    """
    if not 0 <= each <= 1:
        raise UserError(f"--gpus-per-worker {each:g}: a worker uses one GPU, a part of one, or none; use 0 to 1")
    if 0 < each < 1 and workers > 1:
        raise UserError(
            f"--gpus-per-worker {each:g} with --workers {workers}: NCCL needs a GPU for each rank; use 1 or --workers 1"
        )


def machines(request: Request) -> tuple[Literal["cpu", "cuda"], int, float]:
    """Device, cores and GPUs of each worker, where all of them fit.

    Raises:
        UserError: they never will.
    """
    if not is_on_cluster():
        kind = device_type(request)
        threads = check_workers(request, kind)
        gpus = 0.0 if kind == "cpu" else 1.0 if request.gpus_per_worker is None else request.gpus_per_worker
        return kind, threads, gpus
    connect()
    nodes = cluster_nodes()
    has_any = any(node.get("GPU", 0) >= 1 for node in nodes)
    gpus = float(has_any) if request.gpus_per_worker is None else request.gpus_per_worker
    check_gpus(gpus, request.workers)
    if request.workers < 0:
        raise UserError(f"--workers must be 0 (one process per trial) or more, got {request.workers}")
    threads = request.cpus_per_worker or 1
    bundle = {"CPU": float(threads), **({"GPU": gpus} if gpus else {})}
    require_fit(nodes, [bundle] * max(1, request.workers))
    return "cuda" if gpus else "cpu", threads, gpus


def check_workers(request: Request, kind: Literal["cpu", "cuda"] = "cpu") -> int:
    """CPU cores per worker of trials on a ``kind`` of device.

    Raises:
        UserError: the workers do not fit the machine.
    """
    ranks = max(1, request.workers)
    if request.workers < 0:
        raise UserError(f"--workers must be 0 (this process) or more, got {request.workers}")
    each = request.cpus_per_worker or max(1, num_cpus() // (ranks * side_by_side(request, kind)))
    if ranks * each > num_cpus():
        fit = num_cpus() // each
        cure = f"--workers {fit}" if fit else f"--cpus-per-worker {max(1, num_cpus() // ranks)}"
        raise UserError(
            f"--workers {request.workers} with {each} core(s) each needs {ranks * each} cores, and this machine has "
            f"{num_cpus()}; use {cure} or fewer"
        )
    return each


def side_by_side(request: Request, kind: Literal["cpu", "cuda"]) -> int:
    """How many trials run at once on this machine when each worker has at least one core, and its GPUs."""
    ranks = max(1, request.workers)
    fit = num_cpus() // ranks
    if kind == "cuda":
        gpus = 1.0 if request.gpus_per_worker is None else request.gpus_per_worker
        fit = min(fit, int(num_gpus() / (gpus * ranks)))
    return max(1, min(request.max_concurrent, fit))


def data_roots(request: Request) -> dict[str, Path]:
    """Data set → folder, absolute: single roots win over the folders of ``--data-root``."""
    roots = {}
    if request.data_root is not None:
        absolute(request.data_root, "--data-root")
        if not request.data_root.is_dir():
            raise UserError(f"--data-root {request.data_root} does not exist; it holds one folder per data set")
        roots = {name: request.data_root / name for name in DATASETS if (request.data_root / name).is_dir()}
    roots |= dict(request.roots or {})
    return {name: root.resolve() for name, root in roots.items()}


def place(
    experiment: Experiment, arms: Iterable[Arm], request: Request, bar: Bar = no_bar, *, only_look: bool = False
) -> Place:
    """Check storage, data and resources; of what it writes only what it remembers of the data sets stays.

    No image is decoded: ``check_data`` does that, once all else is known to be right. With ``only_look`` nothing is to
    be made in the storage, so it need not be writable.

    Raises:
        UserError: with what is missing.
    """
    storage = absolute(request.storage, "--storage")
    kind, threads, gpus = machines(request)
    roots = data_roots(request)
    verify_named(roots.values())
    made = {role for stage in experiment.stages.values() for role in stage.inputs}
    if clash := sorted(made & set(roots)):
        raise UserError(
            f"{experiment.name} makes the data set {clash[0]} itself (its stage "
            f"{experiment.stages[next(iter(experiment.stages))].name}); drop data.{clash[0]}.root"
        )
    if not only_look:
        require_writable(storage)
        require_space(storage)
    # With what these configurations do not read: those that a search varies may.
    names = {name for arm in arms for name in experiment.upstream(arm.stages(), unread=True)}
    splits = {str(split): split for name in sorted(names) for split in external_splits(experiment.stages[name])}
    if experiment.preset == "real" and (absent := sorted({split.dataset for split in splits.values()} - set(roots))):
        raise UserError(
            f"no folder is known for the data set {absent[0]}: give --set data.{absent[0]}.root=DIR or --data-root "
            f"with a folder {absent[0]}/ in it; or --preset toy_city, which renders its own data"
        )
    fingerprints = {text: split_fingerprint(storage, roots, split, bar) for text, split in splits.items()}
    check_targets(experiment, arms, roots)
    if is_on_cluster():
        check_nodes(storage, roots, splits)
    return Place(
        storage=storage,
        roots=roots,
        fingerprints=fingerprints,
        device_type=kind,
        workers=request.workers,
        threads=threads,
        gpus=gpus,
        collective_seconds=request.collective_seconds,
    )


def check_data(chosen: Place, bar: Bar = no_bar) -> None:
    """Decode all data that trials read, but for what was decoded before: the last check, as it may take minutes.

    Raises:
        UserError: a file cannot be decoded, or does not fit its image or the label map.
    """
    for text in chosen.fingerprints:
        check_files(chosen.storage, chosen.roots, DataSplit.model_validate(text), bar)


def require_space(storage: Path) -> None:
    """Refuse a storage that is nearly full.

    Raises:
        UserError: with what is free.
    """
    free = shutil.disk_usage(storage).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"the storage {storage} has {free / 1e9:.1f} GB free, and a run needs {MIN_FREE_BYTES / 1e9:.0f} GB; "
            "free some (`nightshift gc` lists what nobody needs) or give another --storage"
        )


def check_methods(trial: Trial) -> None:
    """Let every stage of a trial refuse what it can tell before it starts; imports torch."""
    for planned in trial.planned.values():
        module = planned.method.load()
        module.check(planned.config, dict(trial.place.roots))
        if hasattr(module, "check_sources"):
            sources = {role: trial.planned[name].config for role, name in planned.stage.sources().items()}
            module.check_sources(planned.config, sources)
            if hasattr(module, "check_segmenter_apart") and "segmenter" in sources:
                trained = dict(sources["segmenter"])
                seen = [*trained.get("train", ()), *([trained["target"]] if "target" in trained else [])]
                module.check_segmenter_apart(planned.config, seen, trial.place.roots)


def find_arms(experiment: Experiment, names: str | None) -> list[Arm]:
    """The arms of a comma-separated list; all when there is none."""
    if names is None:
        return list(experiment.arms.values())
    found = []
    for name in names.split(","):
        if name not in experiment.arms:
            raise UserError(f"{experiment.name} has no arm {name!r}: {nearest(name, experiment.arms)}")
        found.append(experiment.arms[name])
    return found


def the_arm(experiment: Experiment, name: str | None) -> Arm:
    """The arm called ``name``, or the only one."""
    if name is None and len(experiment.arms) > 1:
        raise UserError(f"{experiment.name} has several arms; give --arm one of {', '.join(experiment.arms)}")
    return find_arms(experiment, name)[0]
