"""What is read of a data set before anything starts: for a plan sizes and ends of files, for a training every image."""

import json

import numpy as np
import pytest
from PIL import Image

from orchestrator import data_sight
from orchestrator.cli import bar as bars
from orchestrator.data_sight import check_files, split_fingerprint
from orchestrator.signals import Interrupted
from trainers.data import checks
from trainers.data.datasets import DataSplit
from trainers.errors import UserError

SPLIT = DataSplit.model_validate("images/all")


@pytest.fixture
def roots(tmp_path):
    """Twenty photographs."""
    root = tmp_path / "photographs"
    root.mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / f"{number:02d}.png")
    return {"images": root}


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded."""
    names = []
    problem = checks._problem

    def counting(sample, **options):
        names.append(sample.image.name)
        return problem(sample, **options)

    monkeypatch.setattr(checks, "_problem", counting)
    return names


def checked(storage):
    (path,) = (storage / "fingerprints" / "checked").glob("*.json")
    return json.loads(path.read_text())["checked"]


def test_a_fingerprint_decodes_nothing(tmp_path, roots, decoded):
    known = split_fingerprint(tmp_path / "storage", roots, SPLIT)
    assert split_fingerprint(tmp_path / "storage", roots, SPLIT) == known
    assert decoded == []


def test_files_are_decoded_once_and_again_when_one_changes(tmp_path, roots, decoded):
    check_files(tmp_path / "storage", roots, SPLIT)
    check_files(tmp_path / "storage", roots, SPLIT)
    assert sorted(decoded) == [f"{number:02d}.png" for number in range(20)]
    Image.new("RGB", (9, 9)).save(roots["images"] / "03.png")
    check_files(tmp_path / "storage", roots, SPLIT)
    assert len(decoded) == 40


def test_a_check_that_is_interrupted_goes_on_where_it_was(tmp_path, roots, decoded):
    class Interruption(BaseException):
        pass

    def interrupted(items, total, description):
        for number, item in enumerate(items):
            if number == 12:
                raise Interruption
            yield item

    with pytest.raises(Interruption):
        check_files(tmp_path / "storage", roots, SPLIT, interrupted)
    assert checked(tmp_path / "storage") == 12
    decoded.clear()
    check_files(tmp_path / "storage", roots, SPLIT)
    assert sorted(decoded) == [f"{number:02d}.png" for number in range(12, 20)]
    assert checked(tmp_path / "storage") == 20


def test_a_bad_file_is_named_each_time_and_what_was_good_is_not_read_again(tmp_path, roots, decoded):
    (roots["images"] / "15.png").write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(UserError, match=r"15\.png"):
            check_files(tmp_path / "storage", roots, SPLIT)
    assert checked(tmp_path / "storage") == 15
    assert decoded.count("03.png") == 1


def test_a_remembered_check_that_is_damaged_is_made_again(tmp_path, roots, decoded):
    check_files(tmp_path / "storage", roots, SPLIT)
    (path,) = (tmp_path / "storage" / "fingerprints" / "checked").glob("*.json")
    path.write_text('{"split": "images/all", "checked": "all"}')
    check_files(tmp_path / "storage", roots, SPLIT)
    assert len(decoded) == 40


def test_show_decodes_nothing_and_a_run_decodes_all(nightshift, tmp_path, camvid_root, decoded):
    words = ("camvid", "--set", f"data.camvid.root={camvid_root}", "--storage", tmp_path / "storage")
    assert nightshift("show", *words).code == 0
    assert decoded == []
    assert nightshift("sweep", *words, "--dry-run", "--trials", "1").code == 0
    assert decoded


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--set", "train.height=40"), "height"),
        (("sweep", "--scheduler", "asha", "--cost", "seconds"), "two objectives"),
        (("sweep", "--set", "train.height=40"), "height"),
    ],
)
def test_a_mistake_in_the_settings_is_answered_before_images_are_decoded(
    nightshift, tmp_path, camvid_root, decoded, words, told
):
    where = ("--set", f"data.camvid.root={camvid_root}", "--storage", tmp_path / "storage")
    done = nightshift(words[0], "camvid", *words[1:], *where)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert told in done.err
    assert decoded == []


def test_a_stage_by_itself_shows_the_reading_too(nightshift, tmp_path, camvid_root, monkeypatch):
    told = []

    def noting(items, total, description):
        told.append((total, description))
        return items

    monkeypatch.setattr("orchestrator.cli.data.bar", noting)
    words = ("--root", camvid_root, "--split", "day_val", "--height", "32", "--width", "32")
    done = nightshift("data", "pack", "camvid", *words, "--storage", tmp_path / "storage")
    assert done.code == 0, done.err
    assert (2, "first sight of camvid/day_val") in told


def test_notes_are_told_when_a_check_is_interrupted(tmp_path, roots, capsys):
    """A start that continues does not read these files again."""

    def interrupted(items, total, description):
        for number, item in enumerate(items):
            if number == 12:
                raise Interrupted(2)
            yield item

    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(roots["images"] / "03.png")
    with pytest.raises(Interrupted):
        check_files(tmp_path / "storage", roots, SPLIT, interrupted)
    assert "1 images have 16 bits" in capsys.readouterr().err
    check_files(tmp_path / "storage", roots, SPLIT)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(clock))
    assert list(bars.bar(range(9), 9, "first sight of x")) == list(range(9))
    lines = capsys.readouterr().err.splitlines()
    assert 1 < len(lines) < 5
    assert all(line.startswith("first sight of x: ") and line.endswith(" of 9") for line in lines)


def test_what_is_remembered_is_saved_while_a_check_goes_on(tmp_path, roots, monkeypatch):
    seen = []
    monkeypatch.setattr(data_sight, "SAVE_SECONDS", 0.0)

    def watching(items, total, description):
        for item in items:
            yield item
            if (tmp_path / "storage" / "fingerprints").is_dir():
                seen.append(checked(tmp_path / "storage"))

    check_files(tmp_path / "storage", roots, SPLIT, watching)
    assert len(set(seen)) > 3
