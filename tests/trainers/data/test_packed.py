"""A packed data set is read as the original at its size: bit for bit, by the same code."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.trainers.data import miniatures
from trainers.components.configs import AugmentationConfig
from trainers.context import PlainContext
from trainers.data import pack
from trainers.data.datasets import DataSplit, open_split
from trainers.data.images import PairImages, SplitImages
from trainers.data.label_spaces import CITYSCAPES, lookup_table
from trainers.data.loader import AugmentedSamples, training_batches
from trainers.data.nearest import resize_ids
from trainers.data.pack_config import Config
from trainers.errors import UserError

HEIGHT, WIDTH = 24, 40


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


def packed(root: Path, output: Path, *splits: str, **fields: Any) -> Path:
    config = Config.model_validate({"splits": splits, "height": HEIGHT, "width": WIDTH, **fields})
    inputs = {config.splits[0].dataset: root}
    pack.check(config, inputs)
    output.mkdir(exist_ok=True)
    pack.run(config, inputs, output, None, PlainContext(output / "checkpoints"))
    return output


def images(root: Path, name: str = "toy_city/day_train", **fields: Any) -> SplitImages:
    return SplitImages({split(name).dataset: root}, split(name), **{"height": HEIGHT, "width": WIDTH, **fields})


@pytest.fixture(scope="module")
def small(toy_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of three images each, the last one of one."""
    output = tmp_path_factory.mktemp("packed")
    return packed(toy_city, output, "toy_city/day_train", "toy_city/day_val", shard_bytes=3 * 4 * HEIGHT * WIDTH)


def test_every_pixel_is_that_of_resizing_the_file(toy_city: Path, small: Path):
    original, read = images(toy_city), images(small)
    assert len(read) == len(original) == 7
    assert len(list(small.glob("day_train-*.npy"))) == 3
    for index, sample in enumerate(open_split({"toy_city": toy_city}, split("toy_city/day_train"))):
        image = Image.open(sample.image).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        label = lookup_table(CITYSCAPES)[np.asarray(Image.open(sample.label))]
        nearest = resize_ids(label, (HEIGHT, WIDTH))
        found = read[index]
        assert np.array_equal(found[0].permute(1, 2, 0), np.asarray(image))
        assert np.array_equal(found[1], nearest)
        assert all(map(torch.equal, found, original[index]))


def test_a_training_gets_the_same_batches(toy_city: Path, small: Path):
    def batches(root: Path, workers: int) -> list[torch.Tensor]:
        augmentation = AugmentationConfig(scale_min=0.7, scale_max=1.4)
        samples = AugmentedSamples([images(root)], augmentation, batch_size=4, seed=0)
        context = PlainContext(Path("unused"))
        found = training_batches(samples, steps=range(1, 6), batch_size=4, workers=workers, context=context)
        return [part for batch in found for part in (batch.images, batch.labels)]

    expected = batches(toy_city, 0)
    for workers in (0, 2):
        assert all(map(torch.equal, batches(small, workers), expected))


def test_nothing_is_read_before_it_is_asked_for_and_nothing_is_written(small: Path):
    before = {path: path.read_bytes() for path in small.glob("*.npy")}
    read = images(small)
    assert read._packed is not None
    assert not read._packed._shards
    image, _ = read[6]
    assert list(read._packed._shards) == [2]
    assert isinstance(read._packed._shards[2], np.memmap)
    image.zero_()
    assert {path: path.read_bytes() for path in small.glob("*.npy")} == before
    assert not read._packed.__getstate__()["_shards"]


def test_class_pixels_are_stored(toy_city: Path, small: Path):
    assert np.array_equal(images(small).class_pixels(), images(toy_city).class_pixels())
    assert images(small).class_pixels().sum() > 0


def test_a_part_of_a_packed_split_is_that_of_the_original(toy_city: Path, small: Path, tmp_path: Path):
    original = images(toy_city, "toy_city/day_train:3@5")
    for root in (small, packed(toy_city, tmp_path, "toy_city/day_train:3@5")):
        part = images(root, "toy_city/day_train:3@5")
        assert [sample.image.name for sample in part.samples] == [sample.image.name for sample in original.samples]
        assert all(torch.equal(part.planes(index), original.planes(index)) for index in range(3))
        assert np.array_equal(part.class_pixels(), original.class_pixels())


def test_pairs_are_packed_with_their_partners(tmp_path: Path):
    root = miniatures.dark_zurich(tmp_path / "dark_zurich")
    output = packed(root, tmp_path / "packed", "dark_zurich/pairs")
    which = split("dark_zurich/pairs")
    original, read = (PairImages({"dark_zurich": one}, which, height=HEIGHT, width=WIDTH) for one in (root, output))
    for index in range(3):
        assert all(map(torch.equal, read[index], original[index]))
    assert (images(output, "dark_zurich/pairs")[0][1] == 255).all()


def test_a_folder_with_its_own_classes_keeps_them(tmp_path: Path):
    root = miniatures.labeled_folder(tmp_path / "own")
    output = packed(root, tmp_path / "packed", "labeled_folder/train")
    assert images(output, "labeled_folder/train").class_set == "train_ids:0,11,13"


def test_ranks_write_what_one_process_writes(toy_city: Path, small: Path, tmp_path: Path):
    class Rank(PlainContext):
        world_size = 2

        def __init__(self, number: int, others: list[torch.Tensor]) -> None:
            super().__init__(tmp_path / "unused")
            self.rank, self.others = number, others

        def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
            self.others.append(tensor)
            return sum(self.others[-2:], torch.zeros_like(tensor)) if self.rank == 0 else tensor

    config = Config(splits=("toy_city/day_train",), height=HEIGHT, width=WIDTH, shard_bytes=3 * 4 * HEIGHT * WIDTH)
    shared: list[torch.Tensor] = []
    for number in (1, 0):
        pack.run(config, {"toy_city": toy_city}, tmp_path, None, Rank(number, shared))
    for path in small.glob("day_train-*.npy"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    index, expected = (json.loads((one / "packed.json").read_text())["splits"] for one in (tmp_path, small))
    assert index["day_train"] == expected["day_train"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"height": 48}, "is packed at 24×40 and 48×40 is asked for; pack the data set at that size too"),
        ({"name": "toy_city/night_val"}, "holds no toy_city/night_val; pack it with"),
        ({"name": "cityscapes/train"}, "is a packed toy_city, not cityscapes"),
        ({"name": "toy_city/day_train:8"}, "asks for 8 images, and .* has 7 of day_train"),
    ],
)
def test_what_was_not_packed_is_named(small: Path, change: dict[str, Any], says: str):
    with pytest.raises(UserError, match=says) as error:
        images(small, **change)
    assert "\n" not in str(error.value)


def test_partners_that_were_not_packed_are_named(tmp_path: Path):
    root = miniatures.acdc(tmp_path / "acdc")
    output = packed(root, tmp_path / "packed", "acdc/night_train")
    index = json.loads((output / "packed.json").read_text())
    index["splits"]["night_train"]["partners"] = None
    (output / "packed.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="holds night_train without partners"):
        images(output, "acdc/night_train", partners=True)


def test_a_damaged_packed_set_is_named(small: Path, tmp_path: Path):
    broken = shutil.copytree(small, tmp_path / "broken")
    (broken / "day_train-00001.npy").unlink()
    with pytest.raises(UserError, match=r"day_train-00001\.npy is missing; pack the data set again"):
        images(broken)
    for content, says in (("{", "cannot be read"), ('{"format": 99}', "has another format than 1"), ("[]", "format")):
        (broken / "packed.json").write_text(content)
        with pytest.raises(UserError, match=says):
            images(broken)


def test_a_pack_is_of_one_data_set_and_repeats_nothing():
    with pytest.raises(ValidationError, match="must be of one data set, got camvid, toy_city"):
        Config(splits=("toy_city/day_val", "camvid/day_val"), height=4, width=4)
    with pytest.raises(ValidationError, match="splits must differ"):
        Config(splits=("toy_city/day_val", "toy_city/day_val"), height=4, width=4)
