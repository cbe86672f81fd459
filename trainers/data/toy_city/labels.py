"""The Cityscapes label ids that the renderer draws with."""

from trainers.data.label_spaces import CITYSCAPES_LABEL_IDS, CLASS_NAMES

LABEL = dict(zip(CLASS_NAMES, CITYSCAPES_LABEL_IDS, strict=True)) | {
    "ego_vehicle": 1,
    "static": 4,
    "ground": 6,
    "parking": 9,
}
"""Label id by class name: the 19 classes and four that are not scored."""

THINGS = frozenset(LABEL[name] for name in ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"))
"""Label ids whose pixels carry an instance number: instance id = label id × 1000 + number."""


def instance_id(label: int, number: int) -> int:
    """The Cityscapes instance id of the ``number``-th object of a label; the label itself for stuff."""
    return label * 1000 + number if label in THINGS else label
