"""What ``leaderboard`` and ``compare`` print, and refuse."""

import io
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.files import replace_json
from orchestrator.pending import pending
from orchestrator.start import SweepRequest
from results.leaderboard import load
from results.schema import SCHEMA_VERSION
from results.store import write_curves, write_scores


@pytest.fixture
def board(tmp_path):
    """``plain`` and ``mixed`` (better on every seed) over three seeds and two sets; one pruned trial."""
    rows = []
    for place, (arm, scores) in enumerate({"plain": (0.40, 0.50, 0.48), "mixed": (0.45, 0.56, 0.535)}.items()):
        for seed, miou in enumerate(scores):
            for name, role, loss in (("day_val", "select", 0.0), ("night_test", "report", 0.3)):
                rows.append(
                    {
                        "sweep": "one", "trial": f"t{place}{seed}", "arm": arm, "attempt": 0, "experiment": "demo",
                        "config_hash": f"c{place}00", "seed": seed, "seed_scope": "last", "varied": "{}",
                        "created_utc": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=seed), "params": "{}",
                        "status": "finished", "evaluation_set": name, "split_role": role, "checkpoint": "best",
                        "miou": miou - loss, "iou.car": miou - loss, "seconds": 60.0, "seconds_saved": 30.0,
                        "stages": [{"name": "train", "key": f"k{place}{seed}", "hit": False, "seconds": 60.0},
                                   {"name": "city", "key": "k", "hit": True, "seconds": 30.0}],
                    }
                )  # fmt: skip
    empty = {
        "evaluation_set": None,
        "split_role": None,
        "checkpoint": None,
        "miou": None,
        "iou.car": None,
        "stages": None,
    }
    rows.append(rows[0] | empty | {"trial": "t9", "seed": 9, "status": "pruned", "message": "stopped at step 4 of 8"})
    write_scores(tmp_path, rows)
    return tmp_path


def read_csv(done):
    assert done.code == 0, done.err
    return pd.read_csv(io.StringIO(done.out))


def test_compare_says_who_is_better_and_by_how_much(nightshift, board):
    done = nightshift("compare", "plain", "mixed", "--storage", board)
    assert (done.code, done.err) == (0, "")
    for part in ("baseline=plain", "day_val", "+5.5", "[+4.3, +6.7]", "better"):
        assert part in done.out
    table = read_csv(nightshift("compare", "plain", "mixed", "--storage", board, "--csv"))
    assert table["difference"].tolist() == pytest.approx([0.055, 0.055])
    found = json.loads(nightshift("compare", "plain", "mixed", "--storage", board, "--json").out)
    assert [line["verdict"] for line in found] == ["better", "better"]
    classes = read_csv(nightshift("compare", "plain", "mixed", "--per-class", "--storage", board, "--csv"))
    assert set(classes["metric"]) == {"iou.car"}


def test_json_keeps_small_numbers(nightshift, board):
    """Two differences that are equal but for 1e-13: p is about 1e-13, and no 0."""
    rows = [("a", 0.25, 0), ("a", 0.5, 1), ("b", 0.5, 0), ("b", 0.75 + 1e-13, 1)]
    base = load(board).iloc[0]
    kept = ("experiment", "seed_scope", "status", "evaluation_set", "split_role", "checkpoint")
    write_scores(
        board,
        [
            {name: base[name] for name in kept}
            | {"sweep": "tiny", "trial": f"{arm}{seed}", "arm": arm, "attempt": 0, "config_hash": f"c{arm}",
               "seed": seed, "created_utc": base["created_utc"].to_pydatetime(), "varied": "{}", "params": "{}",
               "miou": miou}
            for arm, miou, seed in rows
        ],
    )  # fmt: skip
    (found,) = json.loads(nightshift("compare", "a", "b", "--storage", board, "--json").out)
    assert 0 < found["p"] < 1e-11


def test_a_file_that_cannot_be_read_is_named_once(nightshift, board):
    write_curves(board, [{"sweep": "one", "trial": "t00", "attempt": 0, "stage": "train", "step": step,
                          "metric": "loss", "value": 1.0} for step in (1, 2)])  # fmt: skip
    torn = [board / "leaderboard" / kind / "torn.parquet" for kind in ("scores", "curves")]
    for path in torn:
        path.write_bytes(b"PAR1")
    for words in (("leaderboard", "--curves", "loss"), ("report", "--output", board / "report.html")):
        done = nightshift(*words, "--storage", board)
        assert done.code == 0, done.err
        told = done.err.splitlines()
        assert len(told) == 2, told
        assert all(line.startswith(f"warning: skipped {path}: ") for line, path in zip(told, torn, strict=True))


def test_tables_for_a_paper(nightshift, board):
    where = ("--where", "evaluation_set=day_val", "--storage", board)
    text = nightshift("leaderboard", *where, "--latex").out
    assert text.startswith("\\begin{tabular}{")
    # By hand: t(0.975, 2) = 4.3027, sd 0.05766: 0.515 ± 4.3027 × 0.05766 / √3.
    assert r"mixed & 1 & 51.5 $\pm$ 5.8 & [37.2, 65.8] & 3 & c100 \\" in text
    text = nightshift("leaderboard", "--wide", "--storage", board, "--markdown").out
    assert "| mixed | 51.5 ± 5.8 | 21.5 ± 5.8 | 3 |  | c100 |" in text.splitlines()


def test_the_other_questions(nightshift, board):
    words = ("--storage", board, "--csv")
    assert read_csv(nightshift("leaderboard", "--group", "arm", *words))["place"].tolist() == [1, 2, 1, 2]
    assert read_csv(nightshift("leaderboard", "--cost", "sweep", *words))["seconds_saved"].tolist() == [150.0]
    assert read_csv(nightshift("leaderboard", "--pareto", "total_seconds", *words))["cost_mean"].tolist() == [90.0] * 4
    assert read_csv(nightshift("leaderboard", "--per-class", *words))["class"].unique().tolist() == ["car"]
    failures = nightshift("leaderboard", "--failures", "--storage", board)
    assert "stopped at step 4 of 8" in failures.out
    stages = nightshift("leaderboard", "--rows", "--limit", 1, "--columns", "trial,stages", "--storage", board)
    assert "train k00 made 60 s, city k hit 30 s" in stages.out
    for question in (("--per-class",), ("--cost", "stage"), ("--pareto", "worst_iou"), ("--group", "arm")):
        assert nightshift("leaderboard", *question, "--storage", board).code == 0


def test_one_seed_has_no_interval_and_says_why(nightshift, board):
    done = nightshift("leaderboard", "--where", "seed=0", "--storage", board)
    assert "4 lines of one seed: no interval" in done.out
    assert "95 % interval" not in done.out
    assert "1–2" in done.out
    done = nightshift("compare", "plain", "mixed", "--where", "seed=0", "--storage", board)
    assert "unknown" in done.out
    assert "1 common seed: no interval" in done.out


def test_what_is_not_ranked_is_counted(nightshift, board):
    assert "not ranked: 1 pruned (--failures says why)" in nightshift("leaderboard", "--storage", board).out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("compare", "plain", "mixt"), "did you mean mixed"),
        (("compare", "plain", "mixed", "--metric", "iou.cra"), "did you mean iou.car"),
        (("compare", "plain", "mixed", "--metric", "miou", "--per-class"), "--metric and --per-class exclude"),
        (("leaderboard", "--csv", "--latex"), "--csv and --latex exclude each other"),
        (("leaderboard", "--rows", "--wide"), "--rows and --wide exclude each other"),
        (("leaderboard", "--group", "amr"), "did you mean arm"),
        (("leaderboard", "--pareto", "second"), "did you mean seconds"),
        (("leaderboard", "--curves", "loss"), "no curve of metric 'loss'"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(nightshift, board, words, what):
    done = nightshift(*words, "--storage", board)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert what in done.err


def test_an_empty_leaderboard_says_so(nightshift, tmp_path):
    (tmp_path / "leaderboard" / "scores").mkdir(parents=True)
    for words in ((), ("--rows",), ("--wide",), ("--per-class",), ("--cost", "sweep"), ("--group", "arm")):
        done = nightshift("leaderboard", *words, "--storage", tmp_path)
        assert (done.code, done.err) == (0, ""), words
        assert "no row: nothing has ended yet" in done.out


def test_a_file_of_a_newer_schema_is_refused_in_one_line(nightshift, board):
    path = next((board / "leaderboard" / "scores").glob("*.parquet"))
    table = pq.read_table(path)
    newer = pa.array([SCHEMA_VERSION + 1] * len(table), type=pa.int64())
    pq.write_table(table.set_column(0, "schema_version", newer), path.with_name("newer.parquet"))
    for words in (("leaderboard",), ("compare", "plain", "mixed")):
        done = nightshift(*words, "--storage", board)
        assert (done.code, done.out) == (2, "")
        assert done.err.count("\n") == 1
        assert f"schema version {SCHEMA_VERSION + 1}" in done.err
        assert "update nightshift" in done.err


def ledger(storage, request, ended):
    """A sweep's records: ``ended`` is alpha → {seed: status}, in the order asked."""
    root = storage / "sweeps" / request.name
    root.mkdir(parents=True)
    replace_json(root / "request.json", request.model_dump(mode="json"))
    for number, (alpha, seeds) in enumerate(ended.items()):
        for kind in ("asked", "attempts", "outcomes"):
            (root / kind).mkdir(exist_ok=True)
        varied = {"train.loss.alpha": alpha}
        replace_json(root / "asked" / f"c{number:04d}.json", {"params": varied, "distributions": {}, "base": "b"})
        for seed, status in seeds.items():
            name = f"t{number}{seed}.000.json"
            replace_json(root / "attempts" / name, {"varied": varied, "seed": seed})
            if status:
                replace_json(root / "outcomes" / name, {"status": status})


def test_a_sweep_in_progress_shows_its_rows_and_how_many_are_open(nightshift, board):
    ledger(
        board, SweepRequest(experiment="demo", trials=4, seeds=2, name="one"), {0.1: {0: "finished", 1: None}, 0.2: {}}
    )
    done = nightshift("leaderboard", "--storage", board)
    # Eight trials, of which one has ended.
    assert f"one: 1 trials have ended, 7 are open (`nightshift resume one --storage {board}`" in done.out
    assert "51.5 ± 5.8" in done.out
    assert done.err == ""


def test_seeds_of_a_pruned_configuration_are_not_open(tmp_path):
    request = SweepRequest(experiment="demo", trials=3, seeds=3, scheduler="asha", name="raced")
    ledger(tmp_path, request, {0.1: {0: "pruned"}, 0.2: {0: "finished", 1: "finished"}, 0.3: {0: "finished"}})
    (found,) = pending(tmp_path, ["raced", "no-sweep"])
    assert (found.ended, found.open) == (4, 3)
    done = SweepRequest(experiment="demo", trials=1, name="done")
    ledger(tmp_path, done, {0.1: {0: "failed"}})
    assert pending(tmp_path, ["done"]) == []
