import json
import os
import signal
from pathlib import Path

import pytest
import torch

from results.leaderboard import load

pytestmark = pytest.mark.integration

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "camvid"
STEPS = ("--set", "train.loop.steps=40", "--set", "train.loop.checkpoint_every_steps=3", "--cpus-per-worker", "1")


def everything(storage):
    """Every file of the artifacts and the leaderboard, with the time of its last change."""
    return {
        path: path.stat().st_mtime_ns
        for folder in ("artifacts", "leaderboard")
        for path in (storage / folder).rglob("*")
        if path.is_file()
    }


def trained(storage):
    (folder,) = (storage / "artifacts" / "supervised").iterdir()
    return folder


def checkpoints(storage):
    return sorted(path.name for path in storage.glob("partial/*/step-*"))


def assert_same_training(one, other):
    assert one.name == other.name
    for name in ("final.pt", "best.pt"):
        first, second = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        assert first["step"] == second["step"]
        assert first["weights"].keys() == second["weights"].keys()
        for tensor, value in first["weights"].items():
            assert torch.equal(value, second["weights"][tensor]), f"{name} differs in {tensor}"
    assert json.loads((one / "curves.json").read_text()) == json.loads((other / "curves.json").read_text())


def test_the_second_run_is_all_hits_and_says_so(nightshift, tiny, tmp_path):
    words = ("run", "demo", *tiny, "--set", "train.loop.steps=4", "--storage", tmp_path)
    first = nightshift(*words)
    assert first.returncode == 0, first.stderr
    assert "0 of 10 stages were hits" in first.stderr
    made = everything(tmp_path)
    second = nightshift(*words)
    assert second.returncode == 0, second.stderr
    assert "every stage is a hit" in second.stderr
    assert second.stderr.count(": hit saved") == 10
    assert second.stdout == first.stdout
    assert everything(tmp_path) == made
    assert list((tmp_path / "partial").rglob("*")) == []
    shown = nightshift("show", *words[1:])
    assert "every stage is a hit: a run costs nothing" in shown.stdout
    assert load(tmp_path)["trial"].nunique() == 1


@pytest.mark.slow
def test_two_runs_that_differ_in_the_loss_share_the_data(nightshift, tiny, tmp_path):
    words = ("run", "demo", *tiny, "--set", "train.loop.steps=2", "--storage", tmp_path)
    assert nightshift(*words, "--set", "train.loss.alpha=0").returncode == 0
    second = nightshift(*words, "--set", "train.loss.alpha=1")
    assert "1 of 10 stages were hits" in second.stderr
    assert "city: hit" in second.stderr


def test_a_killed_run_continues_from_its_checkpoint_to_the_same_bits(nightshift, tiny, tmp_path, wait_for):
    undisturbed = nightshift("run", "demo", *tiny, *STEPS, "--storage", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr

    storage = tmp_path / "killed"
    words = ("run", "demo", *tiny, *STEPS, "--storage", storage)
    killed = nightshift.start(*words)
    wait_for(lambda: checkpoints(storage), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (storage / "artifacts" / "supervised").exists(), "it was killed after the training"
    (checkpoint,) = checkpoints(storage)[-1:]

    again = nightshift(*words)
    assert again.returncode == 0, again.stderr
    assert f"train: continues at step {int(checkpoint.removeprefix('step-'))} of 40\n" in again.stderr
    assert "city: hit" in again.stderr
    assert_same_training(trained(storage), trained(tmp_path / "undisturbed"))
    rows, expected = load(storage), load(tmp_path / "undisturbed")
    assert rows["miou"].tolist() == expected["miou"].tolist()
    assert rows["trial"].tolist() == expected["trial"].tolist()
    assert list((storage / "partial").rglob("*")) == []


def test_a_damaged_checkpoint_is_an_error_that_names_it(nightshift, tiny, tmp_path, key_of):
    options = (*tiny, "--set", "train.loop.steps=4")
    partial = tmp_path / "partial" / key_of(tmp_path, "train", *options)
    state = partial / "step-00000002" / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no checkpoint")
    done = nightshift("run", "demo", *options, "--storage", tmp_path)
    assert done.returncode != 0
    assert str(state) in done.stderr
    assert f"delete {state.parent} to start this stage afresh" in done.stderr
    assert "Traceback" not in done.stderr
    assert state.read_bytes() == b"no checkpoint"
    assert not (tmp_path / "artifacts" / "supervised").exists()
    assert load(tmp_path)["status"].tolist() == ["failed"]

    state.unlink()
    state.parent.rmdir()
    again = nightshift("run", "demo", *options, "--storage", tmp_path)
    assert again.returncode == 0, again.stderr
    assert set(load(tmp_path)["status"]) == {"finished"}


@pytest.mark.slow
def test_two_commands_at_once_on_one_storage_train_once(nightshift, tiny, tmp_path):
    words = ("run", "demo", *tiny, "--set", "train.loop.steps=20", "--storage", tmp_path)
    processes = [nightshift.start(*words, "--name", name) for name in ("one", "two")]
    assert [process.wait(200) for process in processes] == [0, 0]
    told = [process.err.read_text() for process in processes]
    assert sum(text.count("train: done") for text in told) == 1
    assert len(list(tmp_path.glob("artifacts/supervised/*/manifest.json"))) == 1
    assert sorted(load(tmp_path)["sweep"].unique()) == ["one", "two"]


@pytest.mark.photographs
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not at ../shared/data/camvid")
def test_the_photographs_are_whole_and_can_be_trained_on(nightshift, tmp_path):
    checked = nightshift("data", "check", "camvid", "--root", "../shared/data/camvid")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "camvid: 499 images, 0 problems\n"
    sizes = ("train.height=64", "train.width=64", "train.loop.steps=2", "train.loop.log_every_steps=1")
    words = [word for field in ("data.camvid.root=../shared/data/camvid", *sizes) for word in ("--set", field)]
    done = nightshift("run", "camvid", *words, "--storage", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = load(tmp_path)
    assert sorted(rows["evaluation_set"].unique()) == ["day_val", "dusk_val"]
    assert rows["class_set"].unique().tolist() == ["camvid11"]
    assert rows["target_infomax"].notna().all()
