"""Checkpoints on a folder: written aside, flushed to the disk, then renamed, so a kill leaves none that is torn.

A stage's folder holds ``step-00000200/`` (the newest; older ones go once it exists) and, after a kill, leftovers
named ``.aside-…`` that the next write removes. ``checksums.json`` in it has the size and hash of every other file: a
checkpoint whose bytes have changed since is refused by name, never used and never passed over.
"""

import contextlib
import io
import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from trainers.data.fingerprint import hash_file
from trainers.errors import MethodWarning, UserError
from trainers.numpy_scalars import READERS
from trainers.unreadable import why_unreadable

_STEP = re.compile(r"step-\d{8}")

CHECKSUMS = "checksums.json"

RESTORE = (
    "restore the file; one that belongs to an artifact is made again by a run, once `nightshift doctor --repair` has "
    "moved that to quarantine"
)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint folder of the highest step below ``folder``, or ``None``; nothing of it is read."""
    return max((path for path in folder.glob("step-*") if _STEP.fullmatch(path.name)), default=None)


def whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below ``folder``, after every byte of it has been held against its checksums.

    One that was written before there were checksums is taken as it is, with a warning.

    Raises:
        UserError: a file is missing or has changed. A checkpoint that exists is never ignored.
    """
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return None
    if not (checkpoint / CHECKSUMS).exists():
        warnings.warn(
            f"the checkpoint {checkpoint} was written before checkpoints had checksums: it is continued unchecked",
            MethodWarning,
            stacklevel=2,
        )
    elif problem := damage(checkpoint):
        raise UserError(f"the checkpoint {checkpoint} is damaged ({problem}); {cure(checkpoint)}")
    return checkpoint


def damage(checkpoint: Path) -> str | None:
    """What differs from the checksums of a checkpoint; ``None`` where it is whole, or has none."""
    if not (checkpoint / CHECKSUMS).exists():
        return None
    try:
        expected = json.loads((checkpoint / CHECKSUMS).read_bytes())
        if not isinstance(expected, dict):
            raise ValueError("it is no list of files")
    except ValueError as error:
        return f"{checkpoint / CHECKSUMS}: {error}"
    for name, checksum in expected.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{path} is missing"
        if hash_file(path, full=True) != checksum:
            return f"{path} differs from {CHECKSUMS} in size or hash"
    unlisted = {path.relative_to(checkpoint).as_posix() for path in _files(checkpoint)} - {CHECKSUMS, *expected}
    return f"{checkpoint / min(unlisted)} is not named in {CHECKSUMS}" if unlisted else None


def _files(folder: Path) -> list[Path]:
    """Every file below ``folder``, less those that a desktop or an editor hides there."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def cure(checkpoint: Path) -> str:
    """What a person can do about a damaged checkpoint."""
    return f"restore it, or delete {checkpoint} to start this stage afresh"


def write_checkpoint(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a new folder, make it durable under the name of ``step``, remove older ones."""
    return keep_aside(write_aside(folder, write), step)


def write_aside(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a new folder beside the checkpoints; it is none yet, and may not reach the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".aside-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    aside = folder / f".aside-{uuid.uuid4().hex}"
    aside.mkdir()
    with _cleared(aside):
        write(aside)
    return aside


def keep_aside(aside: Path, step: int) -> Path:
    """Make a folder of ``write_aside`` durable, then the checkpoint of ``step``; older ones go."""
    folder = aside.parent
    final = folder / f"step-{step:08d}"
    if final.exists():  # The replayed step of a resumed run: the same content is there already.
        shutil.rmtree(aside)
        return final
    with _cleared(aside):
        checksums = {path.relative_to(aside).as_posix(): hash_file(path, full=True) for path in _files(aside)}
        (aside / CHECKSUMS).write_text(json.dumps(checksums, indent=1))
        sync_tree(aside)
        aside.rename(final)
    sync(folder)
    for path in folder.glob("step-*"):
        if path != final:
            shutil.rmtree(path, ignore_errors=True)
    return final


@contextlib.contextmanager
def _cleared(aside: Path) -> Iterator[None]:
    """Remove ``aside`` where writing it fails: on a full disk others need the space."""
    try:
        yield
    except Exception:  # A writer is a method's and may raise anything; nothing is swallowed. A kill leaves the folder.
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file below ``folder``, and the folders."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; what ``load_state`` reads back."""
    content = io.BytesIO()  # Writing to a file, torch reports a full disk as a RuntimeError without its number.
    torch.save(state, content)
    path.write_bytes(content.getbuffer())


def load_state(path: Path, advice: str = RESTORE) -> dict[str, Any]:
    """Read what ``save_state`` wrote, onto the CPU, without running any code from the file.

    ``advice`` is what a person can do about a file that cannot be read: it depends on whose file it is.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with torch.serialization.safe_globals(READERS):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be read: {why_unreadable(path, error)}; {advice}") from error
    return state
