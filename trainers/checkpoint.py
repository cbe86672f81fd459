"""Checkpoints on a folder: written aside, flushed to the disk, then renamed, so a kill leaves none that is torn.

A stage's folder holds ``step-00000200/`` (the newest; older ones go once it exists) and, after a kill, leftovers
named ``.aside-…`` that the next write removes.
"""

import contextlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from trainers.errors import UserError
from trainers.numpy_scalars import READERS

_STEP = re.compile(r"step-(\d{8})$")


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint folder of the highest step below ``folder``, or ``None``."""
    return max((path for path in folder.glob("step-*") if _STEP.search(path.name)), default=None)


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


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote, onto the CPU, without running any code from the file.

    Raises:
        UserError: the file cannot be read. A checkpoint that exists is never ignored.
    """
    try:
        with torch.serialization.safe_globals(READERS):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0][:160]
        raise UserError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}: {reason}); "
            f"restore the file, or delete {path.parent} to start this stage afresh"
        ) from error
    return state
