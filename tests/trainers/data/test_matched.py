"""Hazy images and their clear ones, found by their frames: which belong together, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.data import miniatures
from trainers.components.configs import AugmentationConfig
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit, open_split
from trainers.data.matched import AugmentedMatches, MatchedImages, frames, match, matched_batches
from trainers.data.references import Reference, write_references
from trainers.data.samples import frame_of
from trainers.data.toy_city import write_tree
from trainers.errors import UserError


def split(name: str) -> DataSplit:
    return DataSplit.model_validate(name)


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {
        "cityscapes": miniatures.cityscapes(tmp_path / "cityscapes"),
        "foggy_cityscapes": miniatures.foggy_cityscapes(tmp_path / "foggy"),
    }


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("aachen_000000_000019_leftImg8bit_foggy_beta_0.02.png", "aachen_000000_000019"),
        ("aachen_000000_000019_leftImg8bit.png", "aachen_000000_000019"),
        ("fog/clear/train/ahrental/ahrental_000012_000003_clear.png", "ahrental_000012_000003"),
        ("holiday_000001.jpg", "holiday_000001"),
    ],
)
def test_a_name_tells_its_frame(name: str, frame: str):
    assert frame_of(name) == frame


def test_partners_are_of_one_frame_across_data_sets(roots: dict[str, Path]):
    """A part of a split is matched with the whole other one; what nobody asks for stays unused."""
    source, target = split("foggy_cityscapes/train_beta_0.01:2"), split("cityscapes/train")
    clear = open_split(roots, target)
    hazy = [sample.image for sample in open_split(roots, source)]
    partners = [clear[position].image for position in match(roots, source, target)]
    assert [path.name[:20] for path in partners] == [path.name[:20] for path in hazy]
    assert len(partners) == 2 < len(clear)


def test_a_translation_is_of_the_frame_that_it_was_made_of(roots: dict[str, Path], tmp_path: Path):
    folder = tmp_path / "translated"
    source = split("foggy_cityscapes/train_beta_0.02")
    names = [sample.image.relative_to(roots["foggy_cityscapes"]).as_posix() for sample in open_split(roots, source)]
    made = [f"images/test/{number:06d}.png" for number in range(3)]
    for name in made:
        miniatures.save_image(folder / name)
    write_references(
        folder,
        {"test": Reference(str(source), tuple(reversed(names)), tuple(made))},
        label_map={7: 0},
        fingerprints={"test": ""},
    )
    roots["translated"] = folder
    assert frames(roots, split("translated/test")) == [frame_of(name) for name in reversed(names)]
    assert match(roots, split("translated/test"), split("cityscapes/train")) == [2, 1, 0]
    assert frames(roots, split("translated/test:1")) == [
        frames(roots, split("translated/test"))[
            open_split(roots, split("translated/test")).index(open_split(roots, split("translated/test:1"))[0])
        ]
    ]


def test_what_does_not_belong_together_is_named(roots: dict[str, Path]):
    source, target = split("foggy_cityscapes/train_beta_0.01"), split("cityscapes/train")
    images = sorted((roots["cityscapes"] / "leftImg8bit" / "train").rglob("*.png"))
    miniatures.save(images[1], np.zeros((4, 5, 3), dtype=np.uint8))
    with pytest.raises(UserError, match=r"_beta_0\.01\.png is 8×6 but its partner .*aachen_000001.* is 5×4"):
        match(roots, source, target)
    images[1].write_bytes(b"torn")
    with pytest.raises(UserError, match=r"aachen_000001.* cannot be decoded"):
        match(roots, source, target)
    images[1].unlink()
    with pytest.raises(
        UserError, match="has no partner: cityscapes/train has no image of aachen_000001_000019; add it"
    ):
        match(roots, source, target)
    other = roots["cityscapes"] / "leftImg8bit" / "train" / "bochum" / images[0].name
    other.write_bytes(images[0].read_bytes())
    label = roots["cityscapes"] / "gtFine" / "train" / "bochum" / "aachen_000000_000019_gtFine_labelIds.png"
    miniatures.save_label(label, 7)
    with pytest.raises(UserError, match="cityscapes/train has two images of aachen_000000_000019"):
        match(roots, source, target)


def test_image_partner_and_label_move_alike(tmp_path: Path):
    root = miniatures.blocks_in_haze(tmp_path)
    matched = MatchedImages({"dehazing": root}, [split("dehazing/hazy")], split("dehazing/clear"), height=32, width=64)
    assert len(matched) == 7
    config = AugmentationConfig(horizontal_flip=0.5, crop_width=32)
    samples = AugmentedMatches(matched, config, batch_size=4, seed=0)
    places = {(step, slot): samples[step, slot] for step in range(1, 5) for slot in range(4)}
    flipped = 0
    for pair, label in places.values():
        assert pair.shape == (6, 32, 32)
        assert label.shape == (32, 32)
        origins = [
            (number, is_flipped, x)
            for number in range(7)
            for is_flipped in (False, True)
            for stacked in [torch.cat([matched[number][0], matched[number][1][None]])]
            for turned in [stacked.flip(2) if is_flipped else stacked]
            for x in range(33)
            if torch.equal(turned[..., x : x + 32], torch.cat([pair, label[None]]))
        ]
        assert len(origins) == 1
        flipped += origins[0][1]
    assert 0 < flipped < len(places)
    (batch,) = matched_batches(samples, [[(2, 0), (2, 3)]], workers=0, context=PlainContext(tmp_path))
    assert torch.equal(batch.images[1], places[2, 3][0][:3])
    assert torch.equal(batch.partners[1], places[2, 3][0][3:])
    assert torch.equal(batch.labels[1], places[2, 3][1])


def test_toy_city_s_fog_has_its_clear_images(tmp_path: Path):
    counts = {"fog": {"train": 3, "val": 1}}
    list(write_tree(tmp_path, seed=0, height=32, width=64, counts=counts))
    roots = {"toy_city": tmp_path}
    hazy, clear = (open_split(roots, split(f"toy_city/{name}_train")) for name in ("fog", "clear"))
    assert match(roots, split("toy_city/fog_train"), split("toy_city/clear_train")) == [0, 1, 2]
    for one, other in zip(hazy, clear, strict=True):
        assert one.label == other.label
        spread = [np.asarray(Image.open(path)).std() for path in (one.image, other.image)]
        assert spread[0] < spread[1]
