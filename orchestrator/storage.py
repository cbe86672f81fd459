"""The storage that a command line, or the environment, names."""

import os
import shlex
from pathlib import Path

from orchestrator.cluster import absolute
from trainers.errors import UserError

VARIABLE = "NIGHTSHIFT_STORAGE"

PARTS = ("artifacts", "sweeps", "leaderboard", "partial", "fingerprints", "pinned", "quarantine")
"""Folders by which a storage is told from any other folder."""


def storage_folder(given: Path | None) -> Path:
    """The folder of ``--storage``, else of ``$NIGHTSHIFT_STORAGE``, else ``./runs``; absolute, and perhaps not there.

    Raises:
        UserError: it is a URL, or a relative path in a submitted job.
    """
    named = os.environ.get(VARIABLE) if given is None else None
    return absolute(given or Path(named or "runs"), f"${VARIABLE}" if named else "--storage")


def resume_command(storage: Path, sweep: str) -> str:
    """The command that continues a sweep, from the same folder; it names a storage that is not the default one."""
    default = Path(os.environ.get(VARIABLE) or "runs").expanduser().resolve()
    return f"nightshift resume {sweep}" + ("" if storage == default else f" --storage {shlex.quote(str(storage))}")


def existing_storage(given: Path | None) -> Path:
    """The same, for verbs that ask what is there.

    Raises:
        UserError: there is no such folder, or it is no storage.
    """
    folder = storage_folder(given)
    cure = "name the --storage of an earlier run"
    if not folder.is_dir():
        raise UserError(f"the storage {folder} does not exist; {cure}")
    if not any((folder / part).is_dir() for part in PARTS):
        raise UserError(f"{folder} is no storage: it has none of the folders {', '.join(PARTS[:3])}; {cure}")
    return folder
