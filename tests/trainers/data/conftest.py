from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_city_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A Toy City with everything in it, and the images that were written."""
    from tests.trainers.data.miniatures import TOY_TREE
    from trainers.data.toy_city import write_tree

    root = tmp_path_factory.mktemp("toy_city_tree")
    return root, list(write_tree(root, **TOY_TREE))
