"""What nobody refers to: artifacts without a row, stages that nobody continues, graves."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts import Store, visible_folders
from orchestrator.leases import is_dead_here, read_lease
from orchestrator.ledger import Ledger, sweep_names
from orchestrator.single_stage import pinned_keys
from results.store import read_scores
from trainers.errors import UserError


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
    for name in sweep_names(storage):
        kept.update(Ledger(storage, name).open_keys())
    found = []
    for method in store.methods():
        for artifact in store.published(method):
            if artifact.folder.name not in kept:
                found.append(Garbage(artifact.folder, _size(artifact.folder), "no row refers to it"))
    for unfinished in visible_folders(storage / "partial"):
        if unfinished.name in kept:
            continue
        why = "a stage that no sweep continues (its checkpoint is lost)"
        found.append(Garbage(unfinished, _size(unfinished), why))
    for grave in sorted((storage / "quarantine").glob("[!.]*")):
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
