"""Which data a split is, from sizes and ends of its files; and, before anything is trained on it, that all decode."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.access import is_denied
from orchestrator.files import replace_json
from orchestrator.records import CheckedSplit, Damaged, Fingerprint, read_record
from orchestrator.resources import num_cpus
from orchestrator.signals import Interrupted
from trainers.data.checks import SplitNotes, check_split
from trainers.data.datasets import DataSplit, content_files, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.packed import is_packed
from trainers.errors import UserError

READING = 2
"""Raised where the same files give another fingerprint or another refusal: 2 is since EXIF turns photographs."""

SAVE_SECONDS = 5.0
"""How much checking an interruption may cost."""

Bar = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Shows how far a loop of a known length with a description is, while it passes the items on."""


def no_bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """The items alone."""
    return items


def split_fingerprint(storage: Path, roots: Mapping[str, Path], split: DataSplit, bar: Bar = no_bar) -> str:
    """Find the fingerprint of a split, remembered on the storage; no image is decoded for it.

    The fingerprint itself knows no modification times; they only tell whether the remembered one still holds.

    Raises:
        UserError: a file is missing.
    """
    samples = open_split(roots, split)  # Refuses a data set without a folder.
    root = roots[split.dataset]
    files = content_files(root, split, samples)
    path = storage / "fingerprints" / f"{_listing_name(files)}.json"
    if path.is_file():
        try:
            return str(read_record(path, Fingerprint, "the remembered fingerprint")["fingerprint"])
        except Damaged:
            pass  # Nothing is lost: what it was made of is there.
    known = fingerprint(root, files, watch=lambda hashes: bar(hashes, len(files), f"fingerprint of {split}"))
    _remember(path, {"split": str(split), "fingerprint": known})
    return known


def check_files(storage: Path, roots: Mapping[str, Path], split: DataSplit, bar: Bar = no_bar) -> None:
    """Decode every file of a split that no earlier check of this storage has decoded; an interrupted check goes on.

    Raises:
        UserError: a file cannot be decoded, or does not fit its image or the label map.
    """
    samples = open_split(roots, split)
    root = roots[split.dataset]
    if is_packed(root):
        return  # What is packed was read when it was packed.
    path = storage / "fingerprints" / "checked" / f"{_listing_name(content_files(root, split, samples))}.json"
    done, notes, saved = _checked(path), SplitNotes(split), time.monotonic()
    left = samples[done:]
    if not left:
        return
    try:
        checked = check_split(root, left, split, notes=notes, threads=num_cpus())
        for problem in bar(checked, len(left), f"first sight of {split}"):
            if problem is not None:
                raise UserError(f"{problem} (`nightshift data check` lists all that is wrong)")
            done += 1
            if time.monotonic() - saved > SAVE_SECONDS:
                _remember(path, {"split": str(split), "checked": done})
                saved = time.monotonic()
    except Interrupted:
        with contextlib.suppress(OSError):  # The terminal may be what has gone.
            _tell(notes)  # What has been checked is not read again, so nobody else would tell.
        raise
    finally:
        _remember(path, {"split": str(split), "checked": done})
    _tell(notes)


def _tell(notes: SplitNotes) -> None:
    for note in notes.lines():
        sys.stderr.write(f"note: {note}\n")


def _checked(path: Path) -> int:
    """How many files of a split, from the first on, have been decoded before."""
    try:
        return int(read_record(path, CheckedSplit, "the remembered check")["checked"]) if path.is_file() else 0
    except Damaged:
        return 0  # Checked once more.


def _listing_name(files: Iterable[Path]) -> str:
    """Name what is remembered of these very files; after a change of any they are looked at again."""
    # READING first: what was remembered before files were read as they are now is looked at again.
    listing = [READING, *((str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32]


def _remember(path: Path, record: dict[str, Any]) -> None:
    """Keep a record on the storage, where that can be written."""
    try:
        replace_json(path, record)
    except OSError as error:
        if not is_denied(error):
            raise
