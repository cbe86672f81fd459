"""Check a storage, mend what can be made again, and say what lies there without being needed.

What is derived (leaderboard files, fingerprints, caches) is rebuilt; what is not (ledger records, checkpoints) is only
named: nothing that a person might still want is ever deleted by a check. Whatever lies in a storage, the check lists
it and goes on.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.access import unshared
from orchestrator.artifacts import Store, read_artifact, visible_folders
from orchestrator.leases import is_dead_here, read_lease, remove_if_dead
from orchestrator.ledger import NAMES, Ledger, sweep_names
from orchestrator.records import KINDS, CheckedSplit, Fingerprint, NewerSchema, Pin, Spec, read_record
from orchestrator.recovery import lost_outcomes
from orchestrator.start import load_request
from results.store import NewerSchemaError, read_curves, read_scores
from trainers.errors import UserError

OLD_SECONDS = 3600
"""No writer can still be at work on what has not changed for so long."""

ASIDE = (".*.aside", ".*.claim", ".*.lease-aside", ".*.lease-grave", ".probe-*", ".removed-*", ".aside-*")
"""Names of what is being written, claimed or removed."""


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
    """Everything that is wrong with a storage; reads every byte of every artifact, and writes nothing.

    Raises:
        UserError: the storage does not exist.
    """
    if not storage.is_dir():
        raise UserError(f"the storage {storage} does not exist")
    for check in (_access, _artifacts, _checkpoints, _leases, _ledgers, _small_records, _leaderboard, _leftovers):
        try:
            yield from check(storage)
        except Exception as error:  # Whatever lies there: the other checks go on.
            what = " ".join(str(error).split()) or type(error).__name__
            problem = f"the check of {check.__name__.strip('_').replace('_', ' ')} could not go on: {what}"
            yield Finding(storage, problem, "mend what the line names, then look again")


def _access(storage: Path) -> Iterator[Finding]:
    for folder, problem, command in unshared(storage):
        yield Finding(folder, problem, f"its owner gives `{command}`")


def _artifacts(storage: Path) -> Iterator[Finding]:
    for method in visible_folders(storage / "artifacts"):
        for path in visible_folders(method):
            again = partial(Finding, path, repair=_to_quarantine(storage, path))
            if not (path / "manifest.json").is_file():
                yield again("has no manifest", "moved to quarantine")
                continue
            try:
                read_artifact(path).verified()
            except NewerSchema as error:
                yield Finding(path, str(error), "use a newer version of this program")
            except UserError as error:
                yield again(_problem(error), "moved to quarantine; a run makes it again")
            except OSError as error:
                yield Finding(path, f"cannot be read ({error})", "look after the disk, or the rights on the file")


def _checkpoints(storage: Path) -> Iterator[Finding]:
    from trainers.checkpoint import cure, damage

    for stage in visible_folders(storage / "partial"):
        for checkpoint in visible_folders(stage):
            if checkpoint.name.startswith("step-") and (problem := damage(checkpoint)) and checkpoint.is_dir():
                yield Finding(checkpoint, f"a damaged checkpoint: {problem}", cure(checkpoint))


def _problem(error: UserError) -> str:
    """An error without its advice."""
    return str(error).partition("; `nightshift doctor")[0]


def _to_quarantine(storage: Path, path: Path) -> Callable[[], None]:
    def repair() -> None:
        Store(storage).quarantine(path)

    return repair


def _leases(storage: Path) -> Iterator[Finding]:
    for lease in sorted(storage.glob("partial/*/lease")) + sorted(storage.glob("sweeps/*/driver")):
        record = read_lease(lease)
        if record is None:
            if _is_old(lease):
                yield Finding(lease, "says nothing of a holder", "removed", partial(lease.unlink, missing_ok=True))
        elif is_dead_here(record):
            problem = f"lease of process {record['pid']}, which is gone"
            yield Finding(lease, problem, "removed", partial(remove_if_dead, lease))


def _ledgers(storage: Path) -> Iterator[Finding]:
    for name in sweep_names(storage):
        ledger = Ledger(storage, name)
        yield from _record(storage, ledger.root / "spec.json", Spec)
        if (ledger.root / "request.json").is_file():
            try:
                load_request(storage, name)
            except NewerSchema as error:
                yield Finding(ledger.root / "request.json", str(error), "use a newer version of this program")
            except UserError as error:
                path = ledger.root / "request.json"
                yield Finding(path, _problem(error), _loss(path), _to_quarantine(storage, path))
        for kind, pattern in NAMES.items():
            for path in sorted((ledger.root / kind).glob("*")):
                if pattern.fullmatch(path.name):
                    yield from _record(storage, path, KINDS[kind])
                elif not path.name.startswith("."):
                    yield Finding(path, "is no record of a sweep, and nobody reads it", "move it away, if you like")
    for sweep, trial, attempt, restore in lost_outcomes(storage):
        path = Ledger(storage, sweep).root / "outcomes" / f"{trial}.{attempt:03d}.json"
        problem = "is missing, though the leaderboard has the trial's rows: a start would add them once more"
        if restore is None:
            yield Finding(path, problem, "restore it, or let the trial run again and count its last attempt only")
        else:
            yield Finding(path, problem, "written again from its rows", restore)


def _record(storage: Path, path: Path, kind: Any) -> Iterator[Finding]:
    """What is wrong with one record, where there is one."""
    if not path.is_file():
        return
    try:
        read_record(path, kind, "the record")
    except NewerSchema as error:
        yield Finding(path, str(error), "use a newer version of this program")
    except UserError as error:
        yield Finding(path, _problem(error), _loss(path), _to_quarantine(storage, path))
    except OSError as error:
        yield Finding(path, f"cannot be read ({error})", "look after the disk, or the rights on the file")


def _loss(path: Path) -> str:
    """What is lost with a record, and what is not."""
    lost = {
        "asked": "moved to quarantine; the configuration is asked for again if it is suggested again",
        "attempts": "moved to quarantine; the trial runs again, its finished stages are hits",
        "outcomes": "moved to quarantine; written from its rows, else collected again from its artifacts",
        "scores": "moved to quarantine; only a row that is lost as well needs it",
        "losses": "moved to quarantine; it only counts how often a process has died",
        "shared": "moved to quarantine; the stages before the search are looked up by their keys",
        "software": "moved to quarantine; a change of versions since then is not told",
        "rungs": "moved to quarantine; the configuration is judged again",
        "fingerprints": "moved to quarantine; the data set is read again",
        "checked": "moved to quarantine; the files are decoded once more before the next training",
        "pinned": "moved to quarantine; `nightshift gc` then lists the artifact",
    }
    return lost.get(path.parent.name, "moved to quarantine; start the sweep again with its command")


def _small_records(storage: Path) -> Iterator[Finding]:
    for folder, kind in (("fingerprints", Fingerprint), ("fingerprints/checked", CheckedSplit), ("pinned", Pin)):
        for path in sorted((storage / folder).glob("[!.]*.json")):
            yield from _record(storage, path, kind)


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


def _leftovers(storage: Path) -> Iterator[Finding]:
    """What killed writers have left; nobody reads it, and what is young may still be somebody's."""
    folders = [storage, *visible_folders(storage)]
    for top in ("sweeps", "artifacts", "partial"):
        inner = [folder for folder in visible_folders(storage / top) if folder.name != "tune"]
        folders += inner
        if top == "sweeps":
            folders += [kind for sweep in inner for kind in visible_folders(sweep) if kind.name != "tune"]
    patterns = [(folder, pattern) for folder in folders for pattern in ASIDE]
    patterns += [(storage / "leaderboard" / "staging", "[!.]*")]
    for folder, pattern in patterns:
        for path in filter(_is_old, sorted(folder.glob(pattern))):
            yield Finding(path, "left by a writer that was killed", "removed", partial(_remove, path))
    for stage in visible_folders(storage / "partial"):
        if not (stage / "lease").exists():
            for path in filter(_is_old, sorted(stage.glob("output-*"))):
                problem = "left by a stage that was killed; whoever continues it begins a folder of its own"
                yield Finding(path, problem, "removed", partial(_remove, path))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    """Whether no writer can still be at work on it."""
    try:
        return time.time() - path.stat().st_mtime > OLD_SECONDS
    except FileNotFoundError:  # Its writer has just gone on.
        return False
