"""Fixtures that several folders share. Nothing of ``trainers`` is imported before the shape checker is in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of real photographs."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the real photographs are not at ../shared/data")
    return PHOTOGRAPHS


@pytest.fixture(scope="session")
def toy_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Toy City of 32x64 pixels: seven day images to train on, three to validate on by day and by night."""
    from trainers.data.toy_city import write_tree

    root = tmp_path_factory.mktemp("toy_city")
    counts = {"day": {"train": 7, "val": 3}, "night": {"val": 3}}
    assert len(list(write_tree(root, seed=0, height=32, width=64, counts=counts))) == 13
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
