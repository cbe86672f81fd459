"""Data sets that were made of others' images: read by the same loaders, with the labels where they were."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.data.datasets import DataSplit, class_set_at, content_files, name_of, open_split
from trainers.data.image_files import to_rgb
from trainers.data.images import SplitImages
from trainers.data.label_spaces import CITYSCAPES
from trainers.data.references import Reference, write_references
from trainers.errors import UserError


def split(text: str) -> DataSplit:
    return DataSplit.model_validate(text)


@pytest.fixture
def translated(toy_city: Path, tmp_path: Path) -> Path:
    """White pictures in place of the first five day images; the last one of them is left out of ``val``."""
    roots = {"toy_city": toy_city}
    references = {}
    for part, source in (("train", "toy_city/day_train:5"), ("unlabeled", "toy_city/day_val")):
        samples = open_split(roots, split(source))
        names = tuple(name_of(sample, roots, split(source)) for sample in samples)
        images = tuple(f"images/{part}/{number:06d}.png" for number in range(len(names)))
        for name in images:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 64, 3), 255, dtype=np.uint8)).save(tmp_path / name)
        references[part] = Reference(source, names, images)
    write_references(tmp_path, references, label_map=CITYSCAPES, fingerprints=dict.fromkeys(references, "labels"))
    return tmp_path


def test_the_picture_is_the_new_one_and_the_label_the_old_one(translated: Path, toy_city: Path):
    roots = {"toy_city": toy_city, "translated": translated}
    ours = SplitImages(roots, split("translated/train"), height=32, width=64)
    theirs = SplitImages(roots, split("toy_city/day_train:5"), height=32, width=64)
    assert len(ours) == 5
    for index in range(5):
        assert (ours[index][0] == 255).all()
        assert torch.equal(ours[index][1], theirs[index][1])
    assert class_set_at("translated", translated) == "cityscapes19"
    parts = [open_split(roots, split(f"translated/train:{count}")) for count in (2, -3)]
    assert [len(part) for part in parts] == [2, 3]
    assert not {sample.image for sample in parts[0]} & {sample.image for sample in parts[1]}


def test_what_nobody_shall_read_has_no_labels(translated: Path, toy_city: Path):
    samples = open_split({"toy_city": toy_city, "translated": translated}, split("translated/unlabeled"))
    assert len(samples) == 3
    assert all(sample.label is None for sample in samples)


def test_the_folder_s_own_files_are_its_content(translated: Path, toy_city: Path):
    samples = open_split({"toy_city": toy_city, "translated": translated}, split("translated/train"))
    files = content_files(translated, split("translated/train"), samples)
    assert translated / "references.json" in files
    assert len(files) == 6


def test_what_is_missing_is_named(translated: Path, toy_city: Path, tmp_path: Path):
    roots = {"toy_city": toy_city, "translated": translated}
    with pytest.raises(UserError, match="no folder is known for the data set toy_city"):
        open_split({"translated": translated}, split("translated/train"))
    with pytest.raises(UserError, match="has no image of translated/test"):
        open_split(roots, split("translated/test"))
    index = translated / "references.json"
    content = json.loads(index.read_text())
    content["splits"]["train"]["names"][0] = "gone.png"
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"was made of toy_city/day_train:5 with gone.png, which that split has no"):
        open_split(roots, split("translated/train"))
    index.write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        open_split(roots, split("translated/train"))


def test_a_list_that_leaves_the_folder_is_refused(translated: Path, toy_city: Path):
    index = translated / "references.json"
    content = json.loads(index.read_text())
    content["splits"]["train"]["images"][0] = "../../outside.png"
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="lies outside of it"):
        open_split({"toy_city": toy_city, "translated": translated}, split("translated/train"))


def test_gray_and_16_bit_images_keep_their_light(tmp_path: Path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "gray.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("gray.png", "deep.png"):
        (sample,) = [one for one in open_split({"images": tmp_path}, split("images/all")) if one.image.name == name]
        image = np.asarray(to_rgb(Image.open(sample.image), sample.image))
        np.testing.assert_array_equal(image, np.repeat(levels[..., None], 3, axis=2))
    Image.fromarray(levels.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(UserError, match="no 8 or 16 bits; save it as 8-bit RGB"):
        to_rgb(Image.open(tmp_path / "float.tiff"), tmp_path / "float.tiff")
