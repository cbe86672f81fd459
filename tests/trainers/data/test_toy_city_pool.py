import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from trainers.data.datasets import DATASETS
from trainers.data.render_city_config import Config
from trainers.data.toy_city import plan_tree, render_frame
from trainers.data.toy_city.writing import POOL


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_name_a_night_image_and_its_place_by_day(toy_city_tree: tuple[Path, list[Path]]):
    root, _ = toy_city_tree
    pairs = rows(root / "pairs.csv")
    listed = DATASETS["toy_city"].list_samples(root, "night_pairs")
    assert [str(sample.image.relative_to(root)) for sample in listed] == [pair["night"] for pair in pairs]
    assert len({pair["day"] for pair in pairs}) == 4
    light = {domain: [np.asarray(Image.open(root / pair[domain])).mean() for pair in pairs] for domain in pairs[0]}
    assert np.mean(light["night"]) < 0.7 * np.mean(light["day"])
    for pair in pairs:
        streets = {Path(name).stem.split("_")[1] for name in pair.values()}
        assert len(streets) == 1
    days = [shot for shot in plan_tree({}, pairs=7) if shot.look == "day"]
    nights = [shot for shot in plan_tree({}, pairs=7) if shot.look == "night"]
    assert {(shot.street, shot.frame) for shot in nights} == {(shot.street, shot.frame) for shot in days}
    assert all(shot.visit == 0 for shot in days)
    assert all(shot.visit > 0 for shot in nights)
    assert len({(shot.street, shot.frame, shot.visit) for shot in nights}) == 7


def test_the_pool_mixes_four_looks_and_only_its_provenance_tells_them(toy_city_tree: tuple[Path, list[Path]]):
    root, _ = toy_city_tree
    known = rows(root / "night_pool" / "provenance.csv")
    assert [row["name"] for row in known] == [f"{number:06d}.png" for number in range(20)]
    looks = [row["look"] for row in known]
    assert {look: looks.count(look) for look in POOL} == {"night": 9, "dark": 5, "twilight": 4, "day": 2}
    changes = sum(a != b for a, b in itertools.pairwise(looks))
    assert changes > 6  # in order there would be three
    light: dict[str, list[float]] = {look: [] for look in POOL}
    for row in known:
        image = np.asarray(Image.open(root / "night_pool" / "images" / row["name"]))
        again = render_frame(seed=0, street=int(row["street"]), frame=int(row["frame"]), domain=row["look"],
                             height=32, width=64)  # fmt: skip
        assert np.array_equal(image, again.image)
        hidden = root / "night_pool" / "hidden" / f"{row['name'][:-4]}_labelIds.png"
        assert np.array_equal(np.asarray(Image.open(hidden)), again.label_ids)
        light[row["look"]].append(float(image.mean()))
    means = [np.mean(light[look]) for look in ("dark", "night", "twilight", "day")]
    assert means == sorted(means)
    assert means[0] < 0.5 * means[1]


def test_the_pool_is_measured_by_the_labeled_day_images():
    images = {"day": {"train": 30}, "fog": {"held_out": 2}}
    assert Config().pool_images() == 0
    assert Config(images=images, night_pool=True).pool_images() == 75
    assert Config(images=images, night_pool=True, pool_ratio=0.5).pool_images() == 15
    with pytest.raises(ValidationError, match=r"night_pool is measured by images\.day\.train"):
        Config(images={"night": {"train": 4}}, night_pool=True)
    with pytest.raises(ValidationError, match="every count must be at least 1"):
        Config(images={"day": {"train": 0}})
