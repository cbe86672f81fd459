from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tests.trainers.data.miniatures import SIZE, TREES, camvid, cityscapes, save, save_pair, toy_tree
from trainers.data.checks import check_split
from trainers.data.datasets import DATASETS, DataSplit, open_listing, open_split
from trainers.data.image_files import decode
from trainers.data.images import SplitImages
from trainers.data.render_city_config import Domain, Part
from trainers.data.toy_city import DOMAINS
from trainers.errors import UserError

LABELED = [name for name, tree in TREES.items() if tree.labeled]


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


@pytest.fixture(params=LABELED)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, DataSplit]:
    made = TREES[request.param]
    return made.make(tmp_path / request.param), split(f"{request.param}/{made.labeled}")


def problem(root: Path, which: DataSplit) -> str:
    """The one line that loading the split raises; checking it must find the same."""

    def load() -> None:
        images = SplitImages({which.dataset: root}, which, height=32, width=32)
        for index in range(len(images)):
            images[index]

    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    assert "\n" not in message
    return message


def test_there_is_a_miniature_of_every_data_set():
    assert TREES.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", LABELED)
def test_the_true_layout_is_read_in_order(name: str, tmp_path: Path):
    root = TREES[name].make(tmp_path)
    which = split(f"{name}/{TREES[name].labeled}")
    samples = open_split({name: root}, which)
    assert len(samples) == TREES[name].count
    assert samples == sorted(samples, key=lambda sample: sample.image)
    assert all(path.is_file() for sample in samples for path in sample.files())
    assert all(sample.label is not None for sample in samples)
    assert list(check_split(root, samples, which)) == [None] * len(samples)
    assert which.split not in DATASETS[name].unlabeled


@pytest.mark.parametrize(
    ("name", "part", "count"), [(name, *one) for name, tree in TREES.items() for one in tree.unlabeled.items()]
)
def test_splits_without_labels_are_read_and_have_none(name: str, part: str, count: int, tmp_path: Path):
    root = TREES[name].make(tmp_path)
    samples = open_split({name: root}, split(f"{name}/{part}"))
    assert len(samples) == count
    assert all(sample.label is None for sample in samples)
    assert part in DATASETS[name].unlabeled


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_said_of_a_split_is_said_of_one_that_exists(name: str):
    dataset = DATASETS[name]
    assert dataset.unlabeled | dataset.paired | set(dataset.images) | set(dataset.side_files) <= set(dataset.splits)
    assert len(set(dataset.splits)) == len(dataset.splits)


def test_cityscapes_labels_are_the_ids_beside_their_image(tmp_path: Path):
    sample = open_split({"cityscapes": cityscapes(tmp_path)}, split("cityscapes/train"))[2]
    assert sample.image == tmp_path / "leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png"
    assert sample.label == tmp_path / "gtFine/train/bochum/bochum_000000_000313_gtFine_labelIds.png"


def test_toy_city_keeps_its_domains_apart(tmp_path: Path):
    samples = open_split({"toy_city": toy_tree(tmp_path)}, split("toy_city/night_val"))
    assert all(sample.image.is_relative_to(tmp_path / "night") for sample in samples)


def test_the_splits_of_toy_city_are_what_can_be_rendered():
    rendered = {f"{domain}_{part}" for domain in get_args(Domain) for part in get_args(Part)}
    hidden = {"night_pairs_a"}  # Labeled for evaluation alone.
    hidden |= {f"clear_{part}" for part in ("train", "val", "test", "held_out")}  # Beside the fog.
    assert set(DATASETS["toy_city"].splits) - DATASETS["toy_city"].unlabeled == rendered | hidden
    assert set(get_args(Domain)) <= set(DOMAINS)


def test_camvid_takes_png_images_too_and_a_split_without_labels(tmp_path: Path):
    root = camvid(tmp_path)
    image = root / "images" / "0001TP_006690.jpg"
    save(image.with_suffix(".png"), np.zeros((*SIZE[::-1], 3), dtype=np.uint8))
    image.unlink()
    assert open_split({"camvid": root}, split("camvid/day_train"))[0].image.suffix == ".png"
    (sample,) = open_split({"camvid": root}, split("camvid/dusk_adapt"))
    assert sample.label is None
    _, label = SplitImages({"camvid": root}, split("camvid/dusk_adapt"), height=32, width=32)[0]
    assert (label == 255).all()


def test_labels_become_train_ids_before_they_are_resized(tmp_path: Path):
    images = SplitImages({"camvid": camvid(tmp_path)}, split("camvid/day_train"), height=32, width=64)
    image, label = images[0]
    assert image.shape == (3, 32, 64)
    assert set(label.unique().tolist()) == {0}
    assert set(images[1][1].unique().tolist()) == {255}


def test_labels_are_resized_without_mixing_them(tmp_path: Path):
    root = camvid(tmp_path)
    rng = np.random.default_rng(0)
    save(root / "labels" / "0001TP_006690.png", rng.choice([0, 3, 10], size=SIZE[::-1]).astype(np.uint8))
    for height, width in ((32, 64), (4, 5)):
        _, label = SplitImages({"camvid": root}, split("camvid/day_train"), height=height, width=width)[0]
        assert set(label.unique().tolist()) == {10, 0, 18}


def test_an_unknown_folder_names_the_setting():
    with pytest.raises(UserError, match=r"no folder is known .* --set data\.camvid\.root=DIR"):
        open_split({}, split("camvid/day_train"))


def test_a_missing_root_is_named_with_its_layout(tree: tuple[Path, DataSplit], tmp_path: Path):
    _, which = tree
    message = problem(tmp_path / "absent", which)
    assert str(tmp_path / "absent") in message
    assert DATASETS[which.dataset].layout in message
    with pytest.raises(UserError, match="does not exist"):
        open_listing(tmp_path / "absent", which, must_exist=False)


def test_an_empty_root_is_named_with_its_layout(tree: tuple[Path, DataSplit], tmp_path: Path):
    _, which = tree
    (tmp_path / "empty").mkdir()
    message = problem(tmp_path / "empty", which)
    assert str(tmp_path / "empty") in message
    assert DATASETS[which.dataset].layout in message


def test_an_empty_list_is_named(tmp_path: Path):
    assert "no image of camvid/day_val" in problem(camvid(tmp_path), split("camvid/day_val"))


def paths(root: Path, which: DataSplit, number: int) -> tuple[Path, Path]:
    sample = open_split({which.dataset: root}, which)[number]
    assert sample.label is not None
    return sample.image, sample.label


def damages() -> dict[str, tuple[Callable[[Path, Path], object], str]]:
    """By name: what is done to an image and its label, and what the message says."""

    def tear(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:40])

    height, width = SIZE[::-1]
    return {
        "image without label": (lambda _, label: label.unlink(), "does not exist"),
        "sizes that differ": (
            lambda _, label: save(label, np.full((height, width + 1), 1, dtype=np.uint8)),
            "is 8×6 but its label .* is 9×6; both must have one size",
        ),
        "a torn image": (lambda image, _: tear(image), "cannot be decoded"),
        "a torn label": (lambda _, label: tear(label), "cannot be decoded"),
        "an image that is none": (lambda image, _: image.write_text("hello"), "cannot be decoded"),
        "an empty file": (lambda _, label: label.write_bytes(b""), "cannot be decoded"),
        "label ids outside the map": (
            lambda _, label: save(label, np.full((height, width), 77, dtype=np.uint8)),
            r"label ids \[77\], which are not in the map",
        ),
        "a color label": (
            lambda _, label: save(label, np.zeros((height, width, 3), dtype=np.uint8)),
            "has mode RGB: a label PNG holds one 8-bit index per pixel",
        ),
        "a 16-bit label": (lambda _, label: save(label, np.zeros((height, width), dtype=np.uint16)), "has mode I;16"),
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_named_by_loading_and_by_checking(tree: tuple[Path, DataSplit], damage: str):
    root, which = tree
    break_it, says = damages()[damage]
    pair = paths(root, which, 1)
    before = [path.read_bytes() for path in pair]
    break_it(*pair)
    if damage == "label ids outside the map" and which.dataset == "gta5":  # Its ids above 33 are all void: no damage.
        listing = open_listing(root, which, must_exist=True)
        assert [one for one in check_split(root, listing, which) if one is not None] == []
        return
    (broken,) = [path for path, content in zip(pair, before, strict=True)
                 if not path.exists() or path.read_bytes() != content]  # fmt: skip
    message = problem(root, which)
    assert str(broken) in message
    found = list(check_split(root, open_listing(root, which, must_exist=True), which))
    assert [one is not None for one in found] == [number == 1 for number in range(len(found))]
    assert str(broken) in found[1]
    for text in (message, found[1]):
        with pytest.raises(UserError, match=says):
            raise UserError(text)


def test_several_missing_files_are_counted(tmp_path: Path):
    root = cityscapes(tmp_path)
    for path in root.glob("gtFine/train/*/*_labelIds.png"):
        path.unlink()
    assert "aachen_000000_000019_gtFine_labelIds.png, which does not exist (and 2 more" in problem(
        root, split("cityscapes/train")
    )


def test_a_list_cannot_leave_its_root(tmp_path: Path):
    root = camvid(tmp_path / "camvid")
    save_pair(tmp_path / "secret.jpg", tmp_path / "secret.png", 3)
    (root / "day_train.txt").write_text("0001TP_006690\n../../secret\n")
    message = problem(root, split("camvid/day_train"))
    assert "'images/../../secret.jpg' in a list of" in message
    assert "must stay inside the root" in message


def test_a_missing_list_is_named(tmp_path: Path):
    root = camvid(tmp_path)
    (root / "day_train.txt").unlink()
    assert f"{root / 'day_train.txt'} is missing" in problem(root, split("camvid/day_train"))
    assert open_listing(root, split("camvid/day_train"), must_exist=False) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("camvidd/day_train", "unknown data set 'camvidd': did you mean 'camvid'"),
        ("camvid/day_trian", "camvid has no split 'day_trian': did you mean 'day_train'"),
        ("toy_city/dawn_val", "toy_city has no split 'dawn_val': did you mean .*'day_val'"),
        ("camvid", "written DATASET/SPLIT, got 'camvid'"),
    ],
)
def test_a_misspelt_split_is_answered_with_the_nearest(name: str, says: str):
    with pytest.raises(ValueError, match=says):
        split(name)


def test_a_split_is_written_as_it_is_read():
    assert split("camvid/day_val").model_dump() == "camvid/day_val" == str(split("camvid/day_val"))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_no_torn_or_garbled_file_escapes_as_another_error(suffix: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    path = tmp_path / f"picture{suffix}"
    save(path, rng.integers(256, size=(20, 20, 3), dtype=np.uint8))
    whole = path.read_bytes()
    garbled = [bytearray(whole) for _ in range(150)]
    for content in garbled:
        content[rng.integers(len(whole))] = rng.integers(256)
    garbled.append(bytearray(whole[:11] + b"\x05" + whole[12:]))  # In a PNG: a header that is too short.
    refused = []
    for content in [*garbled, *(whole[:length] for length in [*range(50), *range(50, len(whole), 9)])]:
        path.write_bytes(content)
        try:
            decode(path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(message.startswith(f"{path} cannot be decoded") for message in refused)
