"""Data sets that stages make of others' images (``trainers.data.references``)."""

from pathlib import Path

from trainers.data.references import INDEX_FILE, read_label_map, read_reference
from trainers.data.samples import Dataset, Sample, inside

TRANSLATED_PARTS = ("train", "val", "test", "unlabeled")
POOL_PARTS = ("day_train", "day_val", "night_train", "night_val")


def list_made(root: Path, split: str) -> list[Sample]:
    """The images that lie in this folder; labels, and images taken as they are, are found by ``open_split``."""
    reference = read_reference(root, split)
    if reference is None or reference.images is None:
        return []
    return [Sample(inside(root, name), None) for name in reference.images]


TRANSLATED = Dataset(
    splits=TRANSLATED_PARTS,
    unlabeled=frozenset({"unlabeled"}),
    label_map={},
    class_set="",
    list_samples=list_made,
    layout=f"{INDEX_FILE} and images/<split>/, as the stage `translate` leaves them",
    side_files=dict.fromkeys(TRANSLATED_PARTS, INDEX_FILE),
    read_label_map=read_label_map,
    refers=True,
)


def _images_of_others(splits: tuple[str, ...], stage: str, *, labeled: bool = False) -> Dataset:
    """Images that stay where they are, and so do their labels if they have any."""
    return Dataset(
        splits=splits,
        unlabeled=frozenset(() if labeled else splits),
        label_map={},
        class_set="",
        list_samples=list_made,
        layout=f"{INDEX_FILE}, as the stage `{stage}` leaves it",
        side_files=dict.fromkeys(splits, INDEX_FILE),
        read_label_map=read_label_map,
        refers=True,
    )


LIGHT_POOL = _images_of_others(POOL_PARTS, "light_split")
SELECTED = _images_of_others(("train",), "selection")
AGREED = _images_of_others(("train",), "agreement", labeled=True)
