import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.data.fingerprint import EDGE_BYTES, fingerprint


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"one")
    (folder / "images" / "b.png").write_bytes(b"two")
    (folder / "large.bin").write_bytes(bytes(3 * EDGE_BYTES))
    return folder


def take(root: Path, *, full: bool = False) -> str:
    return fingerprint(root, (path for path in root.rglob("*") if path.is_file()), full=full)


@pytest.mark.parametrize("full", [False, True])
def test_neither_place_nor_date_nor_order_matters(root: Path, full: bool):
    moved = shutil.copytree(root, root.parent / "elsewhere")
    os.utime(moved / "large.bin", (1, 1))
    assert take(moved, full=full) == take(root, full=full)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    assert fingerprint(root, reversed(files)) == fingerprint(root, files)


def edit(offset: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / "large.bin").open("r+b") as file:
            file.seek(offset)
            file.write(b"x")

    return change


CHANGES: dict[str, Callable[[Path], object]] = {
    "a name": lambda root: (root / "images" / "a.png").rename(root / "images" / "c.png"),
    "two files that swap": lambda root: (
        (root / "images" / "a.png").write_bytes(b"two"),
        (root / "images" / "b.png").write_bytes(b"one"),
    ),
    "a file less": lambda root: (root / "images" / "a.png").unlink(),
    "a byte more": lambda root: (root / "large.bin").write_bytes(bytes(3 * EDGE_BYTES + 1)),
    "the first byte": edit(0),
    "the last byte": edit(3 * EDGE_BYTES - 1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("full", [False, True])
def test_content_and_names_matter(root: Path, change: str, full: bool):
    before = take(root, full=full)
    CHANGES[change](root)
    assert take(root, full=full) != before


def test_only_a_full_fingerprint_sees_the_middle_of_a_large_file(root: Path):
    before, before_full = take(root), take(root, full=True)
    edit(3 * EDGE_BYTES // 2)(root)
    assert take(root) == before
    assert take(root, full=True) != before_full


def test_the_two_kinds_never_compare_equal(tmp_path: Path):
    (tmp_path / "small").write_bytes(b"x")
    assert take(tmp_path) != take(tmp_path, full=True)
