"""Publish rows of a storage: merge them into ``results/published/<name>.parquet``, from which the tables are rendered.

    python -m results.publish camvid --storage runs --sweep camvid-loss_alpha

Rows of an earlier run of the same sweep are replaced where newer ones exist; all others stay.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from results.store import PUBLISHED, BrokenFile, NewerSchemaError, read_scores, write_published


class CannotPublish(ValueError):
    """The storage has no such rows, or not all of them can be read."""


def publish(name: str, storage: Path, sweeps: Sequence[str] = (), directory: Path = PUBLISHED) -> tuple[Path, int]:
    """Merge rows of ``storage`` into ``<directory>/<name>.parquet``.

    Args:
        name: Lower-case letters, digits and ``_``; usually the experiment.
        storage: A folder with ``leaderboard/scores``.
        sweeps: Only the rows of these sweeps; of all when empty.
        directory: Where published files lie.

    Returns:
        The file, and how many rows of the storage were merged.

    Raises:
        CannotPublish: a file of the storage is damaged, or a sweep has no rows.
    """
    rows, broken = read_scores(storage)
    _require_whole(broken)
    known = set(rows["sweep"].to_pylist())
    if absent := sorted(set(sweeps) - known):
        raise CannotPublish(
            f"{storage} has no rows of {', '.join(absent)}; it has: {', '.join(sorted(known)) or 'none'}"
        )
    if sweeps:
        rows = rows.filter(pc.is_in(rows["sweep"], value_set=pa.array(sweeps)))
    if not rows.num_rows:
        raise CannotPublish(f"{storage} has no rows in leaderboard/scores; name the --storage of an earlier run")
    return write_published(name, rows, directory), rows.num_rows


def _require_whole(broken: Sequence[BrokenFile]) -> None:
    if broken:
        names = ", ".join(f"{file.path} ({file.reason})" for file in broken)
        raise CannotPublish(f"not every row can be read: {names}; `nightshift doctor --repair` mends what it can")


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m results.publish", description="Publish rows of a storage.")
    parser.add_argument("name", help="published/NAME.parquet, usually the experiment")
    parser.add_argument("--storage", type=Path, required=True, help="folder with leaderboard/scores")
    parser.add_argument("--sweep", action="append", default=[], help="only the rows of this sweep; repeatable")
    parser.add_argument("--published", type=Path, default=PUBLISHED, help="folder of the published files")
    options = parser.parse_args(arguments)
    try:
        path, count = publish(options.name, options.storage, options.sweep, options.published)
    except (ValueError, NewerSchemaError) as error:
        sys.stderr.write(f"results.publish: {' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(f"{count} rows merged into {path}; `make tables` renders them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
