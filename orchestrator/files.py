"""Writing so that a reader, or a start after a kill, never sees half of anything."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from trainers.errors import UserError


def publish_json(path: Path, content: Any) -> bool:
    """Create ``path`` with ``content`` if it does not exist; the first of several writers wins.

    Returns whether this call created it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}.aside")
    try:
        write_durably(aside, json.dumps(content, indent=1))
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def replace_json(path: Path, content: Any) -> None:
    """Write ``path`` anew in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}.aside")
    write_durably(aside, json.dumps(content, indent=1))
    aside.replace(path)


def write_durably(path: Path, text: str) -> None:
    """Write and flush to the disk."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path, what: str) -> Any:
    """Read a record of ours.

    Raises:
        UserError: it is not whole; names ``what`` it is.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{what} {path} is damaged ({error}); move it away to go on without it") from error


def require_writable(folder: Path) -> None:
    """Make ``folder`` and prove that files can be created, linked and read back there.

    Raises:
        UserError: with what failed.
    """
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not publish_json(probe, {"probe": 1}) or json.loads(probe.read_text()) != {"probe": 1}:
            raise OSError("a written file did not read back")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"the storage {folder} cannot be used ({error}); give --storage a folder that you can write to"
        ) from error
