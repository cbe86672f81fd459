import pytest

from results import leaderboard, tables
from results.schema import COLUMNS
from results.store import read_scores, write_published, write_scores


@pytest.fixture
def root(tmp_path, monkeypatch, make_row, make_failure):
    """A repository with one README and its own published rows."""
    (tmp_path / "README.md").write_text(
        "# Title\n\n<!-- table: leaderboard demo -->\nstale\n<!-- end -->\n\n"
        "<!-- table: leaderboard camvid -->\n<!-- end -->\ntail\n"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("<!-- end -->\nno table, no newline at the end")
    rows = []
    for seed, miou in enumerate((0.40, 0.50)):
        base = {
            "seed": seed,
            "trial": f"t{seed}",
            "hardware": "CPU | 2 cores",
            "git_commit": "0123456789abcdef",
        }
        rows.append(make_row(miou=miou, **base))
        rows.append(make_row(miou=miou / 4, evaluation_set="a_report", split_role="report", **base))
        rows.append(make_row(miou=0.99, checkpoint="final", **base))
    rows.append(make_row(trial="t7", alpha=0.125, config_hash="cc", miou=0.61))
    rows.append(make_failure(trial="t8", seed=9))
    storage = tmp_path / "runs"
    write_scores(storage, rows)
    write_published("demo", read_scores(storage)[0], tmp_path / "published")
    original = leaderboard.read_published
    monkeypatch.setattr(leaderboard, "read_published", lambda: original(tmp_path / "published"))
    return tmp_path


EXPECTED = """# Title

<!-- table: leaderboard demo -->

| arm | `segmenter.loss.alpha` | day_val | a_report | seeds | hardware | commit |
| --- | --- | --- | --- | --- | --- | --- |
| fda | 0.125 | 61.0 | – | 1 | – | – |
| fda | 0.5 | 45.0 ± 7.1 | 11.2 ± 1.8 | 2 | CPU \\| 2 cores | 0123456789 |

1 further trials did not finish.

<!-- end -->

<!-- table: leaderboard camvid -->

no published runs yet

<!-- end -->
tail
"""


def test_render_then_check(root, capsys):
    assert tables.main(["--check", "--root", str(root)]) == 1
    assert "stale" in (root / "README.md").read_text()
    assert "out of date" in capsys.readouterr().out
    assert tables.main(["--root", str(root)]) == 0
    assert (root / "README.md").read_text() == EXPECTED
    assert (root / "other" / "README.md").read_text() == "<!-- end -->\nno table, no newline at the end"
    assert tables.main(["--check", "--root", str(root)]) == 0


def test_check_notices_an_edited_number(root):
    tables.main(["--root", str(root)])
    path = root / "README.md"
    path.write_text(path.read_text().replace("61.0", "62.0"))
    assert tables.main(["--check", "--root", str(root)]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: nonsense -->\n<!-- end -->\n", "line 1: no table 'nonsense': there are columns"),
        ("<!-- table: columns -->\n", "no end"),
        ("<!-- table: columns -->\n<!-- table: columns -->\n<!-- end -->\n", "line 2: a table starts before"),
    ],
)
def test_a_bad_marker_is_an_error_and_nothing_is_written(root, capsys, text, message):
    (root / "other" / "README.md").write_text(text)
    before = (root / "README.md").read_text()
    assert tables.main(["--root", str(root)]) == 2
    assert message in capsys.readouterr().err
    assert (root / "README.md").read_text() == before


def test_the_columns_table_names_every_column():
    text = tables.columns_table(leaderboard.load("published"))
    for column in COLUMNS:
        assert column.name.startswith("iou.") or f"| `{column.name}` |" in text
    assert "`iou.<class>`" in text
