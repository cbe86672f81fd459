"""Everybody's readers, while writers write and are killed: no error, no published row missing."""

import multiprocessing
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from results import leaderboard
from results.store import write_scores

WRITERS, READERS_SECONDS, KILLS = 8, 20.0, 25


def row(writer: int, number: int) -> dict:
    """A failed trial is the smallest row that the schema allows."""
    return {
        "sweep": f"w{writer}", "trial": f"t{number}", "arm": "a", "attempt": 0, "experiment": "e", "config_hash": "c0",
        "seed": number, "seed_scope": "last", "created_utc": datetime.now(UTC), "status": "failed",
    }  # fmt: skip


def write(storage: Path, writer: int, first: int, published: Path) -> None:
    """Write rows until killed; each is noted once it is published."""
    number = first
    while True:
        write_scores(storage, [row(writer, number)])
        with published.open("a") as notes:
            notes.write(f"{writer} {number}\n")
        number += 1


def read(kind: str, storage: Path, until: float, result) -> None:  # type: ignore[no-untyped-def]
    """Read in a loop; the number of reads and the errors."""
    folder, reads, errors = storage / "leaderboard" / "scores", 0, []
    while time.time() < until:
        try:
            count = READERS[kind](folder, storage)
            assert count > 0
            reads += 1
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:300])
    result.put((kind, reads, errors))


def _polars(folder: Path, storage: Path) -> int:
    import polars

    return polars.read_parquet(str(folder / "*.parquet"))["miou"].len()


def _duckdb(folder: Path, storage: Path) -> int:
    import duckdb

    return duckdb.sql(f"select count(*), max(miou) from '{folder}/*.parquet'").fetchall()[0][0]


READERS = {
    "pandas": lambda folder, storage: len(pd.read_parquet(folder)),
    "polars": _polars,
    "duckdb": _duckdb,
    "ours": lambda folder, storage: len(leaderboard.load(storage)),
}


def test_duckdb_and_polars_read_what_was_written(tmp_path, make_row, make_failure) -> None:
    """Values, absent values, times and the lists of stages, over files of finished and of failed trials."""
    import duckdb
    import polars

    stages = [{"name": "train", "key": "k1", "hit": False, "seconds": 12.5}]
    write_scores(tmp_path, [make_row(seed=seed, trial=f"t{seed}", miou=0.25 * seed, stages=stages) for seed in (1, 2)])
    write_scores(tmp_path, [make_failure(seed=3, trial="t3")])
    files = f"{tmp_path}/leaderboard/scores/*.parquet"
    expected = [(1, 0.25, "finished", "k1", 12.5), (2, 0.5, "finished", "k1", 12.5), (3, None, "failed", None, None)]
    query = f"select seed, miou, status, stages[1].key, stages[1].seconds from '{files}' order by seed"
    assert duckdb.sql(query).fetchall() == expected
    frame = polars.read_parquet(files).sort("seed")
    stage = polars.col("stages").list.get(0, null_on_oob=True)
    columns = ("seed", "miou", "status", stage.struct.field("key"), stage.struct.field("seconds"))
    assert frame.select(*columns).rows() == expected
    created = make_row()["created_utc"]
    assert frame["created_utc"].to_list() == [created] * 3
    (when,) = duckdb.sql(f"select distinct epoch(created_utc) from '{files}'").fetchall()
    assert when == (created.timestamp(),)


@pytest.mark.slow
def test_readers_see_every_published_row_and_no_error_while_writers_are_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    write_scores(tmp_path, [row(99, 0)])
    until = time.time() + READERS_SECONDS + 5
    results = context.Queue()
    readers = [context.Process(target=read, args=(kind, tmp_path, until, results)) for kind in READERS]
    published = [tmp_path / f"published-{number}" for number in range(WRITERS)]
    numbers = [0] * WRITERS
    writers = [context.Process(target=write, args=(tmp_path, n, 0, published[n])) for n in range(WRITERS)]
    for process in [*readers, *writers]:
        process.start()
    draw, kills = random.Random(0), 0
    while time.time() < until:
        time.sleep(READERS_SECONDS / KILLS)
        victim = draw.randrange(WRITERS)
        os.kill(writers[victim].pid, signal.SIGKILL)
        writers[victim].join()
        kills += 1
        numbers[victim] += 100_000
        writers[victim] = context.Process(target=write, args=(tmp_path, victim, numbers[victim], published[victim]))
        writers[victim].start()
    for process in writers:
        process.kill()
        process.join()
    seen = {kind: (reads, errors) for kind, reads, errors in (results.get(timeout=60) for _ in readers)}
    for process in readers:
        process.join()
    print(f"{kills} kills; reads: { {kind: reads for kind, (reads, _) in seen.items()} }")
    assert {kind: errors for kind, (_, errors) in seen.items() if errors} == {}
    assert all(reads > 0 for reads, _ in seen.values())
    noted = {tuple(line.split()) for path in published if path.exists() for line in path.read_text().splitlines()}
    frame = pd.read_parquet(tmp_path / "leaderboard" / "scores")
    found = {
        (sweep.removeprefix("w"), trial.removeprefix("t"))
        for sweep, trial in zip(frame.sweep, frame.trial, strict=True)
    }
    assert len(noted) > 100
    assert noted <= found
    assert len(frame) == len(frame.drop_duplicates(["sweep", "trial"]))
