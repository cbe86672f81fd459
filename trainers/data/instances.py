"""Instance maps: which object a pixel belongs to, in the file beside a label map.

Cityscapes' ids: ``PER_LABEL`` times the label id plus a number where objects are told apart, else the label id itself.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from trainers.data.image_files import decode
from trainers.data.samples import Sample
from trainers.errors import UserError

PER_LABEL = 1000

LABELS, INSTANCES = "_labelIds", "_instanceIds"
"""What the names of Cityscapes' label maps and of the instance maps beside them differ in."""


def instance_file(label: Path) -> Path:
    """Where the instance map that belongs to a label map lies.

    Raises:
        UserError: the label map has no such name that it can be told from.
    """
    if LABELS not in label.name:
        raise UserError(
            f"{label} has no instance map beside it: names need {LABELS}, which it would have as {INSTANCES}"
        )
    return label.with_name(label.name.replace(LABELS, INSTANCES))


def check_instances(samples: Sequence[Sample], remedy: str) -> None:
    """Refuse samples without instance maps; ``remedy`` is how to do without.

    Raises:
        UserError: with the first file that is missing.
    """
    labels = [sample.label for sample in samples if sample.label is not None]
    try:
        missing = [file for file in map(instance_file, labels) if not file.is_file()]
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]} does not exist{more}; {remedy}")


def read_instances(label: Path, shape: tuple[int, ...] | None = None) -> Int32[np.ndarray, "h w"]:
    """The instance map beside ``label``, as stored.

    Raises:
        UserError: it is none, or has another ``shape`` (height, width) than the label map, where that is given.
    """
    path = instance_file(label)
    image = decode(path)
    instances = np.asarray(image)
    if instances.ndim != 2 or instances.dtype.kind not in "iu":
        raise UserError(f"{path} has mode {image.mode}: an instance map holds one integer per pixel (8 or 16 bits)")
    if shape is not None and instances.shape != shape:
        raise UserError(
            f"{path} is {instances.shape[1]}×{instances.shape[0]} but its label map is "
            f"{shape[1]}×{shape[0]}; both must have one size"
        )
    return instances.astype(np.int32)
