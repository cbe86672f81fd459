"""Folders that anyone can fill: labeled images with a ``classes.yaml``, and the a/b/c folders of the dehazing code."""

from collections.abc import Mapping
from pathlib import Path

from trainers.data.label_spaces import CITYSCAPES, CLASS_NAMES, IGNORE_LABEL
from trainers.data.samples import Dataset, Sample, frame_of
from trainers.data.walker import Place, images_below, read_text, walk
from trainers.errors import UserError, nearest
from trainers.strict_yaml import YamlError, read_yaml

CLASSES_FILE = "classes.yaml"
IGNORE = "ignore"
"""What ``classes.yaml`` calls the index of pixels that do not count."""


def list_labeled_folder(root: Path, split: str) -> list[Sample]:
    """``images/<split>/**`` and, under the same relative path, ``labels/<split>/**.png`` (or ``.PNG``)."""
    images = root / "images" / split
    labels = root / "labels" / split
    label_files = {path.with_suffix(""): path for path in walk(labels).files if path.suffix.lower() == ".png"}
    places = {image: labels / image.relative_to(images) for image in images_below(images)}
    return [
        Sample(image, label_files.get(place.with_suffix(""), place.with_suffix(".png")))
        for image, place in places.items()
    ]


def labeled_folder_places(root: Path, split: str) -> list[Place]:
    """Images and labels; labels that are no PNG are left out too."""
    return [Place(root / "images" / split), Place(root / "labels" / split, "labels")]


def read_classes(root: Path) -> Mapping[int, int]:
    """``classes.yaml``: ``{index: name}`` with names of the 19 classes, or ``ignore``; index → train id.

    Raises:
        UserError: the file is missing, is no such mapping, or holds a name that no class has.
    """
    path = root / CLASSES_FILE
    if not path.is_file():
        raise UserError(
            f"{path} is missing; it says what the label indices mean, as in {{0: road, 1: car, 255: ignore}}"
        )
    try:
        content = read_yaml(read_text(path))
    except YamlError as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} must map label indices to classes, as in {{0: road, 1: car, 255: ignore}}")
    train_ids = {}
    for index, name in content.items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= 255:
            raise UserError(f"{path} has the index {index!r}; an index is a number from 0 to 255")
        known = (*CLASS_NAMES, IGNORE)
        if name not in known:
            raise UserError(f"{path} has the class {name!r} for index {index}: {nearest(str(name), known)}")
        train_ids[index] = IGNORE_LABEL if name == IGNORE else CLASS_NAMES.index(name)
    if set(train_ids.values()) == {IGNORE_LABEL}:
        raise UserError(f"{path} names no class but {IGNORE}; give at least one of the 19")
    return train_ids


def list_dehazing(root: Path, split: str) -> list[Sample]:
    """``a/`` hazy, ``b/`` clear, ``c/`` masks (Cityscapes label ids): files that share a Cityscapes frame, or a stem.

    Source: the README of Learning-of-Image-Dehazing-Models-for-Segmentation-Tasks.
    """
    first, second = ("a", "b") if split == "hazy" else ("b", "a")
    images, partners, masks = (_by_frame(root / name) for name in (first, second, "c"))

    def mask(frame: str) -> Path:
        ending = "_gtFine_labelIds.png" if frame_of(f"{frame}_.png") == frame else ".png"
        return masks.get(frame, root / "c" / f"{frame}{ending}")

    return [
        Sample(image, mask(frame), partners.get(frame, root / second / f"{frame}.png"))
        for frame, image in images.items()
    ]


def _by_frame(folder: Path) -> dict[str, Path]:
    """Frame → file; of several fogs of one frame the first, in order of their names."""
    found: dict[str, Path] = {}
    for path in images_below(folder):
        found.setdefault(frame_of(path.name), path)
    return found


def dehazing_places(root: Path, split: str) -> list[Place]:
    """All three folders."""
    return [Place(root / "a"), Place(root / "b"), Place(root / "c", "labels")]


LABELED_FOLDER = Dataset(
    splits=("train", "val", "test"),
    unlabeled=frozenset(),
    label_map={},
    class_set="",
    list_samples=list_labeled_folder,
    places=labeled_folder_places,
    layout=f"images/<split>/, labels/<split>/ (index PNGs of the same names) and {CLASSES_FILE}",
    side_files=dict.fromkeys(("train", "val", "test"), CLASSES_FILE),
    read_label_map=read_classes,
)

DEHAZING = Dataset(
    splits=("hazy", "clear"),
    unlabeled=frozenset(),
    label_map=CITYSCAPES,
    class_set="cityscapes19",
    list_samples=list_dehazing,
    places=dehazing_places,
    layout="a/ (hazy), b/ (clear) and c/ (Cityscapes label ids), files of one frame or one name",
    paired=frozenset({"hazy", "clear"}),
)
