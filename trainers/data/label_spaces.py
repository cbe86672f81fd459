"""Label spaces: how the indices stored in a label PNG become the 19 Cityscapes train ids.

Every conversion is one lookup in a 256-entry table filled with ``IGNORE_LABEL``, so an index that the
table does not know can never pass for a class.

Source: mcordts/cityscapesScripts, helpers/labels.py (ids, order, colors).
"""

from collections.abc import Iterable, Mapping

import numpy as np

IGNORE_LABEL = 255
"""The train id of pixels that no loss and no score counts."""

CLASS_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 classes; the position is the train id."""

NUM_CLASSES = len(CLASS_NAMES)

COLORS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
"""RGB by train id, for pictures."""

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The Cityscapes label id of each train id."""

CITYSCAPES_VOID_LABEL_IDS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255)
"""Label ids that exist but are not scored; -1 (license plate) is 255 in a uint8 PNG."""

CITYSCAPES = dict(zip(CITYSCAPES_LABEL_IDS, range(NUM_CLASSES), strict=True)) | dict.fromkeys(
    CITYSCAPES_VOID_LABEL_IDS, IGNORE_LABEL
)
"""Label id → train id, for ``*_gtFine_labelIds.png``."""

TRAIN_IDS = {**{train_id: train_id for train_id in range(NUM_CLASSES)}, IGNORE_LABEL: IGNORE_LABEL}
"""Labels that are train ids already, for ``*_labelTrainIds.png``."""

CAMVID = dict(enumerate((10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, IGNORE_LABEL)))
"""Index of the 11-class CamVid labels (sky, building, pole, …, bicyclist, void) → train id."""

CLASS_SETS = {
    "cityscapes19": tuple(range(NUM_CLASSES)),
    "camvid11": tuple(sorted(set(CAMVID.values()) - {IGNORE_LABEL})),
}
"""Train ids that a score averages over, by the name that the leaderboard's ``class_set`` column holds."""

_OWN_CLASSES = "train_ids:"
"""Begins the name of a class set that has none of its own: the train ids follow."""


def class_set_of(train_ids: Iterable[int]) -> str:
    """The name of the class set that holds ``train_ids``; one without a name is called after its ids."""
    ids = tuple(sorted(set(train_ids) - {IGNORE_LABEL}))
    named = {members: name for name, members in CLASS_SETS.items()}
    return named.get(ids) or _OWN_CLASSES + ",".join(map(str, ids))


def class_ids(class_set: str) -> tuple[int, ...]:
    """The train ids of a class set, by its name."""
    if class_set.startswith(_OWN_CLASSES):
        return tuple(int(train_id) for train_id in class_set.removeprefix(_OWN_CLASSES).split(","))
    return CLASS_SETS[class_set]


def lookup_table(label_map: Mapping[int, int]) -> np.ndarray:
    """A 256-entry uint8 table: stored index → train id, everything unknown ``IGNORE_LABEL``."""
    table = np.full(256, IGNORE_LABEL, dtype=np.uint8)
    for label_id, train_id in label_map.items():
        table[label_id] = train_id
    return table
