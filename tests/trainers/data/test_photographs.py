from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.data.checks import check_split
from trainers.data.datasets import DataSplit, open_split
from trainers.data.images import SplitImages
from trainers.data.label_spaces import CAMVID, CITYSCAPES, lookup_table

pytestmark = pytest.mark.photographs


def test_real_cityscapes_labels_become_the_official_train_ids(photographs: Path):
    """The benchmark ships its own conversion beside the label ids."""
    roots = {"cityscapes": photographs / "cityscapes_sample"}
    split = DataSplit(dataset="cityscapes", split="train")
    samples = open_split(roots, split)
    assert len(samples) == 11
    images = SplitImages(roots, split, height=1024, width=2048, cache_bytes=0)
    for index in (0, 5, 10):
        sample = samples[index]
        assert sample.label is not None
        official = np.asarray(Image.open(str(sample.label).replace("_labelIds", "_labelTrainIds")))
        image, label = images[index]
        assert image.shape == (3, 1024, 2048)
        assert np.array_equal(label, official)
        assert np.array_equal(lookup_table(CITYSCAPES)[np.asarray(Image.open(sample.label))], official)


@pytest.mark.parametrize(("split", "count"), [("day_train", 305), ("day_val", 101), ("dusk_adapt", 62),
                                              ("dusk_val", 31)])  # fmt: skip
def test_real_camvid_is_whole(photographs: Path, split: str, count: int):
    roots, which = {"camvid": photographs / "camvid"}, DataSplit(dataset="camvid", split=split)
    samples = open_split(roots, which)
    assert len(samples) == count
    assert list(check_split(roots["camvid"], samples[::20], which)) == [None] * len(samples[::20])


def test_real_camvid_labels_keep_their_shares_when_resized(photographs: Path):
    roots, which = {"camvid": photographs / "camvid"}, DataSplit(dataset="camvid", split="day_train")
    images = SplitImages(roots, which, height=192, width=256, cache_bytes=0)
    for index in range(0, 305, 60):
        sample = images.samples[index]
        assert sample.label is not None
        stored = lookup_table(CAMVID)[np.asarray(Image.open(sample.label))]
        image, label = images[index]
        assert image.shape == (3, 192, 256)
        share, resized = (np.bincount(one.ravel(), minlength=256) / one.size for one in (stored, label.numpy()))
        assert np.abs(share - resized).max() < 0.01
        assert set(np.flatnonzero(resized)) <= set(np.flatnonzero(share))


def test_dusk_is_darker_below_the_sky(photographs: Path):
    """Image and label belong to each other: only the pixels that are not sky tell day from dusk."""
    brightness = {}
    for split in ("day_val", "dusk_val"):
        which = DataSplit(dataset="camvid", split=split)
        images = SplitImages({"camvid": photographs / "camvid"}, which, height=96, width=128, cache_bytes=0)
        pairs = [images[index] for index in range(0, len(images), 10)]
        brightness[split] = [image[:, label != 10].float().mean().item() for image, label in pairs]
    assert max(brightness["dusk_val"]) < min(brightness["day_val"])
