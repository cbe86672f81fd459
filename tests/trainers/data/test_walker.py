"""One walk for every layout: links are followed, hidden things left out, and whatever is left out is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data.folders import labeled_folder
from tests.trainers.data.miniatures import camvid, cityscapes
from trainers.data.checks import check_has_classes, leftovers, list_problems
from trainers.data.datasets import DataSplit, open_listing, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.walker import walk
from trainers.errors import UserError
from trainers.segmentation.supervised import check_labeled

TRAIN = DataSplit.model_validate("labeled_folder/train")


def names(root: Path, split: DataSplit) -> list[str]:
    return [sample.image.relative_to(root).as_posix() for sample in open_split({split.dataset: root}, split)]


def test_linked_folders_are_followed_and_a_loop_ends(tmp_path: Path):
    root = labeled_folder(tmp_path / "data")
    for kind in ("images", "labels"):
        elsewhere = tmp_path / "elsewhere" / kind
        elsewhere.mkdir(parents=True)
        (root / kind / "train" / "0.png").rename(elsewhere / "0.png")
        (root / kind / "train" / "more").symlink_to(elsewhere)
        (root / kind / "train" / "loop").symlink_to(root)
    assert names(root, TRAIN) == ["images/train/1.png", "images/train/2.png", "images/train/more/0.png"]
    assert walk(root / "images" / "train").loops == [root / "images/train/loop"]


def test_hidden_folders_and_forks_are_no_images_in_any_layout(tmp_path: Path):
    root, split = cityscapes(tmp_path), DataSplit.model_validate("cityscapes/train")
    before = names(root, split)
    city = root / "leftImg8bit/train/aachen"
    photo = next(city.iterdir())
    for copy in (city.parent / ".Trash" / photo.name, city / f"._{photo.name}", city.parent / "@eaDir" / photo.name):
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(photo.read_bytes())
    assert names(root, split) == before
    (hidden,) = leftovers(root, split, open_split({"cityscapes": root}, split))
    assert hidden.startswith("cityscapes/train: hidden: 3 (leftImg8bit/train/.Trash, leftImg8bit/train/@eaDir, ")


def test_labels_may_end_in_capitals(tmp_path: Path):
    root = labeled_folder(tmp_path)
    for path in (*root.glob("*/train/*.png"),):
        path.rename(path.with_suffix(".PNG"))
    assert len(names(root, TRAIN)) == 3


def test_what_is_not_read_is_counted_and_named(tmp_path: Path):
    root = labeled_folder(tmp_path)
    (root / "images/train/1.png").rename(root / "images/train/1.webp")
    samples = open_split({"labeled_folder": root}, TRAIN)
    assert leftovers(root, TRAIN, samples) == [
        "labeled_folder/train: files that are not read as images: 1 (images/train/1.webp)",
        "labeled_folder/train: labels without an image that is read: 1 (labels/train/1.png)",
    ]


def test_a_clean_folder_leaves_nothing_out(tmp_path: Path):
    root = labeled_folder(tmp_path)
    assert leftovers(root, TRAIN, open_split({"labeled_folder": root}, TRAIN)) == []


def test_a_broken_link_is_named_before_a_run(tmp_path: Path):
    root = labeled_folder(tmp_path)
    (root / "images/train/1.png").unlink()
    (root / "images/train/1.png").symlink_to("/nowhere/else.png")
    with pytest.raises(UserError, match=r"images/train/1.png, a broken link to /nowhere/else.png"):
        open_split({"labeled_folder": root}, TRAIN)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_list_may_have_a_byte_order_mark_and_other_encodings_are_named(encoding: str, tmp_path: Path):
    root, split = camvid(tmp_path), DataSplit.model_validate("camvid/day_train")
    expected = names(root, split)
    listing = root / "day_train.txt"
    listing.write_bytes(listing.read_text().encode(encoding))
    if encoding == "utf-8-sig":
        assert names(root, split) == expected
        return
    for read in (open_split, lambda roots, split: open_listing(root, split, must_exist=False)):
        with pytest.raises(UserError, match=r"day_train.txt is no UTF-8 but UTF-16"):
            read({"camvid": root}, split)


def test_lists_of_parts_are_checked_and_other_texts_are_no_lists(tmp_path: Path):
    root = labeled_folder(tmp_path)
    images = [sample.image for sample in open_split({"labeled_folder": root}, TRAIN)]
    (root / "some.txt").write_text("0.png\n2.png\n")
    (root / "README.txt").write_text("Photographs of a street.\n")
    assert list_problems(root, "labeled_folder", images) == []
    (root / "some.txt").write_text("0.png\n7.png\n8.png\n")
    assert list_problems(root, "labeled_folder", images) == [
        f"{root / 'some.txt'} names '7.png' and 1 more, which no split has an image of"
    ]


def test_a_name_that_is_no_utf_8_has_a_fingerprint(tmp_path: Path):
    root = labeled_folder(tmp_path)
    path = root / "images/train/caf\udce9.png"
    (root / "images/train/0.png").rename(path)
    first = fingerprint(root, [path])
    path.rename(root / "images/train/caf\udce8.png")
    assert fingerprint(root, [root / "images/train/caf\udce8.png"]) != first


def test_a_split_of_ignored_pixels_alone_neither_trains_nor_chooses(tmp_path: Path):
    root = labeled_folder(tmp_path, splits=("train", "val"))
    roots, val = {"labeled_folder": root}, DataSplit.model_validate("labeled_folder/val")
    check_labeled([TRAIN, val], roots)
    for path in (root / "labels/val").iterdir():
        Image.fromarray(np.full((32, 64), 255, dtype=np.uint8)).save(path)
    with pytest.raises(UserError, match="labeled_folder/val: every pixel of its 3 label") as error:
        check_labeled([TRAIN, val], roots)
    assert "\n" not in str(error.value)
    check_has_classes(roots, TRAIN)
