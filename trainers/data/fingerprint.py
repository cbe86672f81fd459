"""Fingerprints: which data a stage read, by content and never by path or date."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EDGE_BYTES = 64 * 1024
"""A file is known by its size and the hash of its first and last ``EDGE_BYTES``."""


def fingerprint(root: Path, files: Iterable[Path], *, full: bool = False) -> str:
    """SHA-256 (hex) over the sorted (relative path, size, content hash) of ``files`` below ``root``.

    ``full`` hashes every byte instead of the edges of each file; the two kinds never compare equal.
    """
    paths = sorted(files)
    with ThreadPoolExecutor(max_workers=8) as pool:
        hashes = pool.map(lambda path: hash_file(path, full=full), paths)
        total = hashlib.sha256(b"full" if full else b"edges")
        for path, file_hash in zip(paths, hashes, strict=True):
            total.update(f"{path.relative_to(root).as_posix()}\0{file_hash}\n".encode())
    return total.hexdigest()


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
