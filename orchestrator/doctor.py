"""Check a storage, mend what can be made again, and drop what nobody refers to.

What is derived (leaderboard files, fingerprints, caches) is rebuilt; what is not (ledger records, checkpoints) is only
named: nothing that a person might still want is ever deleted by a check.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.artifacts import Store
from orchestrator.files import NewerSchema, read_json, require_writable
from orchestrator.leases import is_dead_here, read_lease, remove_if_dead
from orchestrator.ledger import Ledger
from orchestrator.single_stage import pinned_keys
from results.store import NewerSchemaError, read_curves, read_scores
from trainers.errors import UserError


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    path: Path
    problem: str
    remedy: str
    """What ``--repair`` does, or what a person can do."""
    repair: Callable[[], object] | None = None
    """``None`` where only a person can decide."""


def examine(storage: Path) -> Iterator[Finding]:
    """Everything that is wrong with a storage; reads every byte of every artifact.

    Raises:
        UserError: the storage does not exist, or cannot be written to.
    """
    if not storage.is_dir():
        raise UserError(f"the storage {storage} does not exist")
    require_writable(storage)
    yield from _artifacts(storage)
    yield from _leases(storage)
    yield from _ledgers(storage)
    yield from _leaderboard(storage)


def _artifacts(storage: Path) -> Iterator[Finding]:
    store = Store(storage)
    for path in sorted((storage / "artifacts").glob("*/*")):
        try:
            artifact = store.find(path.parent.name, path.name)
        except NewerSchema as error:
            yield Finding(path, str(error), "use a newer version of this program")
            continue
        except UserError as error:
            yield Finding(path, str(error), "moved to quarantine; a run makes it again", _to_quarantine(storage, path))
            continue
        if artifact is None:
            yield Finding(path, "has no manifest", "moved to quarantine", _to_quarantine(storage, path))
        elif damage := store.damage(artifact):
            yield Finding(path, damage, "moved to quarantine; a run makes it again", _to_quarantine(storage, path))


def _to_quarantine(storage: Path, path: Path) -> Callable[[], None]:
    def repair() -> None:
        Store(storage).quarantine(path)

    return repair


def _leases(storage: Path) -> Iterator[Finding]:
    for lease in sorted(storage.glob("partial/*/lease")) + sorted(storage.glob("sweeps/*/driver")):
        record = read_lease(lease)
        if record is not None and is_dead_here(record):
            problem = f"lease of process {record['pid']}, which is gone"
            yield Finding(lease, problem, "removed", partial(remove_if_dead, lease))


def _ledgers(storage: Path) -> Iterator[Finding]:
    for sweep in sorted((storage / "sweeps").glob("*")):
        for path in [*sweep.glob("*.json"), *sorted(sweep.glob("*/*.json"))]:
            if path.parent.name == "tune" or path.name.startswith("."):
                continue
            try:
                read_json(path, "the record")
            except NewerSchema as error:
                yield Finding(path, str(error), "use a newer version of this program")
            except UserError as error:
                yield Finding(path, str(error), _loss(path), _to_quarantine(storage, path))
        for leftover in filter(_is_old, sweep.rglob(".*.aside")):
            yield Finding(leftover, "left by a writer that was killed", "removed", leftover.unlink)


def _loss(path: Path) -> str:
    """What is lost with a record, and what is not."""
    lost = {
        "asked": "moved to quarantine; the configuration is asked for again if it is suggested again",
        "attempts": "moved to quarantine; the trial runs again, its finished stages are hits",
        "outcomes": "moved to quarantine; the trial is collected again from its artifacts",
        "scores": "moved to quarantine; only a row that is lost as well needs it",
        "shared": "moved to quarantine; the stages before the search are looked up by their keys",
        "software": "moved to quarantine; a change of versions since then is not told",
        "rungs": "moved to quarantine; the configuration is judged again",
    }
    return lost.get(path.parent.name, "moved to quarantine; start the sweep again with its command")


def _leaderboard(storage: Path) -> Iterator[Finding]:
    for read in (read_scores, read_curves):
        if not (storage / "leaderboard").is_dir():
            return
        try:
            _, broken = read(storage)
        except NewerSchemaError as error:
            yield Finding(storage / "leaderboard", str(error), "use a newer version of this program")
            continue
        for file in broken:
            remedy = "moved to quarantine; the sweep's next start writes the rows again from its ledger"
            yield Finding(file.path, file.reason, remedy, _to_quarantine(storage, file.path))
    for leftover in filter(_is_old, sorted((storage / "leaderboard" / "staging").glob("*"))):
        yield Finding(leftover, "left by a writer that was killed", "removed", leftover.unlink)


def _is_old(path: Path) -> bool:
    """Whether no writer can still be at work on it."""
    return time.time() - path.stat().st_mtime > 3600


@dataclass(frozen=True)
class Garbage:
    """Something that no kept row refers to."""

    path: Path
    size_bytes: int
    why: str


def garbage(storage: Path) -> list[Garbage]:
    """Artifacts that no row of the leaderboard refers to and nobody pinned, stages that nobody continues, graves.


    What a trial needs that has not ended, or that ``--retry`` may run again, is kept with its checkpoints.
    A storage whose leaderboard cannot be read whole is refused: rows that are not seen cannot protect anything.
    """
    store = Store(storage)
    kept, broken = referred_keys(storage)
    if broken:
        raise UserError(
            f"{broken[0]} cannot be read, so what it refers to is unknown; run `nightshift doctor --repair`"
        )
    if running := next(storage.glob("sweeps/*/driver"), None):
        raise UserError(f"the sweep {running.parent.name} is running in this storage; wait for it to end")
    for lease in storage.glob("partial/*/lease"):
        record = read_lease(lease)
        if record is not None and not is_dead_here(record):
            raise UserError(f"process {record['pid']} on {record['host']} is making {lease.parent.name}; wait for it")
    kept |= pinned_keys(storage)
    for ledger in sorted((storage / "sweeps").glob("*/")):
        kept.update(Ledger(storage, ledger.name).open_keys())
    found = []
    for method in sorted((storage / "artifacts").glob("*")):
        for artifact in store.manifests(method.name):
            if artifact.manifest["key"] not in kept:
                found.append(Garbage(artifact.folder, _size(artifact.folder), "no row refers to it"))
    for unfinished in sorted((storage / "partial").glob("*")):
        if unfinished.name in kept:
            continue
        why = "a stage that no sweep continues (its checkpoint is lost)"
        found.append(Garbage(unfinished, _size(unfinished), why))
    for grave in sorted((storage / "quarantine").glob("*")):
        found.append(Garbage(grave, _size(grave), "was found damaged"))
    return found


def referred_keys(storage: Path) -> tuple[set[str], list[Path]]:
    """Keys in the ``stages`` of all rows, with the keys of their inputs upwards; and files that could not be read."""
    if not (storage / "leaderboard").is_dir():
        return set(), []
    table, broken = read_scores(storage)
    keys = {stage["key"] for stages in table.column("stages").to_pylist() for stage in stages or ()}
    return keys, [file.path for file in broken]


def remove(found: list[Garbage]) -> int:
    """Remove garbage, each by a rename first so that nothing half-removed looks whole; the bytes freed."""
    freed = 0
    for one in found:
        aside = one.path.with_name(f".removed-{one.path.name}")
        with contextlib.suppress(FileNotFoundError):
            one.path.rename(aside)
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
            freed += one.size_bytes
    return freed


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
