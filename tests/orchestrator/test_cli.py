import io
import json
import re
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from orchestrator.experiments import EXPERIMENTS
from results.store import write_scores
from tests.orchestrator import fakes

VERBS = [
    ("run",), ("sweep",), ("confirm",), ("list",), ("show",), ("leaderboard",), ("compare",),
    ("data", "make"), ("data", "check"), ("data", "index"),
    ("data", "pack"), ("data", "fog"),
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_every_verb_ends_with_an_example(nightshift, verb):
    done = nightshift(*verb, "--help")
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    assert f"Example: nightshift {' '.join(verb)}" in text
    assert done.out.count("Example:") == 1


def test_the_help_lists_every_verb(nightshift):
    done = nightshift("--help")
    assert done.code == 0
    for verb in ("run", "sweep", "confirm", "list", "show", "leaderboard", "compare", "data"):
        assert re.search(rf"^\W*{verb} ", done.out, re.MULTILINE), verb


def test_without_a_verb_the_help_is_printed_and_the_code_says_so(nightshift):
    done = nightshift()
    assert done.code == 2
    assert "leaderboard" in done.out + done.err
    assert "Traceback" not in done.err


def test_the_module_is_the_command(python):
    done = python("-m", "orchestrator", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "leaderboard" in done.stdout


def test_the_module_ends_with_the_code_and_line_of_the_command(python, tmp_path):
    done = python("-m", "orchestrator", "run", "dmeo", "--storage", tmp_path / "storage")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nightshift: unknown experiment 'dmeo': did you mean 'demo'?\n"


HEAVY = ("torch", "torchvision", "ray", "pandas", "pyarrow", "optuna", "segmentation_models_pytorch", "scipy")
LIGHT = """
import sys
sys.argv = ["nightshift", *sys.argv[1:]]
from orchestrator.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code in (None, 0, 2), stop.code
print("loaded:", *[name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("data", "--help"), ("list",)], ids=" ".join)
def test_what_should_answer_at_once_imports_nothing_heavy(python, words):
    done = python("-c", LIGHT.format(heavy=HEAVY), *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("words", [("run", "dmeo"), ("sweep", "demo", "--set", "x.y=1"), ("show", "demo", "--seed")])
def test_a_wrong_name_is_answered_without_torch_and_ray(python, words):
    done = python("-c", LIGHT.format(heavy=("torch", "ray", "segmentation_models_pytorch", "timm")), *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("nightshift: ")
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_a_leaderboard_opens_without_torch_and_ray(python):
    loaded = (
        f"print(*[name for name in {('torch', 'ray', 'optuna', 'orchestrator', 'trainers')} if name in sys.modules])"
    )
    done = python("-c", f"import sys, results.leaderboard; {loaded}")
    assert (done.returncode, done.stdout) == (0, "\n")


def test_the_registry_imports_neither_ray_nor_pandas(python):
    loaded = f"print(*[name for name in {('ray', 'pandas', 'pyarrow', 'optuna', 'torch')} if name in sys.modules])"
    done = python("-c", f"import sys, trainers.registry; {loaded}")
    assert (done.returncode, done.stdout) == (0, "\n")


def test_list_names_experiments_arms_and_searches(nightshift):
    done = nightshift("list")
    assert done.code == 0
    for part in ("demo:", "camvid:", "arms: supervised", "searches: loss_alpha", "presets: toy_city"):
        assert part in done.out
    listed = {line["experiment"]: line for line in json.loads(nightshift("list", "--json").out)}
    assert set(listed) == set(EXPERIMENTS) >= {"demo", "camvid", "toy_city", "gta5_to_cityscapes"}
    assert listed["demo"]["arms"] == ["supervised"]


def test_show_gives_the_graph_and_changes_nothing(nightshift, tmp_path):
    storage = tmp_path / "storage"
    done = nightshift("show", "demo", "--storage", storage)
    assert (done.code, done.err) == (0, "")
    for part in ("city", "train", "night_test@final", "miss", "no artifact of supervised yet", "would make 10 stages"):
        assert part in done.out
    trial = fakes.trial(storage, scope="declared")
    assert f"arm supervised: trial {trial.id}, configuration {trial.config_hash}" in done.out
    stages = json.loads(nightshift("show", "demo", "--storage", storage, "--json").out)["stages"]
    assert {stage["name"]: stage["key"] for stage in stages} == {name: one.key for name, one in trial.planned.items()}
    assert {stage["hit"] for stage in stages} == {False}
    assert not storage.exists()


def test_show_counts_a_stage_that_several_arms_share_once(nightshift, tmp_path):
    done = nightshift("show", "night_self_training", "--storage", tmp_path)
    assert "would make 273 stages" in done.out  # Under 303 names: arms call the same evaluations by their own.


@pytest.mark.parametrize("words", [("show", "camvid"), ("sweep", "camvid", "--dry-run", "--trials", "2")])
def test_looking_keeps_nothing_but_fingerprints_of_data(nightshift, tmp_path, camvid_root, words):
    storage = tmp_path / "storage"
    done = nightshift(*words, "--set", f"data.camvid.root={camvid_root}", "--storage", storage)
    assert done.code == 0, done.err
    assert [path.name for path in storage.iterdir()] == ["fingerprints"]


def test_show_follows_the_command_line(nightshift, tmp_path):
    (tmp_path / "settings.yaml").write_text("train: {loss: {alpha: 0.125}}\n")
    done = nightshift("show", "demo", "--fields", "--config", tmp_path / "settings.yaml", "--set", "train.batch_size=3")
    assert done.code == 0
    assert "train.loss.alpha = 0.125" in done.out
    assert "train.batch_size = 3" in done.out
    assert "Share of cross-entropy in [0, 1]" in done.out


@pytest.fixture
def board(tmp_path):
    """Two configurations over two seeds each, and a failure."""

    def row(number, alpha, seed, miou, **changes):
        varied = json.dumps({"train.loss.alpha": alpha})
        return {
            "sweep": "one", "trial": f"t{number}", "arm": "supervised", "attempt": 0, "experiment": "demo",
            "config_hash": f"c{alpha}", "seed": seed, "seed_scope": "last", "params": varied, "varied": varied,
            "created_utc": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number), "status": "finished",
            "evaluation_set": "day_val", "split_role": "select", "checkpoint": "best", "miou": miou,
            **changes,
        }  # fmt: skip

    nothing = {"status": "failed", "evaluation_set": None, "split_role": None, "checkpoint": None}
    rows = [
        row(0, 0.25, 0, 0.50),
        row(1, 0.25, 1, 0.54),
        row(2, 0.75, 0, 0.30),
        row(3, 0.75, 1, 0.32),
        row(4, 0.5, 0, None, message="out of memory", failure_class="out_of_memory", **nothing),
        row(5, 0.25, 0, 0.7, sweep="two"),
    ]
    for one in rows:
        write_scores(tmp_path, [one])
    return tmp_path


def read_csv(done):
    assert done.code == 0, done.err
    return pd.read_csv(io.StringIO(done.out))


def test_the_leaderboard_groups_configurations_over_their_seeds(nightshift, board):
    done = nightshift("leaderboard", "--storage", board, "--sweep", "one")
    assert (done.code, done.err) == (0, "")
    table = json.loads(nightshift("leaderboard", "--storage", board, "--sweep", "one", "--json").out)
    means = {line["config_hash"]: (line["n"], line["mean"]) for line in table}
    assert means["c0.25"] == (2, pytest.approx(0.52))
    assert means["c0.75"] == (2, pytest.approx(0.31))
    assert sum(line["failed"] for line in table) == 1


def test_rows_are_filtered_sorted_and_limited(nightshift, board):
    rows = ("leaderboard", "--storage", board, "--rows", "--csv")
    assert read_csv(nightshift(*rows, "--where", "miou>0.31", "--sort", "miou"))["miou"].tolist() == [
        0.7,
        0.54,
        0.5,
        0.32,
    ]
    assert read_csv(nightshift(*rows, "--where", "miou>0.31", "--where", "seed=1"))["trial"].tolist() == ["t1", "t3"]
    assert read_csv(nightshift(*rows, "--where", "status=failed"))["message"].tolist() == ["out of memory"]
    assert read_csv(nightshift(*rows, "--where", "params.train.loss.alpha<0.5", "--sweep", "two"))["miou"].tolist() == [
        0.7
    ]
    assert len(read_csv(nightshift(*rows, "--limit", "2"))) == 2
    assert read_csv(nightshift(*rows, "--columns", "trial, miou", "--limit", "1")).columns.tolist() == ["trial", "miou"]


def test_the_table_shows_what_varies(nightshift, board):
    done = nightshift("leaderboard", "--storage", board, "--rows", "--sort", "miou")
    assert done.code == 0
    for part in ("t0", "day_val", "0.54", "alpha", "0.75", "failed"):
        assert part in done.out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--sort", "miuo"), "did you mean miou?"),
        (("--where", "miuo>0.3"), "miou"),
        (("--where", "miou 0.3"), "miou 0.3"),
        (("--where", "miou>high"), "'high'"),
        (("--columns", "trail"), "trial"),
        (("--metric", "arm"), "'arm'"),
        (("--sweep", "on"), "did you mean one?"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(nightshift, board, words, what):
    done = nightshift("leaderboard", "--storage", board, *(() if "--metric" in words else ("--rows",)), *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert what in done.err


def test_a_torn_file_is_named_and_skipped(nightshift, board):
    torn = board / "leaderboard" / "scores" / "torn.parquet"
    torn.write_bytes(b"PAR1 nothing")
    done = nightshift("leaderboard", "--storage", board, "--rows", "--csv")
    assert len(read_csv(done)) == 6
    assert done.err.count("\n") == 1
    assert str(torn) in done.err


def test_the_published_leaderboard_opens(nightshift):
    done = nightshift("leaderboard", "--published", "--rows", "--json")
    assert done.code == 0
    assert isinstance(json.loads(done.out), list)


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x")])
def test_an_error_of_ours_is_no_mistake_of_the_user(nightshift, monkeypatch, error):
    def fail(*words):
        raise error

    monkeypatch.setattr("orchestrator.experiments.build", fail)
    with pytest.raises(type(error)):
        nightshift("run", "demo")


def test_an_interrupted_command_says_how_to_go_on(nightshift, monkeypatch):
    def interrupt(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.experiments.build", interrupt)
    done = nightshift("run", "demo")
    assert done.code == 130
    assert done.err == "nightshift: interrupted; the same command continues\n"
