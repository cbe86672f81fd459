"""New label maps of parts of others: single-class maps, pasted at the place where they were.

Cityscapes's camera does not move in its car, so a wall that stands at some pixels of one street may stand there in
another. What is pasted keeps the rules of a label map: every pixel has one class, what is not scored stays where it
is, and an object is one instance that no other object shares.

Shape legend: h height, w width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16, UInt8, UInt16

from trainers.data.instances import PER_LABEL
from trainers.data.label_spaces import CITYSCAPES, CITYSCAPES_LABEL_IDS, CLASS_NAMES, IGNORE_LABEL, lookup_table
from trainers.errors import UserError

TRAIN_IDS = lookup_table(CITYSCAPES)
FILLER, IMMOVABLE = -1, len(CLASS_NAMES)
"""Depths behind everything and in front of everything; between them the position in the order of overlap."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right: the last two are the first outside."""


@dataclass(frozen=True)
class LabelMap:
    """A label map as Cityscapes stores it, and the photograph that it is of where that is asked for."""

    labels: UInt8[np.ndarray, "h w"]
    """Raw label ids."""
    instances: UInt16[np.ndarray, "h w"]
    image: UInt8[np.ndarray, "h w 3"] | None = None


@dataclass(frozen=True)
class Donor:
    """Where a single-class map comes from."""

    source: LabelMap
    box: Box
    """Around all pixels of the class."""


class Canvas:
    """A label map that others are pasted into."""

    def __init__(self, base: LabelMap, *, order: Sequence[int], replace: bool) -> None:
        """A copy of ``base``.

        Args:
            base: what is pasted into.
            order: train ids, from what is always behind to what is always in front.
            replace: whether everything pasted covers what ``base`` has, its void pixels excepted; else classes in
                front stay in front.
        """
        self.labels, self.instances = base.labels.copy(), base.instances.copy()
        self.image = None if base.image is None else base.image.copy()
        self._depth_of = np.full(256, IMMOVABLE, dtype=np.int16)
        self._depth_of[list(order)] = np.arange(len(order))
        train_ids = TRAIN_IDS[base.labels]
        self._depth: Int16[np.ndarray, "h w"] = self._depth_of[train_ids]
        if replace:
            self._depth[train_ids != IGNORE_LABEL] = FILLER
        self._used = set(np.unique(base.instances).tolist())

    def paste(self, train_id: int, donor: Donor, *, min_pixels: float) -> bool:
        """Paste what ``donor`` has of one class, unless fewer than ``min_pixels`` of it would be seen."""
        top, left, bottom, right = donor.box
        window = slice(top, bottom), slice(left, right)
        label_id, depth = CITYSCAPES_LABEL_IDS[train_id], self._depth_of[train_id]
        seen = (donor.source.labels[window] == label_id) & (self._depth[window] <= depth)
        if seen.sum() < max(1.0, min_pixels):
            return False
        self.labels[window][seen] = label_id
        self._depth[window][seen] = depth
        found, which = np.unique(donor.source.instances[window][seen], return_inverse=True)
        renewed = [self._unused(label_id) if one >= PER_LABEL else label_id for one in found.tolist()]
        self.instances[window][seen] = np.array(renewed, dtype=np.uint16)[which]
        if self.image is not None and donor.source.image is not None:
            self.image[window][seen] = donor.source.image[window][seen]
        return True

    def _unused(self, label_id: int) -> int:
        """The lowest instance id of a label that no object here has had."""
        ids = range(label_id * PER_LABEL, (label_id + 1) * PER_LABEL)
        found = next((one for one in ids if one not in self._used), None)
        if found is None:
            raise UserError(f"a recombined map would need more than {PER_LABEL} instances of label id {label_id}")
        self._used.add(found)
        return found


def recombine(
    base: LabelMap,
    pastes: Iterable[tuple[int, Iterable[Donor]]],
    *,
    order: Sequence[int],
    replace: bool,
    min_pixels: float,
) -> tuple[LabelMap, tuple[int, ...]]:
    """``base`` with one donor of each class of ``pastes``; those in front come first, so what shows of one stays.

    Args:
        base: what is pasted into.
        pastes: train id (each once) and candidates, of which the first that shows ``min_pixels`` or more is taken; a
            class whose candidates are all hidden is left out.
        order: see ``Canvas``.
        replace: see ``Canvas``.
        min_pixels: see ``Canvas.paste``.

    Returns:
        The map, and the train ids of what was pasted, from front to back.
    """
    canvas = Canvas(base, order=order, replace=replace)
    pasted = tuple(
        train_id
        for train_id, donors in sorted(pastes, key=lambda paste: order.index(paste[0]), reverse=True)
        if any(canvas.paste(train_id, donor, min_pixels=min_pixels) for donor in donors)
    )
    return LabelMap(canvas.labels, canvas.instances, canvas.image), pasted
