import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig

import psutil
import pytest
from PIL import Image
from pyarrow import parquet

from results.leaderboard import load

pytestmark = pytest.mark.integration

SHORT = ("--set", "train.loop.steps=4", "--set", "train.loop.log_every_steps=2")


def ledger(storage, name, kind):
    """Record → content."""
    folder = storage / "sweeps" / name / kind
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def mtimes(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def words(tiny):
    return ("sweep", "demo", "--name", "one", "--sampler", "random", "--seeds", "2", *tiny, *SHORT)


@pytest.fixture(scope="module")
def swept(nightshift, words, tmp_path_factory):
    """A sweep of 3 configurations over 2 seeds: the storage, and the command that made it."""
    storage = tmp_path_factory.mktemp("sweep")
    done = nightshift(*words, "--trials", "3", "--storage", storage)
    assert done.returncode == 0, done.stderr
    return storage, done


def test_every_trial_is_on_the_leaderboard_with_its_curves(swept):
    storage, _ = swept
    rows = load(storage, sweep="one")
    assert set(rows["status"]) == {"finished"}
    assert rows["trial"].nunique() == 6
    assert rows.groupby("trial").size().tolist() == [6] * 6
    assert rows["config_hash"].nunique() == rows["params.train.loss.alpha"].nunique() == 3
    assert rows.groupby("config_hash")["seed"].unique().map(sorted).tolist() == [[0, 1]] * 3
    assert set(rows["seed_scope"]) == {"last"}
    assert set(rows["attempt"]) == {0}
    curves = parquet.read_table(storage / "leaderboard" / "curves").to_pandas()
    assert set(curves["trial"]) == set(rows["trial"])
    losses = curves[curves["metric"] == "loss"]
    assert losses.groupby("trial")["step"].apply(list).tolist() == [[2, 4]] * 6


def test_what_no_searched_field_reaches_was_made_once(swept):
    storage, _ = swept
    assert len(list(storage.glob("artifacts/toy_city/*"))) == 1
    assert len(list(storage.glob("artifacts/supervised/*"))) == 6
    assert list(storage.glob("partial/*")) == []


def test_the_output_without_a_terminal_is_short_and_repeats_no_warning(swept):
    _, done = swept
    told = done.stderr.splitlines()
    assert len(told) <= 2 * 6, done.stderr
    ended = [line.split("  ") for line in told if "finished" in line]
    assert [parts[2] for parts in ended] == [f"{number}/6" for number in range(1, 7)]
    for line in told:
        assert "warn" not in line.lower()
    table = done.stdout.splitlines()
    assert "alpha" in done.stdout
    assert "36 rows of 6 trials" in table[-1]
    assert len(table) <= 10, done.stdout


def test_plain_pandas_reads_the_leaderboard_where_nothing_of_ours_is_installed(swept, tmp_path):
    storage, _ = swept
    code = """
import importlib.util, sys
sys.path.append(sys.argv[2])
for name in ("orchestrator", "trainers", "results", "search_spaces"):
    assert importlib.util.find_spec(name) is None, name
import pandas
frame = pandas.read_parquet(sys.argv[1] + "/leaderboard/scores")
print(len(frame), frame["miou"].between(0, 1).all(), len(frame["confusion"].iloc[0]), frame["iou.road"].dtype)
"""
    packages = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(storage), packages], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "36 True 361 float64\n"


def test_the_same_command_again_runs_nothing(nightshift, words, swept):
    storage, first = swept
    request = storage / "sweeps" / "one" / "request.json"  # What was asked for last, always written anew.
    before = mtimes(storage) | {request: 0}
    done = nightshift(*words, "--trials", "3", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "one: 6 of 6 trials have ended already\n"
    assert done.stdout == first.stdout
    assert mtimes(storage) | {request: 0} == before, "Ray was started for nothing"


def test_more_trials_keep_the_old_rows_and_add_new_ones(nightshift, words, swept, tmp_path):
    storage = tmp_path / "copy"
    shutil.copytree(swept[0], storage)
    old = load(storage)
    made = mtimes(storage / "artifacts")
    done = nightshift(*words, "--trials", "4", "--storage", storage)
    assert done.returncode == 0, done.stderr
    new = load(storage)
    assert new["trial"].nunique() == 8
    kept = new[new["trial"].isin(old["trial"])]
    assert sorted(kept["created_utc"]) == sorted(old["created_utc"])
    assert made.items() <= mtimes(storage / "artifacts").items()
    assert sum("finished" in line for line in done.stderr.splitlines()) == 2


def test_another_experiment_under_the_same_name_is_refused(nightshift, swept, tmp_path):
    storage, _ = swept
    before = mtimes(storage / "sweeps")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for grey, split in enumerate(("day_train", "day_val", "dusk_adapt", "dusk_val")):
        (tmp_path / f"{split}.txt").write_text(split)
        Image.new("RGB", (32, 32), (grey,) * 3).save(tmp_path / "images" / f"{split}.png")
        Image.new("L", (32, 32)).save(tmp_path / "labels" / f"{split}.png")
    done = nightshift("sweep", "camvid", "--set", f"data.camvid.root={tmp_path}", "--name", "one", "--storage", storage)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    for part in ("the sweep one exists with other settings", "'demo'", "'camvid'", "--name"):
        assert part in done.stderr
    assert mtimes(storage / "sweeps") == before


def test_a_lost_row_is_written_again_from_the_ledger(nightshift, words, swept, tmp_path):
    """Killed between the ledger and the leaderboard."""
    storage = tmp_path / "copy"
    shutil.copytree(swept[0], storage)
    whole = load(storage)
    trial = whole["trial"].iloc[0]
    for path in storage.glob(f"leaderboard/*/one-{trial}-*.parquet"):
        path.unlink()
    assert load(storage)["trial"].nunique() == 5
    done = nightshift(*words, "--trials", "3", "--storage", storage)
    assert done.returncode == 0, done.stderr
    again = load(storage)
    key = ["trial", "evaluation_set", "checkpoint"]
    assert again.sort_values(key)["miou"].tolist() == whole.sort_values(key)["miou"].tolist()
    assert len(list(storage.glob(f"leaderboard/curves/one-{trial}-*.parquet"))) == 1


def test_a_failed_trial_stays_on_the_leaderboard_and_takes_no_other_down(nightshift, tiny, tmp_path, key_of):
    """The checkpoint of one configuration of a grid cannot be read: an error, never a fresh start."""
    alpha = ("--set", "train.loss.alpha=0.5", "--seed-scope", "last")
    key = key_of(tmp_path, "train", *tiny, *SHORT, *alpha)
    state = tmp_path / "partial" / key / "step-00000002" / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no checkpoint")
    words = ("sweep", "demo", *tiny, *SHORT, "--sampler", "grid", "--trials", "3", "--storage", tmp_path)
    done = nightshift(*words)
    assert done.returncode == 1, done.stderr
    assert "1 of 3 trials failed" in done.stderr.splitlines()[-1]
    rows = load(tmp_path).drop_duplicates("trial").set_index("params.train.loss.alpha")
    assert rows["status"].to_dict() == {0.0: "finished", 0.5: "failed", 1.0: "finished"}
    assert rows.loc[0.5, "failure_class"] == "invalid"
    assert str(state) in rows.loc[0.5, "message"]
    assert str(state) in done.stderr
    assert "1 failed" in done.stdout
    again = nightshift(*words)
    assert again.returncode == 1
    assert "3 of 3 trials have ended already" in again.stderr
    assert len(ledger(tmp_path, "demo-loss_alpha", "attempts")) == 3


def trial_processes(driver):
    """The processes in which the trials of our own driver run."""
    children = []
    for child in psutil.Process(driver.pid).children(recursive=True):
        try:
            title = child.cmdline()[:1]
        except psutil.Error:
            continue
        if title and title[0].startswith("ray::ImplicitFunc"):
            children.append(child)
    return children


@pytest.mark.slow
def test_a_killed_trial_process_is_tried_again_and_the_trial_finishes(nightshift, tiny, tmp_path, wait_for):
    steps = ("--set", "train.loop.steps=60", "--set", "train.loop.checkpoint_every_steps=3")
    driver = nightshift.start(
        "sweep", "demo", *tiny, *steps, "--sampler", "grid", "--trials", "2", "--name", "one", "--storage", tmp_path
    )
    wait_for(lambda: list(tmp_path.glob("partial/*/step-*")), driver)
    victim = wait_for(lambda: trial_processes(driver), driver)[0]
    os.kill(victim.pid, signal.SIGKILL)
    assert driver.wait(150) == 0, driver.err.read_text()
    told = driver.err.read_text()
    assert told.count("its process died") == 1
    rows = load(tmp_path)
    assert set(rows["status"]) == {"finished"}
    assert rows["trial"].nunique() == 2
    attempts, outcomes = (ledger(tmp_path, "one", kind) for kind in ("attempts", "outcomes"))
    (killed,) = [name.removesuffix(".001") for name in attempts if name.endswith(".001")]
    assert len(attempts) == 3
    assert len(outcomes) == 2
    assert f"{killed}.001" in outcomes
    assert rows[rows["trial"] == killed]["attempt"].unique().tolist() == [1]
    assert rows.groupby("trial").size().tolist() == [6, 6]
