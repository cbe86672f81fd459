"""From a scene to pictures of what each pixel shows: polygon, depth, place, label. No light yet.

Polygons are drawn from far to near into one picture of polygon numbers; everything else follows per pixel from the
plane of the polygon that won, so depth is exact and a texture function sees whole arrays. Whatever decides on a label
is 64 bits wide: then the last bit, where processors differ, does not move a border by a pixel.

Shapes: H, W of the (supersampled) picture; V vertices, P polygons, G groups.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from trainers.data.toy_city.labels import LABEL
from trainers.data.toy_city.scene import Scene, Surfaces

NEAR, FAR = 0.4, 260.0
"""Nearest and farthest depth of a polygon in metres; the ground beyond FAR is haze."""
SKY, GROUND = 0, 1
"""Values of ``Buffers.polygon`` for pixels without a polygon; polygon ``p`` is stored as ``p + 2``."""


@dataclass(frozen=True)
class Buffers:
    """What each pixel of a picture shows."""

    polygon: np.ndarray
    """int32 [H, W], SKY, GROUND or 2 + index of the polygon."""
    depth: np.ndarray
    """float32 [H, W], metres along the optical axis; inf for the sky."""
    rays: np.ndarray
    """float32 [3, H, W], direction through each pixel in world axes, 1 long along the optical axis."""
    points: np.ndarray
    """float32 [3, H, W], world metres; meaningless in the sky."""
    normals: np.ndarray
    """float32 [3, P + 2], unit normals in world axes, towards the camera for two-sided polygons."""
    labels: np.ndarray
    """uint8 [H, W], Cityscapes label ids."""
    instances: np.ndarray
    """int32 [H, W], Cityscapes instance ids."""
    focal_pixels: float


@dataclass(frozen=True)
class _Projected:
    """Polygons in camera coordinates."""

    vertices: np.ndarray
    starts: np.ndarray
    normals: np.ndarray
    offsets: np.ndarray
    nearest: np.ndarray
    farthest: np.ndarray


def rasterize(scene: Scene, height: int, width: int) -> Buffers:
    """Resolve which polygon each pixel of an ``height`` × ``width`` picture shows, and where it is."""
    focal = scene.camera.focal * width
    rotation = scene.camera.rotation()
    position = np.array(scene.camera.position)
    projected = _project(scene.surfaces, position, rotation)
    polygon = _paint(scene.surfaces, projected, focal, height, width)
    columns = (np.arange(width) + 0.5 - width / 2) / focal
    rows = (height / 2 - np.arange(height) - 0.5) / focal
    local = np.stack([np.broadcast_to(columns, (height, width)), np.broadcast_to(rows[:, None], (height, width)),
                      np.ones((height, width))])  # fmt: skip
    rays = np.einsum("ij,ihw->jhw", rotation, local)
    polygon[(polygon == SKY) & (rays[1] < -position[1] / FAR)] = GROUND
    depth = _depth(polygon, local, rays, projected, float(position[1]))
    points = position[:, None, None] + rays * np.where(np.isfinite(depth), depth, FAR)
    labels, instances = _labels(scene, polygon, points)
    normals = np.concatenate([np.array([[0, 0], [1, 1], [0, 0]]), rotation.T @ projected.normals.T], axis=1)
    depth, rays, points, normals = (a.astype(np.float32) for a in (depth, rays, points, normals))
    return Buffers(polygon, depth, rays, points, normals, labels, instances, focal)


def project_ground(scene: Scene, corners: np.ndarray, height: int, width: int) -> list[list[float]]:
    """Flat pixel coordinates of ground polygons; ``corners`` is [K, C, 2], world x and z. Those that reach behind the
    camera are left out.
    """
    world = np.stack([corners[..., 0], np.zeros(corners.shape[:2]), corners[..., 1]], axis=-1)
    local = (world - np.array(scene.camera.position)) @ scene.camera.rotation().T
    local = local[(local[..., 2].min(axis=1) > NEAR) & (local[..., 2].min(axis=1) < 70)]
    return _pixels(local, scene.camera.focal * width, height, width).reshape(len(local), -1).tolist()


def _pixels(local: np.ndarray, focal: float, height: int, width: int) -> np.ndarray:
    x = local[..., 0] / local[..., 2] * focal + width / 2 - 0.5
    y = height / 2 - local[..., 1] / local[..., 2] * focal - 0.5
    return np.stack([x, y], axis=-1)


def _project(surfaces: Surfaces, position: np.ndarray, rotation: np.ndarray) -> _Projected:
    vertices = (surfaces.vertices - position) @ rotation.T
    starts = np.concatenate([[0], np.cumsum(surfaces.counts)[:-1]])
    corner = vertices[starts]
    normals = np.cross(vertices[starts + 2] - corner, vertices[starts + 1] - corner)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    facing = np.einsum("pi,pi->p", normals, corner)
    flip = surfaces.two_sided & (facing > 0)
    normals[flip] *= -1
    offsets = np.where(flip, -facing, facing)
    nearest = np.minimum.reduceat(vertices[:, 2], starts)
    farthest = np.maximum.reduceat(vertices[:, 2], starts)
    return _Projected(vertices, starts, normals, offsets, nearest, farthest)


def _order(surfaces: Surfaces, projected: _Projected, focal: float) -> np.ndarray:
    """Polygon indices from far to near, whole groups at a time, without those that cannot be seen."""
    group_starts = np.concatenate([[0], np.cumsum(surfaces.sizes)[:-1]])
    near = np.minimum.reduceat(projected.nearest, group_starts)
    far = np.maximum.reduceat(projected.farthest, group_starts)
    distance = np.where(surfaces.by_far_end, far, (near + far) / 2) + surfaces.bias
    order = np.argsort(-np.repeat(distance, surfaces.sizes), kind="stable")
    visible = (projected.offsets < 0) & (projected.farthest > NEAR) & (projected.nearest < FAR)
    x, z = projected.vertices[:, 0], projected.vertices[:, 2]
    for side in (x, -x):  # not all vertices beyond the left or the right edge of the picture
        visible &= np.minimum.reduceat(side - 0.5 / focal * np.maximum(z, 0), projected.starts) < 0.5
    return order[visible[order]]


def _paint(surfaces: Surfaces, projected: _Projected, focal: float, height: int, width: int) -> np.ndarray:
    """int32 [height, width]: which polygon is nearest."""
    picture = Image.new("I", (width, height), SKY)
    draw = ImageDraw.Draw(picture)
    safe = projected.vertices.copy()
    safe[:, 2] = np.maximum(safe[:, 2], NEAR)
    flat = _pixels(safe, focal, height, width).reshape(-1).tolist()
    starts, counts = (2 * projected.starts).tolist(), (2 * surfaces.counts).tolist()
    crosses = (projected.nearest < NEAR).tolist()
    for index in _order(surfaces, projected, focal / width).tolist():
        start, count = starts[index], counts[index]
        if crosses[index]:
            corners = _clip(projected.vertices[start // 2 : (start + count) // 2])
            outline = _pixels(corners, focal, height, width).reshape(-1).tolist()
        else:
            outline = flat[start : start + count]
        draw.polygon(outline, fill=index + 2)
    return np.array(picture, dtype=np.int32)


def _clip(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon [C, 3] in front of the near plane; it reaches across that plane."""
    kept: list[np.ndarray] = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] < NEAR) != (b[2] < NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept)


def _depth(
    polygon: np.ndarray, local: np.ndarray, rays: np.ndarray, projected: _Projected, camera_height: float
) -> np.ndarray:
    """Depth of the plane under each pixel, kept within its polygon's own range (edges are drawn half a pixel wide)."""
    depth = np.full(polygon.shape, np.inf)
    ground = polygon == GROUND
    depth[ground] = np.minimum(camera_height / -rays[1][ground], FAR)
    solid = polygon > GROUND
    index = polygon[solid] - 2
    slope = np.einsum("pi,ip->p", projected.normals[index], local[:, solid])
    reach = projected.offsets[index] / np.minimum(slope, -1e-6)
    depth[solid] = np.clip(reach, np.maximum(projected.nearest[index], NEAR), projected.farthest[index])
    return depth


def _labels(scene: Scene, polygon: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    surfaces, street = scene.surfaces, scene.street
    empty = np.array([LABEL["sky"], LABEL["road"]])
    labels = np.concatenate([empty, surfaces.labels]).astype(np.uint8)[polygon]
    instances = np.concatenate([empty, surfaces.instances]).astype(np.int32)[polygon]
    ground = polygon == GROUND
    x, z = points[0][ground], points[2][ground]
    labels[ground] = street.ground_labels(x - street.center(z), z)
    instances[ground] = labels[ground]
    return labels, instances
