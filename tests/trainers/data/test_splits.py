"""Parts of splits: drawn at random, or listed."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.trainers.data.miniatures import gta5, save_image
from trainers.data.datasets import DataSplit, open_listing, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.layouts.gta5 import UNEQUAL
from trainers.errors import UserError


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pool")
    for number in range(30):
        save_image(root / f"{number:02d}.png")
    return root


def names(root: Path, written: str) -> list[str]:
    return [sample.image.name for sample in open_split({"images": root}, split(written))]


def test_a_count_draws_without_repeats_and_in_order(pool: Path):
    whole, some = names(pool, "images/all"), names(pool, "images/all:12")
    assert len(set(some)) == 12
    assert some == sorted(some)
    assert set(some) < set(whole)
    assert some == names(pool, "images/all:12@0")
    assert names(pool, "images/all:30") == names(pool, "images/all:-30") == whole


def test_smaller_counts_are_part_of_larger_ones_and_the_other_end_is_disjoint(pool: Path):
    few, more = (set(names(pool, f"images/all:{count}")) for count in (5, 12))
    assert few < more
    assert not more & set(names(pool, "images/all:-18"))
    assert more | set(names(pool, "images/all:-18")) == set(names(pool, "images/all"))


def test_a_seed_draws_others_and_every_image_is_as_likely(pool: Path):
    assert names(pool, "images/all:12@1") != names(pool, "images/all:12")
    drawn = [name for seed in range(60) for name in names(pool, f"images/all:10@{seed}")]
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 30
    assert 8 < counts.min() <= counts.max() < 34  # 20 are expected, with a deviation of 3.7.


def test_a_list_takes_what_it_names_in_any_form(tmp_path: Path):
    root = gta5(tmp_path)
    (root / "some.txt").write_text("images/00003.png\n\n00001\n./images/00001.png\n")
    for entries in ("images/00003.png\n00001", "00001.png\n00003.png\n", "\n00003\n00001\n00003\n"):
        (root / "some.txt").write_text(entries)
        samples = open_split({"gta5": root}, split("gta5/train:some.txt"))
        assert [sample.image.stem for sample in samples] == ["00001", "00003"]
        assert [sample.label.stem for sample in samples] == ["00001", "00003"]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("00001\n00009\n00010\n", "'00009' and 1 more, which the split has no image of"),
        ("00001\n../../secret.png\n", "'../../secret.png' in a list of .* must stay inside the root"),
        ("/etc/passwd\n", "'/etc/passwd' in a list of .* must stay inside the root"),
        ("02154\n", "'02154', which the split has no image of"),
    ],
)
def test_a_wrong_list_is_named(entries: str, says: str, tmp_path: Path):
    root = gta5(tmp_path)
    (root / "some.txt").write_text(entries)
    with pytest.raises(UserError, match=says) as error:
        open_split({"gta5": root}, split("gta5/train:some.txt"))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=says):  # That not all splits must be there excuses no list that is.
        open_listing(root, split("gta5/train:some.txt"), must_exist=False)


def test_a_missing_or_binary_list_is_named(tmp_path: Path):
    root = gta5(tmp_path)
    for written, says in (("absent.txt", "absent.txt is missing"), ("../x.txt", "must stay inside"), ("b", "no text")):
        (root / "b").write_bytes(b"\xff\xfe\x00\xd8")
        with pytest.raises(UserError, match=says):
            open_split({"gta5": root}, split(f"gta5/train:{written}"))


def test_a_count_over_what_there_is_names_both(pool: Path):
    for count in (31, -31):
        with pytest.raises(UserError, match=f"images/all:{count} asks for 31 images, and .* has 30 of all"):
            names(pool, f"images/all:{count}")


@pytest.mark.parametrize(
    "written", ["gta5/train", "gta5/train:2500", "gta5/train:-200", "gta5/train:9@7", "gta5/train:a.txt"]
)
def test_a_part_is_written_as_it_is_read(written: str):
    assert str(split(written)) == split(written).model_dump() == written
    assert split(split(written).model_dump()) == split(written)
    assert len({str(split(f"gta5/train:5@{seed}")) for seed in (0, 1)} | {"gta5/train:5"}) == 2


@pytest.mark.parametrize("written", ["gta5/train:0", "gta5/train:0@3"])
def test_a_part_of_nothing_is_refused(written: str):
    with pytest.raises(ValidationError, match="takes no image"):
        split(written)


def test_the_content_of_a_part_is_that_of_its_images(pool: Path):
    def content(written: str) -> str:
        return fingerprint(pool, [sample.image for sample in open_split({"images": pool}, split(written))])

    assert content("images/all:30") == content("images/all")
    assert content("images/all:29") != content("images/all")


def test_gta5_leaves_out_the_frames_of_unequal_size(tmp_path: Path):
    assert len(UNEQUAL) == 25
    samples = open_split({"gta5": gta5(tmp_path)}, split("gta5/train"))
    assert [sample.image.stem for sample in samples] == ["00001", "00002", "00003"]
