"""Parquet files of a leaderboard: written once, never changed, safe to read while others write.

A file is staged beside the data set's folder (on the same file system; no name inside it is ignored by
every reader), flushed, read back, and then linked in under a name that is never used again. So
``pandas.read_parquet("<storage>/leaderboard/scores")`` works at any moment with nothing of ours installed.
"""

import errno
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.schema import CURVES, SCHEMA_VERSION, SCORE_NAMES, SCORES, check_rows

PUBLISHED = Path(__file__).parent / "published"
"""The folder of the small leaderboards that are committed with the code."""

VERSION_KEY = b"nightshift.schema_version"
"""Where a file's metadata holds the version of its schema (curves have no column for it)."""

SCORE_KEY = ("sweep", "trial", "evaluation_set", "checkpoint")
CURVE_KEY = ("sweep", "trial", "stage", "step", "metric")
PUBLISHED_KEY = ("experiment", "sweep", "arm", "config_hash", "seed", "evaluation_set", "checkpoint")

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class NewerSchemaError(ValueError):
    """A file was written by a newer version of this package than the one that reads it."""


@dataclass(frozen=True)
class BrokenFile:
    """A file of a leaderboard that could not be read, and why; readers skip it, nothing deletes it."""

    path: Path
    reason: str


def write_scores(storage: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add ``rows`` to ``<storage>/leaderboard/scores`` as one new file; columns that a row lacks are NULL.

    Raises ValueError for a row that ``check_rows`` refuses, OSError if the storage cannot be written; either
    way nothing is added.
    """
    check_rows(rows, SCORES)
    return _publish(Path(storage), "scores", _to_table(rows, SCORES))


def write_curves(storage: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add ``rows`` to ``<storage>/leaderboard/curves`` as one new file. Raises as ``write_scores`` does."""
    check_rows(rows, CURVES)
    return _publish(Path(storage), "curves", _to_table(rows, CURVES))


def read_scores(storage: Path) -> tuple[pa.Table, list[BrokenFile]]:
    """All rows of ``<storage>/leaderboard/scores`` that count, and the files that could not be read.

    Of several rows of one (sweep, trial, evaluation_set, checkpoint) the highest attempt counts, then the
    newest. A row without an evaluation set says how an attempt ended that scored nothing; it counts until a
    later attempt of the trial wrote anything. Columns that an older file lacks are NULL.
    Raises NewerSchemaError for a file that this version does not know how to read.
    """
    table, broken = read_folder(Path(storage) / "leaderboard" / "scores", SCORES)
    return latest(table, SCORE_KEY, ("attempt", "created_utc")), broken


def read_curves(storage: Path) -> tuple[pa.Table, list[BrokenFile]]:
    """All points of ``<storage>/leaderboard/curves`` that count, as ``read_scores`` does."""
    table, broken = read_folder(Path(storage) / "leaderboard" / "curves", CURVES)
    return latest(table, CURVE_KEY, ("attempt",)), broken


def read_published(directory: Path = PUBLISHED) -> tuple[pa.Table, list[BrokenFile]]:
    """The rows of all ``*.parquet`` in ``directory`` (a published row is already the only one of its key)."""
    return read_folder(directory, SCORES)


def write_published(name: str, rows: pa.Table, directory: Path = PUBLISHED) -> Path:
    """Merge ``rows`` (of ``read_scores``) into ``<directory>/<name>.parquet``; newer rows replace older ones.

    Rows are the same if (experiment, sweep, arm, config_hash, seed, evaluation_set, checkpoint) are. The order in
    the file depends on the rows alone.
    Raises ValueError for a bad name, for rows of another schema, or if the file that is there cannot be read.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"name of a published leaderboard must be lower-case letters, digits and _: got {name!r}")
    if rows.schema != SCORES:
        raise ValueError("rows of a published leaderboard must have exactly the columns of results.schema.SCORES")
    target = directory / f"{name}.parquet"
    if target.exists():
        before = read_file(target, SCORES)
        if isinstance(before, BrokenFile):
            raise ValueError(f"{target} cannot be merged into: {before.reason}; restore it first")
        rows = pa.concat_tables([before, rows])
    rows = latest(rows, PUBLISHED_KEY, ("created_utc",))
    rows = rows.sort_by([(column, "ascending") for column in PUBLISHED_KEY])
    directory.mkdir(parents=True, exist_ok=True)
    staged = stage(directory.parent, f".{name}-{secrets.token_hex(8)}.parquet", rows)
    staged.replace(target)
    flush(directory)
    return target


def read_folder(folder: Path, schema: pa.Schema) -> tuple[pa.Table, list[BrokenFile]]:
    """The rows of every ``*.parquet`` in ``folder`` (none if it does not exist) and its broken files."""
    results = read_files(sorted(folder.glob("[!.]*.parquet")), schema)
    broken = [result for result in results if isinstance(result, BrokenFile)]
    tables = [result for result in results if isinstance(result, pa.Table)]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks(), broken


def read_files(paths: Sequence[Path], schema: pa.Schema) -> "list[pa.Table | BrokenFile]":
    """``read_file`` of each path, several at a time."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: read_file(path, schema), paths))


def read_file(path: Path, schema: pa.Schema) -> "pa.Table | BrokenFile":
    """One file as a table of ``schema``, or why it cannot be read. Raises NewerSchemaError."""
    try:
        with path.open("rb") as handle:
            table = pq.ParquetFile(handle, page_checksum_verification=True).read(use_threads=False)
        version = _version(table)
        if version <= SCHEMA_VERSION:
            return _conform(table, schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return BrokenFile(path, reason[0])
    raise NewerSchemaError(
        f"{path} has schema version {version}, but this version of nightshift reads up to {SCHEMA_VERSION}: "
        "update nightshift, or read the file with pandas.read_parquet"
    )


def _version(table: pa.Table) -> int:
    newest = pc.max(table["schema_version"]).as_py() if "schema_version" in table.column_names else None
    return int(newest or (table.schema.metadata or {}).get(VERSION_KEY, SCHEMA_VERSION))


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with exactly the columns of ``schema``: NULL where an older version had none."""
    if table.schema.equals(schema):
        return table.replace_schema_metadata(None)
    if "trial" not in table.column_names:
        raise ValueError("not a leaderboard's file: it has no column 'trial'")
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def latest(table: pa.Table, key: Sequence[str], order: Sequence[str]) -> pa.Table:
    """The last row of each ``key`` by ``order``, without failures that a later row of the trial overtook."""
    frame = table.select([*dict.fromkeys([*key, *order])]).to_pandas().sort_values(list(order), kind="stable")
    kept = frame.drop_duplicates(list(key), keep="last")
    if "evaluation_set" in key:
        trial = [name for name in key if name not in ("evaluation_set", "checkpoint")]
        newest = kept.groupby(trial, dropna=False)[order[0]].transform("max")
        kept = kept[kept["evaluation_set"].notna() | (kept[order[0]] == newest)]
    return table if len(kept) == len(table) else table.take(pa.array(sorted(kept.index)))


def _to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.name == "schema_version":
            values = [SCHEMA_VERSION] * len(rows)
        elif field.name in SCORE_NAMES:
            values = [None if value is None else min(max(float(value), 0.0), 1.0) for value in values]
        columns.append(pa.array(values, type=field.type))
    return pa.table(columns, schema=schema)


def _publish(storage: Path, kind: str, table: pa.Table) -> Path:
    folder = storage / "leaderboard" / kind
    staging = storage / "leaderboard" / "staging"
    for directory in (folder, staging):
        directory.mkdir(parents=True, exist_ok=True)
    sweep, trial, attempt = (table[name][0].as_py() for name in ("sweep", "trial", "attempt"))
    name = f"{sweep[:80]}-{trial[:40]}-{attempt}-{secrets.token_hex(8)}.parquet"
    staged = stage(staging, name, table)
    target = folder / name
    try:
        os.link(staged, target)
        staged.unlink()
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            staged.unlink(missing_ok=True)
            raise
        staged.rename(target)  # some network file systems have no hard links; the name is new all the same
    flush(folder)
    return target


def stage(directory: Path, name: str, table: pa.Table) -> Path:
    """Write ``table`` whole: on the disk, and read back."""
    path = directory / name
    try:
        with path.open("xb") as handle:
            labeled = table.replace_schema_metadata({VERSION_KEY: str(SCHEMA_VERSION)})
            pq.write_table(labeled, handle, write_page_checksum=True, use_dictionary=False)
            handle.flush()
            os.fsync(handle.fileno())
        footer = pq.ParquetFile(path)
        if footer.metadata.num_rows != table.num_rows or not footer.schema_arrow.equals(table.schema):
            raise OSError(f"{path} does not hold what was written into it: check the disk")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def flush(directory: Path) -> None:
    """Make a new name in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
