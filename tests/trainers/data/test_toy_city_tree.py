import functools
import operator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainers.data.miniatures import TOY_COUNTS, TOY_IMAGES, TOY_TREE
from trainers.data.datasets import DATASETS, DataSplit, open_split
from trainers.data.toy_city import DOMAINS, plan_tree, render_frame, write_tree
from trainers.data.toy_city.labels import LABEL
from trainers.data.toy_city.street import KINDS
from trainers.data.toy_city.writing import place_in_city


def test_tree_has_the_cityscapes_layout(toy_city_tree: tuple[Path, list[Path]]):
    root, paths = toy_city_tree
    assert len(paths) == TOY_IMAGES
    for path in paths[:13]:
        domain, folder, part, city = path.relative_to(root).parts[:-1]
        assert folder == "leftImg8bit"
        assert TOY_COUNTS[domain][part]
        name, sequence, number, suffix = path.stem.split("_")
        assert (name, suffix) == (city, "leftImg8bit")
        assert len(sequence) == len(number) == 6
        stem = f"{part}/{city}/{city}_{sequence}_{number}"
        labels = np.asarray(Image.open(root / domain / f"gtFine/{stem}_gtFine_labelIds.png"))
        instances = np.asarray(Image.open(root / domain / f"gtFine/{stem}_gtFine_instanceIds.png"))
        expected = render_frame(seed=0, street=int(sequence), frame=int(number), domain=domain, height=32, width=64)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, expected.label_ids)
        assert np.array_equal(instances, expected.instance_ids)
        assert instances.max() > 255
        assert np.array_equal(np.asarray(Image.open(path)), expected.image)
        if domain == "fog":
            depth = np.asarray(Image.open(root / f"fog/depth/{stem}_depth.png"))
            assert depth.dtype == np.uint16
            assert np.array_equal(depth == 0, expected.label_ids == LABEL["sky"])
            assert np.abs(depth[depth > 0] / 100 - expected.depth[depth > 0]).max() <= 0.0051
            assert np.array_equal(np.asarray(Image.open(root / f"fog/clear/{stem}_clear.png")), expected.clear)


def test_every_split_is_listed_and_the_pool_and_the_pairs_have_no_labels(toy_city_tree: tuple[Path, list[Path]]):
    root, _ = toy_city_tree
    expected = {f"{domain}_{part}": count for domain, parts in TOY_COUNTS.items() for part, count in parts.items()}
    expected |= {"night_pairs": 7, "day_pairs": 4, "pairs": 7, "night_pool": 20}
    expected |= {"clear_held_out": TOY_COUNTS["fog"]["held_out"]}
    for split in DATASETS["toy_city"].splits:
        if split in expected:
            samples = open_split({"toy_city": root}, DataSplit(dataset="toy_city", split=split))
            assert len(samples) == expected.pop(split)
            unlabeled = split in DATASETS["toy_city"].unlabeled
            assert unlabeled == (split in ("night_pairs", "day_pairs", "pairs", "night_pool"))
            assert all((sample.label is None) == unlabeled for sample in samples)
    assert not expected


def test_ranks_share_the_images(tmp_path: Path):
    request = TOY_TREE | {"counts": {"day": {"train": 3}, "fog": {"val": 2}}, "pairs": 2, "night_pool": 4}
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    paths = [path.relative_to(alone) for path in write_tree(alone, **request)]
    parts = [
        [path.relative_to(shared) for path in write_tree(shared, **request, rank=rank, world_size=3)]
        for rank in range(3)
    ]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == sorted(paths)
    files = {path.relative_to(alone) for path in alone.rglob("*") if path.is_file()}
    assert files == {path.relative_to(shared) for path in shared.rglob("*") if path.is_file()}
    for file in files:
        assert (shared / file).read_bytes() == (alone / file).read_bytes()


def test_splits_and_domains_share_no_street_and_splits_no_city():
    streets: dict[int, set[str]] = {}
    cities: dict[str, set[str]] = {}
    counts = {domain: dict.fromkeys(("train", "val", "test", "held_out"), 9) for domain in DOMAINS}
    for shot in plan_tree(counts, pairs=12, night_pool=40):
        domain, _, *rest = shot.image.split("/")
        part = rest[0] if len(rest) > 1 else "pool"
        streets.setdefault(shot.street, set()).add("pairs" if part == "pairs" else f"{domain}/{part}")
        cities.setdefault(rest[1] if len(rest) > 1 else "pool", set()).add(part)
    assert all(len(users) == 1 for users in (*streets.values(), *cities.values()))
    assert len(set().union(*streets.values())) == 4 * len(DOMAINS) + 2
    first = {place_in_city(domain, part, 0)[0] for domain in DOMAINS for part in ("train", "val", "test", "held_out")}
    assert all(street % len(KINDS) == 0 for street in first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": {"twilight": {"train": 1}}}, "unknown domain 'twilight'; Toy City has day, night, fog, game$"),
        ({"pairs": -1}, "pairs is -1 images"),
        ({"night_pool": 40_000}, "night_pool is 40000 images; it must be from 0 to 32000"),
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
