"""A snapshot of a leaderboard's scores in one file: ten thousand small files take ten seconds to open.

``leaderboard/compact/<random>.parquet`` holds the rows of ``leaderboard/scores`` with the name and size of the file of
each. It is a cache: every read holds it against the listing, takes files that it lacks from where they are and drops
the rows of files that are gone, so that the rows are those of ``results.store.read_scores``. Delete it at any time.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.schema import SCORES
from results.store import SCORE_KEY, BrokenFile, flush, latest, read_files, stage

MIN_NEW_FILES = 500
"""A snapshot is written once so many files have none: reading these takes half a second."""

FILE, FILE_BYTES = "file", "file_bytes"
SNAPSHOT = SCORES.append(pa.field(FILE, pa.string())).append(pa.field(FILE_BYTES, pa.int64()))


def read_scores(storage: Path) -> tuple[pa.Table, list[BrokenFile]]:
    """What ``results.store.read_scores`` reads, with the help of the newest snapshot."""
    table, broken, _ = _read(Path(storage) / "leaderboard")
    return latest(table.select(SCORES.names), SCORE_KEY, ("attempt", "created_utc")), broken


def refresh(storage: Path, min_new_files: int = MIN_NEW_FILES) -> Path | None:
    """Write a snapshot if ``min_new_files`` have come since the last one, and remove older ones; the new one.

    Raises OSError if the storage cannot be written.
    """
    root = Path(storage) / "leaderboard"
    if not (root / "scores").is_dir():
        return None
    table, _, num_new = _read(root)
    if num_new < min_new_files:
        return None
    for folder in (root / "staging", root / "compact"):
        folder.mkdir(exist_ok=True)
    old = list((root / "compact").glob("*.parquet"))
    name = f"{max((_number(path) for path in old), default=-1) + 1:08d}-{os.urandom(4).hex()}.parquet"
    staged = stage(root / "staging", name, table)
    target = root / "compact" / name
    staged.rename(target)
    flush(target.parent)
    for path in old:
        path.unlink(missing_ok=True)
    return target


def _read(root: Path) -> tuple[pa.Table, list[BrokenFile], int]:
    """All rows in the order of their files, the files that could not be read, and how many had to be opened."""
    with os.scandir(root / "scores") as entries:
        sizes = {
            entry.name: entry.stat().st_size
            for entry in entries
            if entry.name.endswith(".parquet") and entry.name[0] != "."
        }
    known = _snapshot(root / "compact", sizes)
    new = sorted(sizes.keys() - set(known[FILE].unique().to_pylist()))
    results = read_files([root / "scores" / name for name in new], SCORES)
    tables = [known]
    for name, table in zip(new, results, strict=True):
        if isinstance(table, pa.Table):
            table = table.append_column(FILE, pa.array([name] * len(table), pa.string()))
            tables.append(table.append_column(FILE_BYTES, pa.array([sizes[name]] * len(table), pa.int64())))
    table = pa.concat_tables(tables).combine_chunks()
    if len(tables) > 1:
        table = table.take(np.argsort(table[FILE].to_numpy().astype(str), kind="stable"))
    return table, [result for result in results if isinstance(result, BrokenFile)], len(new)


def _snapshot(folder: Path, sizes: dict[str, int]) -> pa.Table:
    """The rows of the newest snapshot whose files are still there, as they were; none where there is no whole one."""
    for path in sorted(folder.glob("*.parquet"), key=_number, reverse=True):
        try:
            with path.open("rb") as handle:
                table = pq.ParquetFile(handle, page_checksum_verification=True).read()
        except (pa.ArrowException, OSError, ValueError):  # Torn, or removed for a newer one just now.
            continue
        if not table.schema.equals(SNAPSHOT):
            continue
        pairs = zip(table[FILE].to_pylist(), table[FILE_BYTES].to_pylist(), strict=True)
        holds = np.array([sizes.get(name) == size for name, size in pairs], bool)
        table = table.replace_schema_metadata(None)
        return table if holds.all() else table.filter(pa.array(holds))
    return SNAPSHOT.empty_table()


def _number(path: Path) -> int:
    number = path.name.partition("-")[0]
    return int(number) if number.isdigit() else -1
