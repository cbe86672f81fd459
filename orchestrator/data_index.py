"""Statistics of a data set: a row per image, written as Parquet, and what adds up over a split.

The numbers come from ``trainers`` as plain arrays; here they become tables.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.preflight import Bar, num_cpus
from trainers.data.checks import SplitNotes, leftovers
from trainers.data.datasets import DATASETS, DataSplit, content_files, label_map_of
from trainers.data.fingerprint import fingerprint
from trainers.data.label_spaces import CLASS_NAMES
from trainers.data.samples import Sample
from trainers.data.statistics import ImageStatistics, image_statistics
from trainers.errors import UserError

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("image", pa.string()),
        ("label", pa.string()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        *((name, pa.float64()) for name in ("brightness", "red", "green", "blue")),
        *((f"pixels.{name}", pa.int64()) for name in (*CLASS_NAMES, "ignored")),
    ]
)
"""Paths relative to the data set's folder; brightness and colors are means in 0…255; pixels are NULL without labels."""


@dataclass(frozen=True)
class SplitIndex:
    """What is known of one split once its files were read."""

    summary: dict[str, Any] | None
    """Images, fingerprint, brightness and class frequencies; ``None`` where no image can be read."""
    rows: list[dict[str, Any]]
    """A row of ``SCHEMA`` per image."""
    problems: list[str]
    """One for each image that cannot be read; it is left out."""
    notes: list[str]
    """What is surely not meant, and what is left out."""


def index_split(root: Path, split: DataSplit, samples: Sequence[Sample], *, full: bool, bar: Bar) -> SplitIndex:
    """Read every file of a split; ``full`` as in ``fingerprint``."""
    notes = SplitNotes(split)
    results = list(bar(statistics(root, split, samples, notes), len(samples), str(split)))
    read = [(sample, result) for sample, result in zip(samples, results, strict=True) if not isinstance(result, str)]
    images = [image for _, image in read]
    summary = None
    if images:
        summary = {
            "split": split.part,
            "images": len(images),
            "fingerprint": fingerprint(root, content_files(root, split, [sample for sample, _ in read]), full=full),
            "brightness": sum(image.brightness for image in images) / len(images),
            "class_frequency": class_frequency(images),
        }
    left_out = leftovers(root, split, samples) if split.part == split.split else []
    problems = [result for result in results if isinstance(result, str)]
    return SplitIndex(summary, image_rows(root, split, read), problems, notes.lines() + notes.ignored() + left_out)


def statistics(
    root: Path, split: DataSplit, samples: Sequence[Sample], notes: SplitNotes
) -> Iterator[ImageStatistics | str]:
    """Of each sample, in order, or what is wrong with its files; they are decoded in parallel.

    What is not wrong but surely not meant goes into ``notes``.
    """
    label_map = {} if split.split in DATASETS[split.dataset].unlabeled else label_map_of(split.dataset, root)
    with ThreadPoolExecutor(num_cpus()) as pool:
        yield from pool.map(partial(_statistics_or_problem, label_map=label_map, notes=notes), samples)


def _statistics_or_problem(sample: Sample, label_map: Mapping[int, int], notes: SplitNotes) -> ImageStatistics | str:
    try:
        return image_statistics(sample, label_map, notes)
    except UserError as error:
        return str(error)


def image_rows(root: Path, split: DataSplit, images: Iterable[tuple[Sample, ImageStatistics]]) -> list[dict[str, Any]]:
    """A row of ``SCHEMA`` per image."""
    rows = []
    for sample, one in images:
        row: dict[str, Any] = {
            "split": split.part,
            "image": _readable(sample.image.relative_to(root).as_posix()),
            "label": _readable(sample.label.relative_to(root).as_posix()) if sample.label is not None else None,
            "height": one.height,
            "width": one.width,
            "brightness": one.brightness,
            **dict(zip(("red", "green", "blue"), one.colors, strict=True)),
        }
        if one.class_pixels is not None:
            row |= {f"pixels.{name}": int(n) for name, n in zip(CLASS_NAMES, one.class_pixels, strict=True)}
            row["pixels.ignored"] = one.ignored_pixels
        rows.append(row)
    return rows


def _readable(name: str) -> str:
    """``name`` with every byte that is no UTF-8 written as an escape, which Parquet needs."""
    return name.encode("utf-8", "backslashreplace").decode()


def class_frequency(found: Sequence[ImageStatistics]) -> dict[str, float] | None:
    """Class → share of the scored pixels; ``None`` without labels."""
    labeled = [one.class_pixels for one in found if one.class_pixels is not None]
    total = np.sum(labeled, axis=0) if labeled else np.zeros(len(CLASS_NAMES))
    return dict(zip(CLASS_NAMES, (total / total.sum()).tolist(), strict=True)) if total.sum() else None


def write_index(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One Parquet file, whole or not at all.

    Raises:
        UserError: its folder does not exist.
    """
    if not path.parent.is_dir():
        raise UserError(f"--parquet {path}: the folder {path.parent} does not exist; make it first")
    aside = path.with_name(f".{path.name}.aside")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), aside)
    aside.replace(path)
