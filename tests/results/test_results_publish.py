"""Publishing rows of a storage as a command."""

import pyarrow.parquet as pq
import pytest

from results.publish import main
from results.store import write_scores


@pytest.fixture
def storage(tmp_path, make_row):
    write_scores(tmp_path / "runs", [make_row(), make_row(sweep="second", trial="t2", miou=0.25)])
    return tmp_path / "runs"


def publish(storage, *words):
    return main(["demo", "--storage", str(storage), "--published", str(storage.parent / "published"), *words])


def published(storage):
    return {
        row["sweep"]: row["miou"] for row in pq.read_table(storage.parent / "published" / "demo.parquet").to_pylist()
    }


def test_rows_of_a_storage_are_merged_and_newer_ones_replace(storage, make_row, capsys):
    assert publish(storage) == 0
    assert "2 rows merged into" in capsys.readouterr().out
    assert published(storage) == {"first": 0.5, "second": 0.25}
    newer = storage.parent / "newer"
    write_scores(newer, [make_row(miou=0.75, minutes=5)])
    assert publish(newer) == 0
    assert published(storage) == {"first": 0.75, "second": 0.25}


def test_only_the_named_sweep_is_published(storage):
    assert publish(storage, "--sweep", "second") == 0
    assert published(storage) == {"second": 0.25}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--sweep", "third"), "no rows of third; it has: first, second"), (("--sweep", ""), "no rows of")],
)
def test_a_sweep_without_rows_is_refused(storage, words, said, capsys):
    assert publish(storage, *words) == 2
    assert said in capsys.readouterr().err
    assert not (storage.parent / "published").exists()


def test_a_storage_without_rows_and_a_wrong_name_are_refused(storage, tmp_path, capsys):
    assert main(["demo", "--storage", str(tmp_path / "absent")]) == 2
    assert "has no rows" in capsys.readouterr().err
    assert main(["../demo", "--storage", str(storage)]) == 2
    assert "lower-case" in capsys.readouterr().err


def test_a_damaged_file_is_named_and_nothing_is_published(storage, capsys):
    torn = storage / "leaderboard" / "scores" / "torn.parquet"
    torn.write_bytes(b"PAR1 nothing")
    assert publish(storage) == 2
    error = capsys.readouterr().err
    assert str(torn) in error
    assert error.count("\n") == 1
    assert not (storage.parent / "published").exists()
