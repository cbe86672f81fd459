"""What can be wrong with the files of a split, and what is not wrong but surely not meant.

`nightshift data check` and the first sight of a data set before a run read through here, so they say the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from trainers.data.datasets import DATASETS, DataSplit, label_map_of, open_split
from trainers.data.image_files import check_known, decode, label_ids_of, read_label, to_rgb
from trainers.data.label_spaces import CITYSCAPES, IGNORE_LABEL, lookup_table
from trainers.data.packed import is_packed, read_index
from trainers.data.samples import Sample, known_names, listed
from trainers.data.walker import left_out
from trainers.errors import UserError

DARKEST_RANGE = 64
"""A 16-bit image whose brightness ends below this of 255 surely holds fewer than 16 bits."""
TRAIN_ID_LIKE = frozenset({*range(19), IGNORE_LABEL})


class SplitNotes:
    """What stands out in the files of a split that are not wrong, counted while they are read."""

    def __init__(self, split: DataSplit) -> None:
        self._split = split
        self._notes: dict[str, list[tuple[Path, str]]] = {}
        self._labels = 0
        self._has_class = False

    def add_label(self, label: np.ndarray, image: Image.Image, path: Path, label_map: Mapping[int, int]) -> None:
        """Look at a label map, decoded as ``image``."""
        self._labels += 1
        train_ids = lookup_table(label_map)[label]
        self._has_class = self._has_class or bool((train_ids != IGNORE_LABEL).any())
        if (mismatch := gray_palette(label, image)) is not None:
            self._note(
                "labels have a gray palette that is not their indices; the indices are read: if the grays are the "
                "classes, save them as 8-bit gray (mode L)",
                path,
                f"index {mismatch[0]} is shown as gray {mismatch[1]}",
            )
        if dict(label_map).items() >= CITYSCAPES.items() and looks_like_train_ids(label, train_ids):
            ids = sorted(set(np.unique(label).tolist()))
            self._note(
                "labels look like train ids where raw label ids belong, and most of them would be ignored; take the "
                "*_labelIds.png files",
                path,
                f"ids {ids}",
            )

    def add_image(self, image: Image.Image, path: Path) -> None:
        """Look at an image before it becomes 8-bit RGB."""
        if not image.mode.startswith("I"):
            return
        highest = int(np.asarray(image).max())
        if highest // 256 < DARKEST_RANGE:
            bits = max(1, highest).bit_length()
            self._note(
                f"images have 16 bits and values of {bits} or fewer, so they are read as brightness 0 to "
                f"{highest // 256} of 255; multiply their values by {2 ** (16 - bits)}, or save them as 8 bits",
                path,
                f"its largest value is {highest}",
            )

    def lines(self) -> list[str]:
        """A line for each kind of note, with its first file."""
        return [
            f"{self._split}: {len(files)} {text} (first: {files[0][0]}, {files[0][1]})"
            for text, files in sorted(self._notes.items())
            for files in [sorted(files)]
        ]

    def ignored(self) -> list[str]:
        """A line where labels were read and every pixel of them is ignored; before a run the stage refuses it."""
        return [all_ignored(self._split, self._labels)] if self._labels and not self._has_class else []

    def _note(self, text: str, path: Path, detail: str) -> None:
        self._notes.setdefault(text, []).append((path, detail))


def all_ignored(split: DataSplit, labels: int) -> str:
    """What is said of a split that teaches and measures nothing."""
    return (
        f"{split}: every pixel of its {labels} label(s) is ignored, so nothing can be learned from it or chosen by it; "
        "take another split, or correct its labels or what their indices mean"
    )


def gray_palette(label: np.ndarray, image: Image.Image) -> tuple[int, int] | None:
    """(Index, gray) of the first index whose color is another gray than the index, where all colors are gray.

    PNG optimizers turn 8-bit gray into a palette: what was class 23 is index 0 then.
    """
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is None:
        return None
    colors = np.array(palette).reshape(-1, 3)
    used = np.unique(label)
    if used[-1] >= len(colors):
        return None
    used_colors = colors[used]
    other = used_colors[:, 0] != used
    if (used_colors != used_colors[:, :1]).any() or not other.any():
        return None
    return int(used[other][0]), int(used_colors[other][0, 0])


def looks_like_train_ids(label: np.ndarray, train_ids: np.ndarray) -> bool:
    """Whether a file of raw label ids holds three or more of 0 to 18, nothing above, and is void for the most part."""
    ids = set(np.unique(label).tolist())
    if not ids <= TRAIN_ID_LIKE or len(ids - {IGNORE_LABEL}) < 3:
        return False
    return bool((train_ids == IGNORE_LABEL).mean() > 0.5)


def check_split(
    root: Path, samples: Sequence[Sample], split: DataSplit, *, notes: SplitNotes | None = None, threads: int = 1
) -> Iterator[str | None]:
    """Read every file; yields one problem (or ``None``) per sample, so a caller can show progress.

    What is no problem goes into ``notes``. A caller that stops early stops the reading too.
    """
    if not samples:
        return
    label_map = label_map_of(split.dataset, root)
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(partial(_problem, label_map=label_map, notes=notes or SplitNotes(split)), samples)
    finally:
        pool.shutdown(cancel_futures=True)


def _problem(sample: Sample, label_map: Mapping[int, int], notes: SplitNotes) -> str | None:
    try:
        check_sample(sample, label_map, notes)
    except UserError as error:
        return str(error)
    return None


def check_sample(sample: Sample, label_map: Mapping[int, int], notes: SplitNotes) -> None:
    """All files decode, become RGB, and have one size, and the label holds known indices only."""
    image, _ = read_checked(sample, label_map, notes)
    to_rgb(image, sample.image)
    if sample.partner is not None:
        partner = decode(sample.partner)
        to_rgb(partner, sample.partner)
        check_pair_sizes(sample, image.size, partner.size)


def read_checked(
    sample: Sample, label_map: Mapping[int, int], notes: SplitNotes
) -> tuple[Image.Image, np.ndarray | None]:
    """The image as decoded, and the label indices as stored.

    Raises:
        UserError: a file cannot be decoded, sizes differ, or the label holds an index outside ``label_map``.
    """
    image = decode(sample.image)
    notes.add_image(image, sample.image)
    if sample.label is None:
        return image, None
    stored = decode(sample.label)
    label = label_ids_of(stored, sample.label)
    check_known(label, sample.label, label_map)
    check_sizes(sample, image.size, stored.size)
    notes.add_label(label, stored, sample.label, label_map)
    return image, label


def check_sizes(sample: Sample, image_size: Sequence[int], label_size: Sequence[int]) -> None:
    """Both (width, height); a pair that differs is named."""
    if tuple(image_size) != tuple(label_size):
        raise UserError(
            f"{sample.image} is {image_size[0]}×{image_size[1]} but its label {sample.label} is "
            f"{label_size[0]}×{label_size[1]}; both must have one size"
        )


def check_pair_sizes(sample: Sample, image_size: tuple[int, int], partner_size: tuple[int, int]) -> None:
    """Both (width, height): images of one place at two sizes would be stretched onto each other."""
    if image_size != partner_size:
        raise UserError(
            f"{sample.image} is {image_size[0]}×{image_size[1]} but its partner {sample.partner} is "
            f"{partner_size[0]}×{partner_size[1]}; both images of a pair must have one size"
        )


def check_has_classes(roots: Mapping[str, Path], split: DataSplit) -> None:
    """Refuse a split to learn from or to choose by whose every pixel is ignored; reads labels up to the first other.

    Raises:
        UserError: with the split.
    """
    root, samples = roots[split.dataset], open_split(roots, split)
    if is_packed(root):
        pixels = read_index(root, split.dataset)["splits"]
        packed = pixels.get(split.part) or pixels[split.split]
        has_classes = bool(np.any(packed["class_pixels"]))
    else:
        label_map = label_map_of(split.dataset, root)
        table = lookup_table(label_map)
        labels = (sample.label for sample in samples if sample.label is not None)
        has_classes = any((table[read_label(label, label_map)] != IGNORE_LABEL).any() for label in labels)
    if not has_classes:
        raise UserError(all_ignored(split, len(samples)))


def leftovers(root: Path, split: DataSplit, samples: Sequence[Sample]) -> list[str]:
    """What lies in the folders of a whole split and is not read: a line for each kind, with the first few names."""
    taken = {path for sample in samples for path in sample.files()}
    places = DATASETS[split.dataset].places(root, split.split)
    return [f"{split}: {line}" for line in left_out(root, places, taken)]


def list_problems(root: Path, dataset: str, images: Sequence[Path]) -> list[str]:
    """What is wrong with the text files in ``root`` that list images (``train:some.txt``), but for the splits' own.

    A text file none of whose lines names one of ``images`` is no list.
    """
    known = known_names([path.relative_to(root).as_posix() for path in images])
    own = {f"{split}.txt" for split in DATASETS[dataset].splits}
    problems = []
    for path in sorted(root.glob("*.txt")):
        if path.name in own or path.name.startswith("."):
            continue
        try:
            entries = listed(root, path.name, "")
        except UserError as error:
            problems.append(str(error))
            continue
        absent = [entry for entry in entries if entry.removeprefix("./") not in known]
        if absent and len(absent) < len(entries):
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            problems.append(f"{path} names {absent[0]!r}{more}, which no split has an image of")
    return problems
