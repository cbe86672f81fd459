"""One frame: picture, labels, instances and depth, a pure function of its arguments."""

from dataclasses import dataclass

import numpy as np

from trainers.data.toy_city.appearance import LOOKS
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.raster import Buffers, rasterize
from trainers.data.toy_city.traffic import FRAMES_PER_STREET, build_scene

SUPERSAMPLING = 2
"""Pixels drawn along each axis for one pixel of the picture."""
SIZE_MULTIPLE = 32


@dataclass(frozen=True)
class Frame:
    """A picture and everything that is known about it; H × W pixels."""

    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    label_ids: np.ndarray
    """uint8 [H, W], Cityscapes label ids (not train ids)."""
    instance_ids: np.ndarray
    """uint16 [H, W]: label id × 1000 + number for things, the label id otherwise."""
    depth: np.ndarray
    """float32 [H, W], metres along the optical axis; inf for the sky."""
    clear: np.ndarray | None
    """uint8 [H, W, 3] in the domain ``fog``: the same view without the fog."""


def render_frame(*, seed: int, street: int, frame: int, domain: str, height: int, width: int, visit: int = 0) -> Frame:
    """Render the ``frame``-th view along a street in a domain (or in another of ``LOOKS``).

    Two domains show the same street and the same objects in other light; two sizes of one aspect ratio show the same
    scene; two visits come to nearly the same place at another time.

    Raises:
        ValueError: for an unknown domain, a size that is no positive multiple of 32, a frame that no street has, or a
            negative seed, street or visit.
    """
    check_request(domain, height, width)
    if not 0 <= frame < FRAMES_PER_STREET:
        raise ValueError(f"frame is {frame}; a street has frames 0 to {FRAMES_PER_STREET - 1}")
    if min(seed, street, visit) < 0:
        raise ValueError(f"seed is {seed}, street {street} and visit {visit}; all must be 0 or more")
    scene = build_scene(seed, street, frame, visit)
    buffers = rasterize(scene, height * SUPERSAMPLING, width * SUPERSAMPLING)
    picture = LOOKS[domain](scene, buffers, Dice(seed, street, domain), Dice(seed, street, frame, visit, domain))
    labels, instances, depth = _majority(buffers)
    return Frame(picture.image, labels, instances.astype(np.uint16), depth, picture.clear)


def check_request(domain: str, height: int, width: int) -> None:
    """Raise ValueError for what no frame can be rendered of."""
    if domain not in LOOKS:
        raise ValueError(f"unknown domain {domain!r}; Toy City has {', '.join(LOOKS)}")
    for name, size in (("height", height), ("width", width)):
        if size < SIZE_MULTIPLE or size % SIZE_MULTIPLE:
            raise ValueError(f"{name} is {size}; it must be a positive multiple of {SIZE_MULTIPLE}")


def majority_index(instances: np.ndarray) -> np.ndarray:
    """[H / 2, W / 2]: of each 2 × 2 block the first pixel (0 to 3, row by row) that agrees with another, else 0."""
    a, b, c, d = (instances[row::2, column::2] for row in (0, 1) for column in (0, 1))
    return np.where((a == b) | (a == c) | (a == d), 0, np.where((b == c) | (b == d), 1, np.where(c == d, 2, 0)))


def _majority(buffers: Buffers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, instance and depth of one pixel of each 2 × 2 block: nothing is mixed."""
    chosen = majority_index(buffers.instances)
    height, width = chosen.shape
    at = 2 * np.arange(height)[:, None] + chosen // 2, 2 * np.arange(width) + chosen % 2
    return buffers.labels[at], buffers.instances[at], buffers.depth[at]
