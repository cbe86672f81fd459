"""Label maps as a network's input: raw ids, boundaries of instances, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.references import pix2pixhd as reference
from trainers.components.configs import AugmentationConfig
from trainers.data.datasets import DataSplit, open_split
from trainers.data.instances import instance_file
from trainers.data.label_maps import (
    AugmentedLabelMaps,
    LabelMapImages,
    boundaries,
    label_colors,
    read_label_map,
)
from trainers.data.label_spaces import CITYSCAPES
from trainers.data.nearest import resize_ids
from trainers.data.samples import Sample
from trainers.errors import UserError

DAY = DataSplit.model_validate("toy_city/day_train")


def maps(root: Path, *, height: int = 32, width: int = 64, **fields: object) -> LabelMapImages:
    options = {"label_nc": 35, "edges": True, **fields}
    return LabelMapImages({"toy_city": root}, DAY, height=height, width=width, **options)  # type: ignore[arg-type]


def tree(root: Path, labels: np.ndarray, instances: np.ndarray | None = None) -> Path:
    """One street in Toy City's layout."""
    image, label = (root / "day" / kind / "train" / "city" for kind in ("leftImg8bit", "gtFine"))
    image.mkdir(parents=True)
    label.mkdir(parents=True)
    Image.fromarray(np.zeros((*labels.shape, 3), dtype=np.uint8)).save(image / "city_0_0_leftImg8bit.png")
    Image.fromarray(labels.astype(np.uint8)).save(label / "city_0_0_gtFine_labelIds.png")
    if instances is not None:
        Image.fromarray(instances.astype(np.uint16)).save(label / "city_0_0_gtFine_instanceIds.png")
    return root


def test_boundaries_are_pixels_that_differ_from_a_neighbor():
    rng = np.random.default_rng(0)
    for shape in ((7, 9), (1, 5), (4, 1)):
        instances = rng.choice([7, 26_000, 26_001], size=shape)
        expected = reference.boundaries(instances.tolist())
        assert boundaries(torch.from_numpy(instances)).tolist() == expected
    assert not boundaries(torch.full((2, 4, 4), 26_001)).any()


def test_raw_ids_and_boundaries_stand_beside_the_image(toy_city: Path):
    images = maps(toy_city)
    sample = open_split({"toy_city": toy_city}, DAY)[2]
    assert sample.label is not None
    image, planes = images[2]
    ids = np.asarray(Image.open(sample.label))
    instances = np.asarray(Image.open(str(sample.label).replace("labelIds", "instanceIds")))
    assert torch.equal(planes[0], torch.from_numpy(ids.copy()))
    assert planes[1].tolist() == np.array(reference.boundaries(instances.tolist())).astype(int).tolist()
    assert torch.equal(image, torch.from_numpy(np.asarray(Image.open(sample.image)).transpose(2, 0, 1).copy()))
    assert len(maps(toy_city, edges=False)[2][1]) == 1
    assert {0, 1} == set(planes[1].unique().tolist())
    assert set(ids.flat) - {7}, "a street has more than a road"


def test_two_cars_side_by_side_have_a_boundary_and_one_label(tmp_path: Path):
    labels = np.full((4, 8), 26)
    instances = np.repeat([26_001, 26_002], 4)[None].repeat(4, axis=0)
    planes = maps(tree(tmp_path, labels, instances), height=4, width=8)[0][1]
    assert planes[0].unique().tolist() == [26]
    assert planes[1][0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


def test_ids_are_resized_to_the_nearest_and_boundaries_found_after(tmp_path: Path):
    rng = np.random.default_rng(1)
    labels = rng.integers(34, size=(12, 20))
    instances = labels * 1000 + rng.integers(20, size=labels.shape)
    for size in ((4, 12), (8, 8), (24, 40)):  # In none is a middle on the border of two pixels.
        expected = [np.asarray(Image.fromarray(one.astype(np.int32)).resize(size[::-1], Image.Resampling.NEAREST))
                    for one in (labels, instances)]  # fmt: skip
        found = resize_ids(torch.from_numpy(np.stack([labels, instances])), size)
        assert torch.equal(found, torch.from_numpy(np.stack(expected)).to(found.dtype))
    planes = maps(tree(tmp_path, labels, instances), height=6, width=10)[0][1]
    small = resize_ids(torch.from_numpy(instances), (6, 10))
    assert planes[1].bool().tolist() == reference.boundaries(small.tolist())


def test_image_labels_and_boundaries_move_alike(toy_city: Path):
    images = maps(toy_city)
    flipped = AugmentedLabelMaps(images, AugmentationConfig(horizontal_flip=1.0), batch_size=1, seed=0)
    still = AugmentedLabelMaps(images, AugmentationConfig(horizontal_flip=0.0), batch_size=1, seed=0)
    for step in (1, 2):
        assert any(all(map(torch.equal, still[step, 0], images[index])) for index in range(len(images)))
        for moved, kept in zip(flipped[step, 0], still[step, 0], strict=True):
            assert torch.equal(moved, kept.flip(-1))
    crop = AugmentationConfig(horizontal_flip=0.0, crop_height=32, crop_width=32)
    image, planes = AugmentedLabelMaps(images, crop, batch_size=1, seed=0)[1, 0]
    whole, whole_planes = still[1, 0]
    places = [x for x in range(33) if torch.equal(whole[..., x : x + 32], image)]
    assert any(torch.equal(whole_planes[..., x : x + 32], planes) for x in places)


def test_a_label_id_out_of_range_is_named_with_its_file(tmp_path: Path):
    labels = np.full((4, 8), 255)
    root = tree(tmp_path, labels, labels)
    with pytest.raises(UserError) as caught:
        maps(root, height=4, width=8)[0]
    text = str(caught.value)
    assert "city_0_0_gtFine_labelIds.png holds label id 255, and the generator knows 0 to 34" in text
    assert "\n" not in text
    with pytest.raises(UserError, match="holds label id 34, and the generator knows 0 to 33"):
        read_label_map(sample_of(tree(tmp_path / "b", np.full((4, 8), 34))), label_nc=34, edges=False)


def sample_of(root: Path) -> Sample:
    (sample,) = open_split({"toy_city": root}, DAY)
    return sample


def test_a_missing_instance_map_is_named(tmp_path: Path):
    root = tree(tmp_path, np.full((4, 8), 7))
    with pytest.raises(UserError, match=r"city_0_0_gtFine_instanceIds.png does not exist; set generator.edges=false"):
        maps(root, height=4, width=8)
    assert maps(root, height=4, width=8, edges=False)[0][1].shape == (1, 4, 8)
    with pytest.raises(UserError, match=r"0001TP.png has no instance map beside it: names need _labelIds"):
        instance_file(Path("labels/0001TP.png"))


def test_an_instance_map_of_another_size_or_in_colors_is_refused(tmp_path: Path):
    root = tree(tmp_path, np.full((4, 8), 7), np.full((2, 8), 7))
    with pytest.raises(UserError, match=r"instanceIds.png is 8×2 but its label map is 8×4"):
        maps(root, height=4, width=8)[0]
    Image.new("RGB", (8, 4)).save(instance_file(sample_of(root).label))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has mode RGB: an instance map holds one integer per pixel"):
        maps(root, height=4, width=8)[0]


def test_a_split_without_images_is_refused(toy_city: Path):
    with pytest.raises(UserError, match="has no image of toy_city/fog_train"):
        LabelMapImages({"toy_city": toy_city}, DataSplit.model_validate("toy_city/fog_train"), height=32, width=64,
                       label_nc=35, edges=True)  # fmt: skip


def test_colors_are_those_of_the_classes():
    colors = label_colors(CITYSCAPES, 35)
    assert colors.shape == (35, 3)
    assert colors[7].tolist() == [128, 64, 128]
    assert colors[26].tolist() == [0, 0, 142]
    assert colors[[0, 4, 29, 34]].sum() == 0
