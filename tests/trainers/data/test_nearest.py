"""Labels lie on what they label: the edge of a label is that of its image, at every scale and size, in every reader.

What is measured is the mean over all places of an edge, in pixels of the result: positive where labels lie to the right
of (or below) their image.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainers.components.configs import AugmentationConfig
from trainers.config import keyed
from trainers.data.datasets import DataSplit
from trainers.data.donors import SplitMaps
from trainers.data.images import SplitImages
from trainers.data.label_maps import LabelMapImages
from trainers.data.nearest import nearest_positions, resize_ids
from trainers.data.samples import Sample
from trainers.data.transforms import augment, build_augmentation

ALLOWED = 0.05
SIDE = 64
ROAD, SKY = 7, 23
"""Label ids on either side of an edge."""
EDGES = range(8, 56)


def step(edge: int, axis: int) -> np.ndarray:
    """0 before ``edge`` and 1 from it on, along ``axis``."""
    line = (np.arange(SIDE) >= edge).astype(np.uint8)
    return np.tile(line, (SIDE, 1)) if axis == 1 else np.tile(line[:, None], (1, SIDE))


def offset(resize: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], axis: int) -> float:
    """Mean of (where the label begins - where the image begins); ``resize`` gives both in 0…1, NaN where ignored."""
    begins = []
    for edge in EDGES:
        image, label = resize(step(edge, axis))
        inside = ~np.isnan(label)
        lines = inside.any(axis=1 - axis).sum()
        across = inside.sum() / lines
        begins.append((image[inside].sum() - label[inside].sum()) / across)
    return float(np.mean(begins))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.6, 0.75, 0.9, 1.1, 1.25, 1.5, 1.73, 2.0])
def test_scale_augmentation_leaves_labels_on_their_image(scale: float, axis: int):
    config = AugmentationConfig(
        horizontal_flip=0.0, scale_min=scale, scale_max=scale, crop_height=2 * SIDE, crop_width=2 * SIDE
    )
    augmentation = build_augmentation(config, height=SIDE, width=SIDE)

    def resize(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = torch.from_numpy(ids * 255).expand(3, -1, -1).clone()
        image, label = augment(image, torch.from_numpy(ids), augmentation, seed=0)
        moved = label.numpy().astype(float)
        moved[moved == 255] = np.nan
        return image[0].numpy() / 255, moved

    assert abs(offset(resize, axis)) < ALLOWED


@pytest.fixture
def written(tmp_path: Path) -> Callable[[np.ndarray], Sample]:
    """Writes an image, its label map and its instance map in the layout of Cityscapes."""

    def write(ids: np.ndarray) -> Sample:
        image = tmp_path / "leftImg8bit/train/city/city_000000_000000_leftImg8bit.png"
        label = tmp_path / "gtFine/train/city/city_000000_000000_gtFine_labelIds.png"
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([ids * 255] * 3, axis=-1)).save(image)
        Image.fromarray(np.where(ids == 1, SKY, ROAD).astype(np.uint8)).save(label)
        Image.fromarray(np.where(ids == 1, SKY, ROAD).astype(np.uint16)).save(
            label.with_name(label.name.replace("label", "instance"))
        )
        return Sample(image, label)

    return write


def as_read(sample: Sample, size: int) -> tuple[Tensor, np.ndarray]:
    images = SplitImages(
        {"cityscapes": sample.image.parents[3]}, DataSplit.model_validate("cityscapes/train"), height=size, width=size
    )
    image, label = images[0]
    return image, label.numpy() == 10


def as_label_map(sample: Sample, size: int) -> tuple[Tensor, np.ndarray]:
    split = DataSplit.model_validate("cityscapes/train")
    roots = {"cityscapes": sample.image.parents[3]}
    image, planes = LabelMapImages(roots, split, height=size, width=size, label_nc=35, edges=True)[0]
    return image, planes[0].numpy() == SKY


def as_donor(sample: Sample, size: int) -> tuple[Tensor, np.ndarray]:
    one = SplitMaps([sample], size=(size, size), images=True, cache_bytes=0)[0]
    assert np.array_equal(one.labels, one.instances)
    return torch.from_numpy(np.array(one.image)).permute(2, 0, 1), one.labels == SKY


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [16, 32, 40, 48, 96])
@pytest.mark.parametrize("read", [as_read, as_label_map, as_donor])
def test_reading_at_another_size_leaves_labels_on_their_image(
    read: Callable[[Sample, int], tuple[Tensor, np.ndarray]],
    size: int,
    axis: int,
    written: Callable[[np.ndarray], Sample],
):
    def resize(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image, label = read(written(ids), size)
        return image[0].numpy() / 255, label.astype(float)

    assert abs(offset(resize, axis)) < ALLOWED


def test_every_pixel_takes_one_that_touches_its_middle_and_no_size_moves_labels():
    for old in range(1, 70):
        for new in range(1, 140):
            positions = nearest_positions(old, new)
            middles = (np.arange(new) + 0.5) * old / new
            assert (np.diff(positions) >= 0).all()
            assert ((positions <= middles + 1e-9) & (middles - 1e-9 <= positions + 1)).all()
            beside = positions + 0.5 - middles
            assert abs(beside.mean()) <= 0.5 / new + 1e-9, (old, new)


def test_arrays_and_tensors_of_ids_are_resized_alike_and_a_fitting_one_is_left_alone():
    ids = np.random.default_rng(0).integers(0, 60_000, (2, 12, 20)).astype(np.int32)
    small = resize_ids(ids, (6, 15))
    assert small.shape == (2, 6, 15)
    assert np.array_equal(resize_ids(torch.from_numpy(ids), (6, 15)).numpy(), small)
    assert set(np.unique(small)) <= set(np.unique(ids))
    assert resize_ids(ids, (12, 20)) is ids


def test_only_augmentation_with_scales_is_named_in_the_key():
    assert "label_resizing" not in keyed(AugmentationConfig(crop_height=32))
    assert keyed(AugmentationConfig(scale_max=1.5))["label_resizing"] == "centered"
