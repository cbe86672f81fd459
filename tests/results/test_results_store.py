import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import store
from results.schema import CURVES, SCORES
from results.store import (
    NewerSchemaError,
    read_curves,
    read_scores,
    write_curves,
    write_published,
    write_scores,
)


def files(storage, kind="scores"):
    return sorted(path.name for path in (storage / "leaderboard" / kind).iterdir())


def test_round_trip_through_plain_pandas(tmp_path, make_row, make_failure):
    stages = [{"name": "train", "key": "ab", "hit": True, "seconds": 2.5}]
    path = write_scores(tmp_path, [make_row(confusion=np.arange(4), stages=stages, fwiou=1 + 2e-16), make_failure()])
    assert path.parent == tmp_path / "leaderboard" / "scores"
    frame = pd.read_parquet(tmp_path / "leaderboard" / "scores")
    assert list(frame.columns) == SCORES.names
    assert frame["miou"].tolist()[0] == 0.5
    assert frame["fwiou"].tolist()[0] == 1.0
    assert frame["confusion"][0].tolist() == [0, 1, 2, 3]
    assert frame["schema_version"].tolist() == [5, 5]
    table, broken = read_scores(tmp_path)
    assert broken == []
    assert table.schema == SCORES
    assert table["stages"].to_pylist() == [stages, None]


def test_absent_values_are_null_not_nan(tmp_path, make_failure):
    path = write_scores(tmp_path, [make_failure()])
    table = pq.read_table(path)
    for name in ("miou", "iou.road", "seconds", "step", "confusion", "stages", "evaluation_set"):
        assert table[name].null_count == 1, name
    assert pq.read_metadata(path).num_rows == 1


def test_every_call_makes_a_new_file_and_leaves_nothing_staged(tmp_path, make_row):
    paths = [write_scores(tmp_path, [make_row(trial=f"t{n}")]) for n in (1, 1, 2)]
    assert files(tmp_path) == sorted(path.name for path in paths)
    assert len(set(paths)) == 3
    assert files(tmp_path, "staging") == []


def test_a_refused_row_leaves_nothing(tmp_path, make_row):
    with pytest.raises(ValueError, match="miou"):
        write_scores(tmp_path, [make_row(), make_row(miou=float("nan"))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["fsync", "link", "footer"])
def test_a_failed_write_adds_nothing(tmp_path, make_row, monkeypatch, broken):
    def fail(*_):
        raise OSError(28, "No space left on device")

    if broken == "footer":
        write = pq.write_table
        monkeypatch.setattr(store.pq, "write_table", lambda table, *rest, **_: write(table[:0], *rest))
    else:
        monkeypatch.setattr(store.os, broken, fail)
    with pytest.raises(OSError, match=r"No space|does not hold"):
        write_scores(tmp_path, [make_row()])
    assert files(tmp_path) == []
    assert files(tmp_path, "staging") == []


def test_a_file_system_without_hard_links(tmp_path, make_row, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_scores(tmp_path, [make_row()])
    assert read_scores(tmp_path)[0].num_rows == 1
    assert files(tmp_path, "staging") == []


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path):
    path.write_bytes(b"")


def damage_bit(path):
    content = path.read_bytes()
    assert b"t_damaged" in content
    path.write_bytes(content.replace(b"t_damaged", b"t_danaged"))


def damage_foreign(path):
    pd.DataFrame({"a": [1]}).to_parquet(path)


@pytest.mark.parametrize("damage", [damage_truncate, damage_empty, damage_bit, damage_foreign])
def test_a_damaged_file_is_named_and_skipped(tmp_path, make_row, damage):
    write_scores(tmp_path, [make_row(trial="t_good")])
    damaged = write_scores(tmp_path, [make_row(trial="t_damaged")])
    damage(damaged)
    table, broken = read_scores(tmp_path)
    assert table["trial"].to_pylist() == ["t_good"]
    assert [file.path for file in broken] == [damaged]
    assert broken[0].reason
    assert "\n" not in broken[0].reason
    assert damaged.exists()


def test_a_newer_schema_is_refused_by_version(tmp_path, make_row):
    path = write_scores(tmp_path, [make_row()])
    table = pq.read_table(path)
    newer = table.set_column(0, "schema_version", pa.array([7])).append_column("new", pa.array([1]))
    pq.write_table(newer, path.with_name("newer.parquet"))
    with pytest.raises(NewerSchemaError, match=r"newer\.parquet has schema version 7.*reads up to 5.*update"):
        read_scores(tmp_path)


def test_newer_curves_are_refused_too(tmp_path):
    (tmp_path / "leaderboard" / "curves").mkdir(parents=True)
    table = CURVES.empty_table().replace_schema_metadata({store.VERSION_KEY: "6"})
    pq.write_table(table, tmp_path / "leaderboard" / "curves" / "a.parquet")
    with pytest.raises(NewerSchemaError, match="version 6"):
        read_curves(tmp_path)


def test_an_older_file_gets_null_columns(tmp_path, make_row):
    path = write_scores(tmp_path, [make_row()])
    pq.write_table(pq.read_table(path).drop_columns(["fwiou", "stages"]), path.with_name("older.parquet"))
    path.unlink()
    table, broken = read_scores(tmp_path)
    assert broken == []
    assert table.schema == SCORES
    assert table["fwiou"].to_pylist() == [None]
    assert table["miou"].to_pylist() == [0.5]


def test_the_highest_attempt_counts_then_the_newest(tmp_path, make_row):
    write_scores(tmp_path, [make_row(attempt=2, miou=0.2, minutes=1)])
    write_scores(tmp_path, [make_row(attempt=1, miou=0.1, minutes=9)])
    write_scores(tmp_path, [make_row(attempt=2, miou=0.3, minutes=2)])
    write_scores(tmp_path, [make_row(attempt=1, miou=0.4, checkpoint="final")])
    write_scores(tmp_path, [make_row(attempt=1, miou=0.6, sweep="second")])
    rows = read_scores(tmp_path)[0].to_pylist()
    found = {(row["sweep"], row["checkpoint"]): (row["attempt"], row["miou"]) for row in rows}
    assert found == {("first", "best"): (2, 0.3), ("first", "final"): (1, 0.4), ("second", "best"): (1, 0.6)}


def test_a_failure_counts_until_a_later_attempt(tmp_path, make_row, make_failure):
    write_scores(tmp_path, [make_failure(attempt=1)])
    assert read_scores(tmp_path)[0]["status"].to_pylist() == ["failed"]
    write_scores(tmp_path, [make_row(attempt=2)])
    assert read_scores(tmp_path)[0]["status"].to_pylist() == ["finished"]
    write_scores(tmp_path, [make_failure(attempt=3)])
    assert sorted(read_scores(tmp_path)[0]["status"].to_pylist()) == ["failed", "finished"]


def test_curves_keep_the_surviving_attempt(tmp_path):
    point = {"sweep": "s", "trial": "t1", "stage": "train", "metric": "loss"}
    write_curves(tmp_path, [point | {"attempt": 1, "step": step, "value": 9.0} for step in (1, 2)])
    write_curves(tmp_path, [point | {"attempt": 2, "step": step, "value": 1.0} for step in (1, 2, 3)])
    table, broken = read_curves(tmp_path)
    assert broken == []
    assert table.schema == CURVES
    assert sorted(table["step"].to_pylist()) == [1, 2, 3]
    assert table["value"].to_pylist() == [1.0, 1.0, 1.0]


def test_published_rows_accumulate_and_newer_ones_of_a_sweep_replace(tmp_path, make_row, make_failure):
    first, second, published = tmp_path / "first", tmp_path / "second", tmp_path / "published"
    write_scores(first, [make_row(miou=0.1), make_row(seed=1, trial="t1", miou=0.2), make_row(arm="dacs", trial="t2")])
    write_scores(first, [make_failure(seed=2, trial="t3")])
    path = write_published("demo", read_scores(first)[0], published)
    assert pq.read_table(path).num_rows == 4
    write_scores(second, [make_row(miou=0.9, minutes=5)])
    write_scores(second, [make_row(miou=0.6, sweep="again", minutes=5)])
    write_scores(second, [make_row(seed=1, trial="t1", miou=0.8, minutes=-5)])
    write_scores(second, [make_row(seed=2, trial="t3", miou=0.3, minutes=5)])
    write_published("demo", read_scores(second)[0], published)
    assert [file.name for file in published.iterdir()] == ["demo.parquet"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first", "published", "second"]
    rows, broken = store.read_published(published)
    assert broken == []
    again = [row for row in rows.to_pylist() if row["sweep"] == "again"]
    assert [row["miou"] for row in again] == [0.6]
    found = {(row["arm"], row["seed"]): row["miou"] for row in rows.to_pylist() if row not in again}
    assert found == {("fda", 0): 0.9, ("fda", 1): 0.2, ("fda", 2): 0.3, ("dacs", 0): 0.5}
    assert rows.num_rows == 5


def test_published_refuses_what_it_cannot_merge(tmp_path, make_row):
    write_scores(tmp_path, [make_row()])
    rows = read_scores(tmp_path)[0]
    with pytest.raises(ValueError, match="lower-case"):
        write_published("../demo", rows, tmp_path / "published")
    with pytest.raises(ValueError, match="exactly the columns"):
        write_published("demo", rows.drop_columns(["miou"]), tmp_path / "published")
    path = write_published("demo", rows, tmp_path / "published")
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be merged"):
        write_published("demo", rows, tmp_path / "published")
    assert path.read_bytes() == b"torn"


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from results.store import write_scores
for number in range(10):
    row = {"sweep": "s", "trial": f"t{sys.argv[2]}_{number}", "arm": "a", "attempt": 1, "experiment": "e",
           "config_hash": "c", "seed": number, "seed_scope": "all", "created_utc": datetime.now(UTC),
           "status": "finished", "evaluation_set": "v", "checkpoint": "best", "miou": 0.5,
           "confusion": list(range(361))}
    write_scores(Path(sys.argv[1]), [row])
"""


def test_readers_never_meet_a_torn_file_while_others_write(tmp_path, make_row):
    write_scores(tmp_path, [make_row()])
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)]) for number in range(4)]
    sizes = []
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        sizes.append(len(pd.read_parquet(tmp_path / "leaderboard" / "scores")))
    assert [writer.wait(timeout=10) for writer in writers] == [0] * 4
    frame = pd.read_parquet(tmp_path / "leaderboard" / "scores")
    assert len(frame) == frame["trial"].nunique() == 41
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2, "the reader saw no write in progress: the test shows nothing"
    assert files(tmp_path, "staging") == []
