"""Writing so that a reader, or a start after a kill, never sees half of anything."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.access import is_denied, no_access, require_access, write_for_group
from orchestrator.exclusive import place
from orchestrator.records import sealed
from trainers.errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

FULL_BYTES = 1_000_000
"""With less free than this, an error that names no cause of its own is put down to the disk."""


class DiskFull(UserError):
    """No space is left; what was finished stays, and the same command continues once there is some."""


def is_no_space(error: BaseException, storage: Path) -> bool:
    """Whether an error comes from a full disk; many a library reports that without the system's number."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in NO_SPACE
    is_vague = isinstance(error, OSError | RuntimeError) and storage.is_dir()
    return is_vague and shutil.disk_usage(storage).free < FULL_BYTES


def disk_full(error: BaseException | str, storage: Path, again: str) -> DiskFull:
    """One line: what is full, where, how much is free, and the command ``again`` that continues."""
    free = shutil.disk_usage(storage).free / 1e6
    return DiskFull(
        f"the disk or quota of the storage {storage} is full, {free:.0f} MB are free ({error}); what has ended is "
        f"kept: make space (`nightshift gc` lists what nobody needs), then `{again}` continues"
    )


@contextmanager
def naming_full_disk(storage: Path, again: str) -> Iterator[None]:
    """Raise ``DiskFull`` in place of whatever a full disk makes the block raise."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_no_space(error, storage):
            raise
        raise disk_full(error, storage, again) from error


def publish_json(path: Path, content: Any) -> bool:
    """Create ``path`` with ``content``, sealed, if it does not exist; the first of several writers wins.

    Returns whether this call created it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}.aside")
    try:
        write_durably(aside, json.dumps(sealed(content), indent=1))
        return place(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def replace_json(path: Path, content: Any) -> None:
    """Write ``path`` anew in one move, sealed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}.aside")
    try:
        write_durably(aside, json.dumps(sealed(content), indent=1))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_durably(path: Path, text: str) -> None:
    """Write and flush to the disk."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def require_writable(folder: Path) -> None:
    """Make the storage ``folder``, and prove that files can be created and read back there and in what others made.

    What this process writes from then on belongs to the group where the storage does.

    Raises:
        UserError: with what failed.
    """
    probe = folder / f".probe-{uuid.uuid4().hex}"
    write_for_group(folder)
    if folder.is_dir():
        require_access(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not publish_json(probe, {"probe": 1}) or json.loads(probe.read_text()) != sealed({"probe": 1}):
            raise OSError("a written file did not read back")
        probe.unlink()
    except OSError as error:
        if is_denied(error):
            raise UserError(f"the storage {folder} cannot be used: {no_access(folder)}") from error
        raise UserError(
            f"the storage {folder} cannot be used ({error}); give --storage a folder that you can write to"
        ) from error
