"""Fixtures that several folders share. Nothing of ``trainers`` is imported before the shape checker is in place."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the real photographs are not at ../shared/data")  # They are no part of the repository.
    return PHOTOGRAPHS


@pytest.fixture(scope="session")
def toy_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Toy City of 32x64 pixels: seven day images to train on, three to validate on by day and by night."""
    from trainers.data.toy_city import write_tree

    root = tmp_path_factory.mktemp("toy_city")
    counts = {"day": {"train": 7, "val": 3}, "night": {"val": 3}}
    assert len(list(write_tree(root, seed=0, height=32, width=64, counts=counts))) == 13
    return root


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in Toy City's layout that no change of Toy City changes: blocks of random classes in noisy colors."""
    from trainers.data.label_spaces import CITYSCAPES_LABEL_IDS, COLORS

    root = tmp_path_factory.mktemp("blocks")
    rng = np.random.default_rng(0)
    for domain, part, count in (("day", "train", 7), ("day", "val", 3), ("night", "train", 7), ("night", "val", 3)):
        images, labels = (root / domain / kind / part / "city" for kind in ("leftImg8bit", "gtFine"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(count):
            train_ids = rng.integers(19, size=(4, 8)).repeat(8, axis=0).repeat(8, axis=1)
            light = 3 if domain == "day" else 1
            pixels = np.array(COLORS)[train_ids] * light // 4 + rng.integers(60, size=(32, 64, 3))
            label_ids = np.array(CITYSCAPES_LABEL_IDS)[train_ids]
            stem = f"city_000000_{number:06d}"
            Image.fromarray(pixels.astype(np.uint8)).save(images / f"{stem}_leftImg8bit.png")
            Image.fromarray(label_ids.astype(np.uint8)).save(labels / f"{stem}_gtFine_labelIds.png")
            instance_ids = (1000 * label_ids + np.arange(8).repeat(8)).astype(np.uint16)
            Image.fromarray(instance_ids).save(labels / f"{stem}_gtFine_instanceIds.png")
    return root


@pytest.fixture
def deterministic() -> Iterator[None]:
    """One thread and deterministic algorithms, so that numbers repeat bit for bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
