"""The storage that a command line names: a folder, no URL, and writable only for verbs that write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.storage import existing_storage, resume_command, storage_folder
from tests.orchestrator import fakes
from tests.orchestrator.test_doctor import ATTEMPT, Ledger, row, write_scores
from trainers.errors import UserError

ROOT = Path(__file__).parents[2]
URLS = ["s3://bucket/runs", "gs://bucket/runs", "az://c/runs", "hdfs://host/runs", "file:///tmp/runs"]

VERBS = {
    "run": ["run", "demo"],
    "sweep": ["sweep", "demo"],
    "dry run": ["sweep", "demo", "--dry-run"],
    "resume": ["resume", "demo-loss_alpha"],
    "confirm": ["confirm", "demo-loss_alpha"],
    "show": ["show", "demo"],
    "leaderboard": ["leaderboard"],
    "compare": ["compare", "a", "b"],
    "report": ["report"],
    "doctor": ["doctor"],
    "gc": ["gc"],
    "predict": ["predict", "artifact:ab", "--data", ".", "--output", "predicted"],
    "pack": ["data", "pack", "camvid", "--root", ".", "--split", "day_val", "--height", "8", "--width", "8"],
    "fog": ["data", "fog", "--root", "."],
    "translate": ["data", "translate", "artifact:ab", "--dataset", "images", "--root", "."],
}


def one_line(done, *parts):
    assert done.code == 2, done
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    for part in parts:
        assert part in done.err, done.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_url_and_makes_no_folder_of_it(nightshift, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    done = nightshift(*VERBS[verb], "--storage", "s3://bucket/runs")
    one_line(done, "--storage s3://bucket/runs is a URL", "mounted")
    monkeypatch.setenv("NIGHTSHIFT_STORAGE", "gs://bucket/runs")
    one_line(nightshift(*VERBS[verb]), "$NIGHTSHIFT_STORAGE gs://bucket/runs is a URL")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", URLS)
def test_every_scheme_is_told_from_a_path(url):
    with pytest.raises(UserError, match=f"{url.partition(':')[0]}:/.* is a URL"):
        storage_folder(Path(url))


@pytest.mark.parametrize("name", ["runs", "a:b/runs", "./C:/runs", "s3/runs", "exp:1"])
def test_a_folder_with_a_colon_in_its_name_is_none(name):
    assert storage_folder(Path(name)) == Path.cwd() / name


OTHERS = {
    "--data-root": ["show", "camvid", "--data-root", "s3://bucket/data"],
    "data.camvid.root": ["show", "camvid", "--set", "data.camvid.root=s3://bucket/camvid"],
    "train.network.weights": ["show", "demo", "--set", "train.network.weights=https://host/resnet18.pth"],
    "--init": ["show", "demo", "--init", "s3://bucket/best.pt"],
    "--config": ["show", "demo", "--config", "s3://bucket/config.yaml"],
    "--root": ["data", "check", "camvid", "--root", "s3://bucket/camvid"],
    "--output": ["data", "make", "toy_city", "--output", "s3://bucket/city"],
    "CHECKPOINT": ["predict", "https://host/best.pt", "--data", ".", "--output", "predicted"],
}


@pytest.mark.parametrize("option", OTHERS)
def test_no_other_path_takes_a_url_either(nightshift, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    one_line(nightshift(*OTHERS[option]), f"{option} ", "://", "is a URL")
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == []


@pytest.mark.parametrize("verb", [["gc"], ["gc", "--delete"], ["doctor"], ["resume", "one"], ["confirm", "one"]])
def test_a_mistyped_storage_is_refused(nightshift, tmp_path, verb):
    one_line(nightshift(*verb, "--storage", tmp_path / "rums"), f"{tmp_path / 'rums'} does not exist", "--storage")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    one_line(nightshift(*verb, "--storage", tmp_path / "photos"), f"{tmp_path / 'photos'} is no storage", "--storage")
    assert not (tmp_path / "rums").exists()


@pytest.mark.parametrize("verb", [["leaderboard"], ["compare", "a", "b"], ["report"]])
def test_questions_to_a_mistyped_storage_are_refused(nightshift, tmp_path, verb):
    one_line(nightshift(*verb, "--storage", tmp_path / "rums"), str(tmp_path / "rums"), "holds no leaderboard")


def test_a_storage_is_told_by_what_it_holds(tmp_path):
    (tmp_path / "sweeps").mkdir()
    assert existing_storage(tmp_path) == tmp_path


def unwritable(words, folder):
    """Run the command where nothing below ``folder`` can be written, whoever runs this test."""
    drop = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override"]
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root, without a program that gives up root's right to write anywhere")
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        return subprocess.run(
            [*drop, sys.executable, "-m", "orchestrator", *map(str, words), "--storage", str(folder)],
            cwd=ROOT, text=True, capture_output=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, check=False,
        )  # fmt: skip
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def storage(tmp_path):
    ledger = Ledger(tmp_path / "storage", "s")
    ledger.finish("t0", ledger.begin("t0", ATTEMPT), {"status": "failed", "scores": {}})
    write_scores(tmp_path / "storage", [row(["k1"], experiment="demo", message="no luck", varied="{}")])
    return tmp_path / "storage"


READERS = {
    "show": (["show", "demo"], "a run would make"),
    "leaderboard": (["leaderboard", "--failures"], "no luck"),
    "doctor": (["doctor"], "0 problems"),
    "gc": (["gc"], "0.0 MB"),
}


@pytest.mark.parametrize("verb", READERS)
def test_verbs_that_only_read_need_no_right_to_write(storage, verb):
    words, expected = READERS[verb]
    done = unwritable(words, storage)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert list(storage.rglob(".*")) == []


def test_a_report_is_written_from_a_storage_that_cannot_be(storage, tmp_path):
    done = unwritable(["report", "--output", tmp_path / "report.html"], storage)
    assert done.returncode == 0, done.stderr
    assert "no luck" in (tmp_path / "report.html").read_text()


def test_a_run_in_a_storage_that_cannot_be_written_is_refused_with_the_cure(storage):
    done = unwritable(["run", "demo"], storage)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    for part in (str(storage), "chmod -R g+rwX", "--storage"):
        assert part in done.stderr


def test_a_fingerprint_that_cannot_be_remembered_is_computed(nightshift, tmp_path, camvid_root, monkeypatch):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("orchestrator.data_sight.replace_json", refuse)
    done = nightshift("show", "camvid", "--set", f"data.camvid.root={camvid_root}", "--storage", tmp_path / "none")
    assert done.code == 0, done.err
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("fake_methods")
def test_a_walk_still_makes_its_storage(tmp_path):
    fakes.walk(tmp_path / "new")
    assert existing_storage(tmp_path / "new")


def test_the_command_that_continues_names_a_storage_that_is_not_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_STORAGE", str(tmp_path / "mine"))
    assert resume_command(tmp_path / "mine", "x") == "nightshift resume x"
    assert resume_command(tmp_path / "an other", "x") == f"nightshift resume x --storage '{tmp_path}/an other'"
