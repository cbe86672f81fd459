"""Fingerprints: which data a stage read, by content and never by path or date."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainers.data.walker import IMAGE_SUFFIXES

EDGE_BYTES = 64 * 1024
"""A file is known by its size and the hash of its first and last ``EDGE_BYTES``."""


def fingerprint(
    root: Path, files: Iterable[Path], *, full: bool = False, watch: Callable[[Iterable[str]], Iterable[str]] = iter
) -> str:
    """SHA-256 (hex) over the sorted (relative path, size, content hash) of ``files`` below ``root``.

    A photograph that EXIF turns has its orientation behind its hash: it was read unturned once, and what was made of it
    then must not pass for what is made of it now. Names that are no UTF-8 count by their bytes.
    ``watch`` passes the files' hashes on as they are made, and may show how far that is.
    ``full`` hashes every byte instead of the edges of each file; the two kinds never compare equal.
    """
    paths = sorted(files)
    with ThreadPoolExecutor(max_workers=8) as pool:
        hashes = pool.map(lambda path: hash_file(path, full=full), paths)
        total = hashlib.sha256(b"full" if full else b"edges")
        turns = pool.map(_turned, paths)
        for path, file_hash, turned in zip(paths, watch(hashes), turns, strict=True):
            name = path.relative_to(root).as_posix()
            total.update(f"{name}\0{file_hash}{turned}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _turned(path: Path) -> str:
    """How EXIF turns an image; empty where it does not, or the file is none."""
    from trainers.data.image_files import UPRIGHT, file_orientation

    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return ""
    orientation = file_orientation(path)
    return "" if orientation == UPRIGHT else f"\0orientation {orientation}"


def hash_file(path: Path, *, full: bool) -> str:
    """``size:hex`` of one file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = path.stat().st_size
        if full or size <= 2 * EDGE_BYTES:
            while block := file.read(1 << 20):
                digest.update(block)
        else:
            digest.update(file.read(EDGE_BYTES))
            file.seek(-EDGE_BYTES, 2)
            digest.update(file.read(EDGE_BYTES))
    return f"{size}:{digest.hexdigest()}"
