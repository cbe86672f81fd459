import json

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.components.configs import NetworkConfig
from trainers.context import PlainContext
from trainers.data.label_spaces import COLORS
from trainers.networks.segmentation import build_segmenter
from trainers.pictures import (
    BAR,
    IGNORED,
    MAX_WIDTH,
    WRONG,
    class_bars,
    error_picture,
    evenly_spaced,
    label_picture,
    write_panel,
)
from trainers.registry import method
from trainers.segmentation.trained import Trained, write_description


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.fixture
def segmenter(tmp_path):
    """The artifact of a training that has learned nothing."""
    torch.manual_seed(0)
    folder = tmp_path / "segmenter"
    folder.mkdir()
    weights = build_segmenter(NetworkConfig(), pretrained=False).state_dict()
    torch.save({"weights": weights, "step": 7}, folder / "best.pt")
    write_description(folder, Trained(NetworkConfig(), 32, 64))
    return folder


def evaluate(segmenter, toy_city, output, split="toy_city/day_val", **fields):
    output.mkdir(exist_ok=True)
    config = method("evaluation").config.model_validate({"split": split, **fields})
    inputs = {"segmenter": segmenter, "toy_city": toy_city}
    result = method("evaluation").load().run(config, inputs, output, None, PlainContext(output / "unused"))
    listing = output / "pictures.json"
    return result, json.loads(listing.read_text()) if listing.exists() else None


def test_a_panel_is_listed_tile_by_tile_and_a_second_of_its_name_replaces_it(tmp_path, photo):
    write_panel(tmp_path, "a", {"input": photo, "prediction": photo[..., 0] % 19}, title="first", caption="look")
    write_panel(tmp_path, "b", {"input": photo}, title="second")
    write_panel(tmp_path, "a", {"input": 255 - photo}, title="again")
    listed = json.loads((tmp_path / "pictures.json").read_text())
    assert [(one["title"], one["kind"], one["caption"]) for one in listed] == [
        ("first", "prediction", "look"),
        ("second", "input", ""),
        ("again", "input", ""),
    ]
    assert np.array_equal(np.asarray(Image.open(tmp_path / listed[2]["file"])), 255 - photo)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "pictures.json"]


@pytest.mark.parametrize("name", ["../../outside", "/etc/x", "..", "a b/c"])
def test_no_name_leaves_the_folder(tmp_path, photo, name):
    write_panel(tmp_path / "out", name, {"../up": photo}, title="t")
    written = list(tmp_path.rglob("*.png"))
    assert [path.parent for path in written] == [tmp_path / "out" / "pictures"]


def test_labels_become_the_colors_of_their_classes_and_the_rest_black():
    colored = np.asarray(label_picture(np.array([[0, 13, 255, 19]], dtype=np.uint8)).convert("RGB"))
    assert colored.tolist() == [[list(COLORS[0]), list(COLORS[13]), [0, 0, 0], [0, 0, 0]]]


def test_large_pictures_shrink_and_labels_stay_labels(tmp_path, photo):
    labels = np.array([[3, 7]], dtype=np.uint8).repeat(400, axis=0).repeat(500, axis=1)
    write_panel(tmp_path, "a", {"truth": labels}, title="t")
    picture = Image.open(tmp_path / "pictures/a-truth.png")
    assert picture.size == (MAX_WIDTH, round(400 * MAX_WIDTH / 1000))
    assert set(np.unique(np.asarray(picture))) == {3, 7}  # Nothing in between the two.


def test_errors_are_marked_and_what_is_right_or_ignored_is_not(photo):
    truth = np.zeros((4, 6), dtype=np.uint8)
    prediction = truth.copy()
    prediction[0, 0], prediction[0, 1], truth[0, 1], truth[0, 2] = 5, 5, 255, 255
    picture = error_picture(photo, truth, prediction)
    assert tuple(picture[0, 0]) == WRONG
    assert tuple(picture[0, 1]) == tuple(picture[0, 2]) == IGNORED
    right = picture.reshape(-1, 3)[3:]
    assert (right == right[:, :1]).all()  # Grey.
    assert right.min() >= 150


@pytest.mark.parametrize(("count", "total", "expected"), [(1, 9, [4]), (3, 9, [1, 4, 7]), (4, 2, [0, 1]), (0, 5, [])])
def test_fixed_images_lie_in_the_middles_of_equal_parts(count, total, expected):
    assert evenly_spaced(count, total) == expected


def test_an_evaluation_draws_the_same_images_whatever_its_batches_and_scores_as_without(segmenter, toy_city, tmp_path):
    result, listed = evaluate(segmenter, toy_city, tmp_path / "a", pictures=2, batch_size=1)
    bare, none = evaluate(segmenter, toy_city, tmp_path / "b", pictures=0)
    _, again = evaluate(segmenter, toy_city, tmp_path / "c", pictures=2, batch_size=3)
    assert none is None
    assert {**bare, "infomax": 0} == {**result, "infomax": 0}
    assert [one["kind"] for one in listed] == ["input", "truth", "prediction", "error"] * 2
    assert len({one["title"] for one in listed}) == 2
    assert listed == again
    for one in listed:
        assert (tmp_path / "a" / one["file"]).read_bytes() == (tmp_path / "c" / one["file"]).read_bytes()
    wrong, ignored = (
        sum((np.asarray(Image.open(tmp_path / "a" / one["file"])) == color).all(axis=-1).sum() for one in listed[3::4])
        for color in (WRONG, IGNORED)
    )
    scored = 2 * 32 * 64 - ignored
    captions = [float(one["caption"].split()[0]) for one in listed[3::4]]
    assert np.mean(captions) == pytest.approx(100 * (1 - wrong / scored), abs=2)


def test_an_unlabeled_split_has_no_truth_and_no_error(segmenter, tmp_path, toy_city):
    pool = tmp_path / "tree" / "night_pool" / "images"
    pool.mkdir(parents=True)
    Image.new("RGB", (64, 32)).save(pool / "one.png")
    _, listed = evaluate(segmenter, tmp_path / "tree", tmp_path / "a", split="toy_city/night_pool")
    assert [(one["title"], one["kind"]) for one in listed] == [("one", "input"), ("one", "prediction")]


def test_the_number_of_pictures_is_in_no_key():
    from trainers.config import keyed

    config = method("evaluation").config
    assert keyed(config(split="toy_city/day_val", pictures=9)) == keyed(config(split="toy_city/day_val", pictures=0))


def test_bars_of_class_shares_are_logarithmic_and_in_order():
    shares = np.full(19, 0.01)
    shares[7] = 0.0001
    after = np.full(19, 0.1)
    after[7] = 1.0
    picture = class_bars(shares, after)
    assert picture.shape[1] <= MAX_WIDTH
    lengths = (picture == BAR).all(axis=2).sum(axis=1).reshape(19, -1).max(axis=1)
    assert lengths[0] == lengths.max(), "the rarest class comes first"
    assert lengths[1:].tolist() == pytest.approx([0.75 * lengths[0]] * 18, abs=2)
    assert lengths[0] > MAX_WIDTH / 2
