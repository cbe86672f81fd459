"""Sun and lamps: how much light reaches each pixel. Flat arrays over N = H × W pixels."""

import numpy as np
from PIL import Image, ImageDraw

from trainers.data.toy_city.raster import Buffers, project_ground
from trainers.data.toy_city.scene import Camera, Scene
from trainers.data.toy_city.street import SIDES

_FALLOFF_METRES = 1.5
"""Softens 1 / distance² near a lamp."""


def sun_visibility(scene: Scene, points: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """float32 [N] in [0, 1]: whether houses leave the sun free at ``points`` [3, N]; ``sun`` points towards it."""
    street = scene.street
    x, y, z = points
    side = 1 if sun[0] > 0 else -1
    across = max(abs(float(sun[0])), 0.05)
    to_edge = street.sidewalk_end(side) - side * (x - street.center(z))
    row = SIDES.index(side)
    beyond = street.row(z + to_edge / across * sun[2])
    reach = np.maximum(to_edge + street.profile["setback"][row, beyond], 0) / across
    beyond = street.row(z + reach * sun[2])
    excess = y + reach * sun[1] - street.profile["height"][row, beyond]
    return np.clip(0.5 + excess / 0.8, 0, 1).astype(np.float32)


def ground_shadows(scene: Scene, sun: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [height, width] twice: shadows of objects in the sun, and the gloom right under them."""
    corners = scene.surfaces.casters[:, :8].reshape(-1, 4, 2)
    shift = -(sun[[0, 2]] / max(float(sun[1]), 0.1)).astype(np.float32)
    low, high = scene.surfaces.casters[:, 8, None, None], scene.surfaces.casters[:, 9, None, None]
    outlines = _swept(corners + shift * low, shift * (high - low))
    standing = corners[scene.surfaces.casters[:, 8] < 0.5]
    middle = standing.mean(axis=1, keepdims=True)
    return (
        _mask(project_ground(scene, outlines, height, width), height, width),
        _mask(project_ground(scene, middle + (standing - middle) * 1.12, height, width), height, width),
    )


def _swept(corners: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[K, 8, 2]: outline of each quadrilateral [K, 4, 2] moved along ``shift`` [K, 1, 2]; corners may repeat."""
    edge = np.roll(corners, -1, axis=1) - corners
    leads = edge[..., 1] * shift[..., 0] - edge[..., 0] * shift[..., 1] > 0
    follows = np.roll(leads, 1, axis=1)
    first = corners + shift * follows[..., None]
    second = corners + shift * leads[..., None]
    return np.stack([first, second], axis=2).reshape(len(corners), 8, 2)


def _mask(outlines: list[list[float]], height: int, width: int) -> np.ndarray:
    picture = Image.new("L", (width, height))
    draw = ImageDraw.Draw(picture)
    for outline in outlines:
        draw.polygon(outline, fill=255)
    return np.asarray(picture, dtype=np.float32) / 255


def lamp_light(points: np.ndarray, normals: np.ndarray, lamps: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """float32 [N, 3]: light of ``lamps`` [L, 3] in ``colors`` [L, 3] on surfaces with ``normals`` [3, N]."""
    light = np.zeros((points.shape[1], 3), np.float32)
    for lamp, color in zip(lamps, colors, strict=True):
        away = lamp[:, None] - points
        squared = np.einsum("in,in->n", away, away) + _FALLOFF_METRES
        facing = np.einsum("in,in->n", away, normals) / np.sqrt(squared)
        strength = (0.15 + np.maximum(facing, 0)) * np.exp(-squared / 500) / squared
        light += strength[:, None] * color
    return light


def beam(points: np.ndarray, x: float, z: float, direction: tuple[float, float], reach: float) -> np.ndarray:
    """float32 [N]: a low beam from (x, z) towards ``direction`` (x, z), brightest on the road ahead."""
    along = (points[0] - x) * direction[0] + (points[2] - z) * direction[1]
    across = (points[0] - x) * direction[1] - (points[2] - z) * direction[0]
    ahead, along = along > 0.2, np.maximum(along, 0.5)
    spread = np.exp(-((across / (0.28 * along + 0.6)) ** 2))
    cutoff = np.clip(1.1 - (points[1] - 0.7) / 0.5, 0, 1)
    return (ahead * spread * (0.12 + 0.88 * cutoff) * np.exp(-along / reach) / (0.35 + (along / 9) ** 1.5)).astype(
        np.float32
    )


def ego_beam(points: np.ndarray, camera: Camera, reach: float) -> np.ndarray:
    """float32 [N]: the own headlights."""
    x, _, z = camera.position
    return beam(points, x, z + 1.2, (float(np.sin(camera.yaw)), float(np.cos(camera.yaw))), reach)


def pixel_normals(buffers: Buffers) -> np.ndarray:
    """float32 [3, N]."""
    return buffers.normals[:, buffers.polygon.ravel()]
