"""Packed data sets: resized, decoded-once planes in NumPy files that every process maps into memory.

A packed folder holds ``packed.json`` and, per split, shards of shape (images, planes, height, width), uint8. Planes are
red, green, blue, train id and, where the split has partners, the partner's red, green and blue. The stage ``pack``
writes it; ``SplitImages`` reads it in place of the original.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.samples import Sample
from trainers.errors import UserError

FORMAT = 1
INDEX_FILE = "packed.json"


def is_packed(root: Path) -> bool:
    """Whether ``root`` is a packed data set."""
    return (root / INDEX_FILE).is_file()


def read_index(root: Path, dataset: str | None = None) -> dict[str, Any]:
    """``packed.json``: ``format``, ``dataset``, ``class_set``, ``height``, ``width`` and ``splits``.

    Raises:
        UserError: it cannot be read, has another format, or is of another data set than ``dataset``.
    """
    path = root / INDEX_FILE
    try:
        index: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); pack the data set again") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(f"{path} has another format than {FORMAT}; pack the data set again")
    if dataset not in (None, index["dataset"]):
        raise UserError(f"{root} is a packed {index['dataset']}, not {dataset}; name the folder of {dataset}")
    return index


def shard_files(root: Path) -> list[Path]:
    """Every shard of a packed data set."""
    return [root / shard["file"] for split in read_index(root)["splits"].values() for shard in split["shards"]]


def packed_samples(root: Path, dataset: str, part: str) -> list[Sample] | None:
    """The samples of a packed split in their order; ``None`` where it is not packed.

    Their paths say what was packed, below ``root``; the files themselves are elsewhere.
    """
    split = read_index(root, dataset)["splits"].get(part)
    if split is None:
        return None

    def below(names: Sequence[str] | None) -> list[Path | None]:
        return [None] * len(split["images"]) if names is None else [root / name for name in names]

    columns = (split["images"], below(split["labels"]), below(split["partners"]))
    return [Sample(root / image, label, partner) for image, label, partner in zip(*columns, strict=True)]


class PackedSplit:
    """The planes of some samples of a packed data set; nothing is read before it is asked for.

    Raises:
        UserError: the data set was packed at another size, without the partners, or a shard is missing.
    """

    def __init__(
        self, root: Path, parts: Sequence[str], samples: Sequence[Sample], *, size: tuple[int, int], partners: bool
    ) -> None:
        """``parts`` are the names under which the split may be packed, ``size`` is (height, width)."""
        index = read_index(root)
        if (index["height"], index["width"]) != size:
            raise UserError(
                f"{root} is packed at {index['height']}×{index['width']} and {size[0]}×{size[1]} is asked for; pack "
                "the data set at that size too, or name its original folder"
            )
        part = next(part for part in parts if part in index["splits"])
        split = index["splits"][part]
        if partners and split["partners"] is None:
            raise UserError(f"{root} holds {part} without partners; pack it again from a data set that has them")
        places = {
            name: (number, within)
            for number, shard in enumerate(split["shards"])
            for within, name in enumerate(split["images"][shard["first"] : shard["first"] + shard["images"]])
        }
        names = [sample.image.relative_to(root).as_posix() for sample in samples]
        self._places = [places[name] for name in names]
        self._files = [root / shard["file"] for shard in split["shards"]]
        self._shards: dict[int, np.ndarray] = {}
        positions = {name: position for position, name in enumerate(split["images"])}
        self.class_pixels = np.array([split["class_pixels"][positions[name]] for name in names], dtype=np.int64)
        """Pixels of each class in each image (n, 19)."""
        for path in self._files:
            if not path.is_file():
                raise UserError(f"{path} is missing; pack the data set again")

    def __getitem__(self, index: int) -> np.ndarray:
        """The planes of one sample (planes, height, width): a view into the file, never written."""
        number, within = self._places[index]
        if number not in self._shards:
            # Copy-on-write: pages are shared with all readers, and torch takes no read-only memory.
            self._shards[number] = np.load(self._files[number], mmap_mode="c", allow_pickle=False)
        planes: np.ndarray = self._shards[number][within]
        return planes

    def __getstate__(self) -> Mapping[str, Any]:
        """A loader process maps the files itself; a pickled map would be a copy."""
        return {**vars(self), "_shards": {}}
