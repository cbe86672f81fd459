import functools
import operator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainers.data.label_spaces import CITYSCAPES, CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES, lookup_table
from trainers.data.toy_city import DOMAINS, Frame, render_frame, write_tree
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.frame import majority_index
from trainers.data.toy_city.labels import LABEL, THINGS
from trainers.data.toy_city.street import KINDS
from trainers.data.toy_city.writing import place_in_city

TRAIN_ID = lookup_table(CITYSCAPES)
FIELDS = ("image", "label_ids", "instance_ids", "depth")
COUNTS = {"day": {"train": 5, "val": 3}, "night": {"train": 2}}


def render(street: int = 3, frame: int = 1, *, seed: int = 0, domain: str = "day", scale: int = 1) -> Frame:
    return render_frame(seed=seed, street=street, frame=frame, domain=domain, height=64 * scale, width=128 * scale)


def same(a: Frame, b: Frame) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@pytest.fixture(scope="module")
def split() -> list[Frame]:
    """The first 40 images of a validation split."""
    return [render(*place_in_city("day", "val", number)) for number in range(40)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    root = tmp_path_factory.mktemp("toy_city")
    return root, list(write_tree(root, seed=0, height=32, width=64, counts=COUNTS))


def test_a_frame_is_a_pure_function_of_its_arguments():
    first = render()
    render(street=11, frame=2)  # another street in between: nothing may be carried over
    assert same(first, render())
    assert first.image.dtype == np.uint8
    assert first.image.shape == (64, 128, 3)
    assert first.label_ids.dtype == np.uint8
    assert first.instance_ids.dtype == np.uint16
    assert first.depth.dtype == np.float32


@pytest.mark.parametrize("change", [{"seed": 1}, {"street": 11}, {"frame": 2}])
def test_seed_street_and_frame_each_change_the_scene(change: dict[str, int]):
    assert np.mean(render().label_ids != render(**change).label_ids) > 0.1


def test_domains_show_the_same_scene_in_other_light():
    day, night = render(), render(domain="night")
    for name in FIELDS[1:]:
        assert np.array_equal(getattr(day, name), getattr(night, name))
    assert not np.array_equal(day.image, night.image)


def test_sizes_of_one_aspect_ratio_show_the_same_scene():
    small, large = render(), render(scale=2)
    assert np.mean(small.label_ids == large.label_ids[::2, ::2]) > 0.93
    smooth = (
        np.isfinite(small.depth) & (small.label_ids == LABEL["road"]) & (large.label_ids[::2, ::2] == LABEL["road"])
    )
    assert np.median(np.abs(small.depth[smooth] / large.depth[::2, ::2][smooth] - 1)) < 0.05
    blurred = large.image.reshape(64, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(blurred - small.image).mean() < 12


def test_forty_images_hold_all_classes_in_realistic_shares(split: list[Frame]):
    pixels = np.bincount(TRAIN_ID[np.stack([frame.label_ids for frame in split])].ravel(), minlength=256)
    share = dict(zip(CLASS_NAMES, pixels[:NUM_CLASSES] / pixels[:NUM_CLASSES].sum(), strict=True))
    assert pixels[IGNORE_LABEL] / pixels.sum() < 0.06
    for name, low, high in (("road", 0.2, 0.4), ("building", 0.1, 0.35), ("vegetation", 0.04, 0.25),
                            ("sky", 0.05, 0.2), ("car", 0.04, 0.2), ("sidewalk", 0.015, 0.12)):  # fmt: skip
        assert low < share[name] < high, (name, share[name])
    for name in ("pole", "traffic_light", "traffic_sign", "person", "rider", "motorcycle", "bicycle", "wall", "fence",
                 "terrain", "truck", "bus", "train"):  # fmt: skip
        assert 0.0004 < share[name] < 0.05, (name, share[name])


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), start=st.integers(0, 1000))
def test_every_kind_of_street_shows_its_rare_things_whatever_the_seed(seed: int, start: int):
    shown: set[int] = set()
    for street in range(start, start + len(KINDS)):
        for frame in (0, 2):
            ids, pixels = np.unique(render(street, frame, seed=seed).label_ids, return_counts=True)
            shown |= set(ids[pixels >= 4].tolist())
    assert shown >= {LABEL[name] for name in CLASS_NAMES}


def test_instances_decode_to_labels(split: list[Frame]):
    for frame in split[:12]:
        is_thing = np.isin(frame.label_ids, list(THINGS))
        ids = frame.instance_ids.astype(int)
        assert np.array_equal(ids[is_thing] // 1000, frame.label_ids[is_thing])
        assert np.array_equal(ids[~is_thing], frame.label_ids[~is_thing])
    cars = [np.unique(frame.instance_ids[frame.label_ids == LABEL["car"]]).size for frame in split]
    assert max(cars) > 5


def test_depth_grows_with_the_distance_of_the_road(split: list[Frame]):
    for frame in split[:12]:
        road = frame.label_ids == LABEL["road"]
        rows = [row for row in range(64) if road[row].sum() >= 8]
        by_row = np.array([np.median(frame.depth[row][road[row]]) for row in rows])
        assert (np.diff(by_row) < 0).all()
        assert np.isinf(frame.depth[frame.label_ids == LABEL["sky"]]).all()
        seen = frame.depth[frame.label_ids != LABEL["sky"]]
        assert np.isfinite(seen).all()
        assert seen.min() > 0


def test_things_shrink_with_distance(split: list[Frame]):
    sizes, depths = [], []
    for frame in split:
        for car in np.unique(frame.instance_ids[frame.label_ids == LABEL["car"]]):
            mask = frame.instance_ids == car
            sizes.append(mask.sum())
            depths.append(np.median(frame.depth[mask]))
    near, far = np.array(depths) < 15, np.array(depths) > 30
    assert np.median(np.array(sizes)[near]) > 5 * np.median(np.array(sizes)[far])


def test_night_is_dark_clipped_and_noisy(split: list[Frame]):
    numbers = range(8)
    night = np.stack([render(*place_in_city("night", "val", n), domain="night").image for n in numbers]).astype(float)
    day = np.stack([frame.image for frame in split[:8]]).astype(float)
    assert night.mean() < 0.7 * day.mean()
    assert (night.max(axis=-1) == 255).mean() > 0.001
    assert (night.max(axis=-1) < 48).mean() > 3 * (day.max(axis=-1) < 48).mean() + 0.1

    def grain(images: np.ndarray) -> float:
        """Median deviation of a pixel from the mean of its neighbors to the left and right, relative to its light."""
        middle = images[:, :, 1:-1]
        return float(np.median(np.abs(middle - (images[:, :, :-2] + images[:, :, 2:]) / 2) / (middle + 8)))

    assert grain(night) > 2 * grain(day)


def test_streets_differ(split: list[Frame]):
    """A network cannot learn one layout: the label that is most common at a pixel is often wrong."""
    labels = np.stack([TRAIN_ID[frame.label_ids] for frame in split])
    share = np.stack([(labels == train_id).mean(axis=0) for train_id in range(NUM_CLASSES)]).max(axis=0)
    assert share.mean() < 0.8


def test_tree_has_the_cityscapes_layout(tree: tuple[Path, list[Path]]):
    root, paths = tree
    assert len(paths) == 10
    for path in paths:
        domain, folder, part, city = path.relative_to(root).parts[:-1]
        assert folder == "leftImg8bit"
        assert COUNTS[domain][part]
        name, sequence, number, suffix = path.stem.split("_")
        assert (name, suffix) == (city, "leftImg8bit")
        assert len(sequence) == len(number) == 6
        stem = root / domain / "gtFine" / part / city / f"{city}_{sequence}_{number}_gtFine"
        labels = np.asarray(Image.open(f"{stem}_labelIds.png"))
        instances = np.asarray(Image.open(f"{stem}_instanceIds.png"))
        expected = render_frame(seed=0, street=int(sequence), frame=int(number), domain=domain, height=32, width=64)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, expected.label_ids)
        assert np.array_equal(instances, expected.instance_ids)
        assert instances.max() > 255
        assert np.array_equal(np.asarray(Image.open(path)), expected.image)


def test_ranks_share_the_images(tree: tuple[Path, list[Path]], tmp_path: Path):
    root, paths = tree
    parts = [
        [path.relative_to(tmp_path) for path in write_tree(tmp_path, seed=0, height=32, width=64, counts=COUNTS,
                                                           rank=rank, world_size=3)]
        for rank in range(3)
    ]  # fmt: skip
    assert [len(part) for part in parts] == [4, 3, 3]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == sorted(path.relative_to(root) for path in paths)
    for path in paths:
        assert (tmp_path / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_splits_and_domains_share_no_street_and_splits_no_city(tree: tuple[Path, list[Path]]):
    _, paths = tree
    streets: dict[str, set[tuple[str, str]]] = {}
    cities: dict[str, set[str]] = {}
    for path in paths:
        domain, _, part, city = path.parts[-5:-1]
        streets.setdefault(path.stem.split("_")[1], set()).add((domain, part))
        cities.setdefault(city, set()).add(part)
    assert all(len(users) == 1 for users in (*streets.values(), *cities.values()))
    first = {place_in_city(domain, part, 0)[0] for domain in DOMAINS for part in ("train", "val", "test", "held_out")}
    assert len(first) == 4 * len(DOMAINS)
    assert all(street % len(KINDS) == 0 for street in first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "dusk"}, "unknown domain 'dusk'; Toy City has day, night"),
        ({"height": 60}, "height is 60; it must be a positive multiple of 32"),
        ({"width": 0}, "width is 0"),
        ({"frame": 4}, "frame is 4; a street has frames 0 to 3"),
        ({"street": -1}, "street -1"),
    ],
)
def test_render_frame_names_what_is_wrong(change: dict[str, int], message: str):
    request = {"seed": 0, "street": 0, "frame": 0, "domain": "day", "height": 64, "width": 128} | change
    with pytest.raises(ValueError, match=message):
        render_frame(**request)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": {"dusk": {"train": 1}}}, "unknown domain 'dusk'"),
        ({"counts": {"day": {"trian": 1}}}, "unknown split 'trian'; Toy City has train, val, test, held_out"),
        ({"counts": {"day": {"train": -1}}}, "day train is -1 images; it must be from 0"),
        ({"height": 48}, "height is 48"),
        ({"rank": 2, "world_size": 2}, "rank is 2 of 2"),
    ],
)
def test_write_tree_names_what_is_wrong_before_it_writes(change: dict[str, object], message: str, tmp_path: Path):
    request = {"seed": 0, "height": 32, "width": 64, "counts": {"day": {"train": 1}}} | change
    with pytest.raises(ValueError, match=message):
        write_tree(tmp_path, **request)
    assert not list(tmp_path.iterdir())


def test_majority_takes_a_pixel_that_agrees_with_another():
    blocks = {(1, 1, 2, 2): 0, (1, 2, 2, 3): 1, (1, 2, 3, 2): 1, (1, 2, 3, 3): 2, (1, 2, 3, 4): 0, (1, 2, 2, 2): 1}
    for (a, b, c, d), chosen in blocks.items():
        assert majority_index(np.array([[a, b], [c, d]])).item() == chosen


def test_dice_are_fair_and_named():
    draws = [Dice(1, "a").uniform(0, 1), Dice(1, "b").uniform(0, 1), Dice(1, "a").uniform(0, 1)]
    assert draws[0] == draws[2] != draws[1]
    dice = Dice(2)
    counts = np.bincount([dice.weighted({0: 1, 1: 3, 2: 0}) for _ in range(400)], minlength=3)
    assert counts[2] == 0
    assert 2 < counts[1] / counts[0] < 4.5
    assert {dice.integer(2, 4) for _ in range(60)} == {2, 3, 4}
