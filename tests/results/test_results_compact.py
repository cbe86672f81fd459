"""With a snapshot the rows are those that the files hold, whatever happened to either."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from results import compact, leaderboard, store
from results.compact import read_scores, refresh
from results.store import NewerSchemaError, write_scores


@pytest.fixture
def storage(tmp_path, make_row, make_failure):
    """Eleven files: seeds and sets, an attempt that overtook another one, a failure."""
    for seed in range(4):
        for name in ("day_val", "night_val"):
            write_scores(tmp_path, [make_row(trial=f"t{seed}", seed=seed, evaluation_set=name, minutes=seed)])
    write_scores(
        tmp_path, [make_row(trial="t0", attempt=2, miou=0.9), make_row(trial="t0", attempt=2, checkpoint="final")]
    )
    write_scores(tmp_path, [make_failure(trial="t7", seed=7)])
    write_scores(tmp_path, [make_row(trial="t8", seed=8, confusion=[1] * 361)])
    return tmp_path


def files(storage):
    return sorted((storage / "leaderboard" / "scores").iterdir())


def snapshots(storage):
    return sorted((storage / "leaderboard" / "compact").glob("*"))


def same(storage):
    """Whether both ways of reading give the same rows in the same order; how many files had to be opened."""
    plain, plain_broken = store.read_scores(storage)
    quick, quick_broken = read_scores(storage)
    assert quick.equals(plain)
    assert quick_broken == plain_broken
    return compact._read(storage / "leaderboard")[2]


def test_a_snapshot_serves_every_row_and_opens_no_file(storage, monkeypatch):
    assert same(storage) == 11
    path = refresh(storage, 1)
    assert snapshots(storage) == [path]
    assert same(storage) == 0
    monkeypatch.setattr("results.compact.read_files", lambda paths, schema: [] if not paths else pytest.fail("opened"))
    assert len(leaderboard.load(storage)) == 12 - 1
    assert list((storage / "leaderboard" / "staging").iterdir()) == []


def test_new_files_are_read_in_addition(storage, make_row):
    refresh(storage, 1)
    write_scores(storage, [make_row(trial="t9", seed=9)])
    write_scores(storage, [make_row(trial="t0", attempt=3, miou=0.1, sweep="comes_first")])
    write_scores(storage, [make_row(trial="t1", attempt=2, miou=0.2)])
    assert same(storage) == 3


def test_the_rows_of_a_deleted_file_go(storage):
    refresh(storage, 1)
    for path in files(storage)[::3]:
        path.unlink()
    assert same(storage) == 0


def test_a_file_of_another_size_is_read_again_and_named_when_torn(storage):
    refresh(storage, 1)
    torn = files(storage)[2]
    torn.write_bytes(torn.read_bytes()[:-30])
    assert same(storage) == 1
    assert [broken.path for broken in read_scores(storage)[1]] == [torn]
    with pytest.warns(UserWarning, match=torn.name):
        leaderboard.load(storage)


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_a_torn_snapshot_is_passed_over(storage, keep):
    path = refresh(storage, 1)
    path.write_bytes(path.read_bytes()[:keep])
    assert same(storage) == 11
    assert refresh(storage, 1) != path
    assert same(storage) == 0
    assert len(snapshots(storage)) == 1


def test_a_changed_byte_in_a_snapshot_is_noticed(storage):
    path = refresh(storage, 1)
    content = path.read_bytes()
    assert b"night_val" in content
    path.write_bytes(content.replace(b"night_val", b"right_val"))
    assert same(storage) == 11


def test_a_snapshot_with_other_columns_is_passed_over(storage):
    path = refresh(storage, 1)
    pq.write_table(pq.read_table(path).drop_columns(["fwiou"]), path)
    assert same(storage) == 11


def test_an_older_snapshot_serves_where_the_newest_is_torn(storage, make_row):
    first = refresh(storage, 1)
    kept = first.read_bytes()
    write_scores(storage, [make_row(trial="t9", seed=9)])
    second = refresh(storage, 1)
    assert not first.exists()
    first.write_bytes(kept)
    second.write_bytes(b"PAR1")
    assert same(storage) == 1


def test_a_snapshot_waits_for_enough_new_files(storage):
    assert refresh(storage, 12) is None
    assert refresh(storage, 11) is not None
    assert refresh(storage, 1) is None
    assert refresh(storage / "nothing", 1) is None


def test_a_snapshot_that_does_not_fit_leaves_the_older_one(storage, make_row, monkeypatch):
    first = refresh(storage, 1)
    write_scores(storage, [make_row(trial="t9", seed=9)])

    def full(*words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("results.store.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        refresh(storage, 1)
    monkeypatch.undo()
    assert snapshots(storage) == [first]
    assert same(storage) == 1


def test_a_file_of_a_newer_version_is_refused_beside_a_snapshot_too(storage):
    refresh(storage, 1)
    table = pq.read_table(files(storage)[0])
    newer = table.replace_schema_metadata({store.VERSION_KEY: "7"}).drop_columns(["schema_version"])
    pq.write_table(newer, files(storage)[0].with_name("newer.parquet"))
    with pytest.raises(NewerSchemaError, match="version 7"):
        read_scores(storage)


def test_other_readers_never_meet_a_snapshot(storage):
    refresh(storage, 1)
    assert len(pd.read_parquet(storage / "leaderboard" / "scores")) == 12
