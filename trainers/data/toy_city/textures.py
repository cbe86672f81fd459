"""What surfaces look like before light falls on them: reflectance and own light per pixel.

Texture functions take flat arrays over the N pixels of one material and return reflectance, float32 [N, 3], linear
(not gamma coded). Detail finer than a pixel fades to its mean, so distant surfaces do not flicker.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from trainers.data.toy_city.dice import Number
from trainers.data.toy_city.labels import LABEL
from trainers.data.toy_city.models import Material
from trainers.data.toy_city.raster import GROUND, Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.street import Street

LIT_WINDOW = np.array([1.0, 0.72, 0.36], np.float32)
GAMMA = 2.2


@dataclass(frozen=True)
class Patch:
    """The pixels of one material."""

    color: np.ndarray
    """float32 [N, 3], linear."""
    u: np.ndarray
    """Metres along the polygon's first edge."""
    v: np.ndarray
    """Metres above the polygon's first vertex."""
    footprint: np.ndarray
    """Metres that a pixel covers."""
    parameters: np.ndarray
    """float32 [N, NUM_PARAMETERS] of the polygon."""


@dataclass(frozen=True)
class Reflectance:
    """Reflectance and emitted light of each pixel, flat over H × W; both linear."""

    color: np.ndarray
    """float32 [H * W, 3]."""
    emission: np.ndarray
    """float32 [H * W, 3], of everything that is switched on at night."""


@cache
def _noise_tile() -> np.ndarray:
    """float32 [256, 256], smooth noise of several octaves that repeats without a seam, mean 0, deviation 1."""
    random = np.random.RandomState(7)
    octaves = [ndimage.gaussian_filter(random.standard_normal((256, 256)), s, mode="wrap") * s for s in (0.7, 2, 6)]
    tile = np.sum(octaves, axis=0)
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


def noise(u: np.ndarray, v: np.ndarray, per_metre: Number) -> np.ndarray:
    """Noise at (u, v) metres with ``per_metre`` samples to the metre."""
    row, column = ((a * per_metre).astype(np.int32) & 255 for a in (u, v))
    return _noise_tile()[row, column]


def _hashed(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each triple of whole numbers."""
    mixed = a.astype(np.int64) * 73856093 ^ b.astype(np.int64) * 19349663 ^ c.astype(np.int64) * 83492791
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF).astype(np.float32) / 65536


def _fade(period: np.ndarray | Number, footprint: np.ndarray) -> np.ndarray:
    """How much of a pattern of this period (metres) a pixel still shows, in [0, 1]."""
    return np.clip(period / (2 * footprint) - 0.25, 0, 1)


def reflectance(scene: Scene, buffers: Buffers, blur: float = 1.0) -> Reflectance:
    """Reflectance and emission of every pixel; ``blur`` makes detail fade as if pixels were that much larger."""
    polygon = buffers.polygon.ravel()
    points = buffers.points.reshape(3, -1)
    footprint = np.where(polygon > 0, buffers.depth.ravel(), 1.0) * np.float32(blur / buffers.focal_pixels)
    color = np.zeros((polygon.size, 3), np.float32)
    emission = np.zeros_like(color)
    ground = np.flatnonzero(polygon == GROUND)
    labels = buffers.labels.ravel()[ground]
    color[ground] = _ground(scene.street, points[:, ground], labels, footprint[ground])
    solid = np.flatnonzero(polygon > GROUND)
    index = polygon[solid] - 2
    materials = scene.surfaces.materials[index]
    u, v = _surface_coordinates(scene, points[:, solid], index)
    linear = scene.surfaces.colors**GAMMA
    for material, texture in _TEXTURES.items():
        at = np.flatnonzero(materials == material)
        if not at.size:
            continue
        own, pixels = index[at], solid[at]
        patch = Patch(linear[own], u[at], v[at], footprint[pixels], scene.surfaces.parameters[own])
        color[pixels], lit = texture(patch)
        emission[pixels] = lit * scene.surfaces.glow[own][:, None] if material != Material.FACADE else lit
    return Reflectance(color, emission)


def _surface_coordinates(scene: Scene, points: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vertices, counts = scene.surfaces.vertices, scene.surfaces.counts
    starts = np.cumsum(counts) - counts
    origin = vertices[starts]
    along = (vertices[starts + 1] - origin)[:, [0, 2]]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    flat = np.concatenate([origin, along], axis=1).astype(np.float32)[index].T
    u = (points[0] - flat[0]) * flat[3] + (points[2] - flat[2]) * flat[4]
    return u, points[1] - flat[1]


Textured = tuple[np.ndarray, np.ndarray]
"""Reflectance [N, 3] and the color [N, 3] of the light that a glow of 1 sends out."""


def _plain(patch: Patch) -> Textured:
    return patch.color * (1 + 0.08 * noise(patch.u + 31, patch.v, 9))[:, None], patch.color


def _paintwork(patch: Patch) -> Textured:
    """Lighter towards the top, where the sky is mirrored."""
    tone = 0.62 + 0.5 * np.clip(patch.v / 1.1, 0, 1)
    return patch.color * tone[:, None] + 0.012, patch.color


def _glass(patch: Patch) -> Textured:
    mirrored = np.clip(0.02 + 0.09 * patch.v + 0.05 * noise(patch.u, patch.v, 3), 0, 0.3)
    return patch.color + mirrored[:, None], np.broadcast_to(LIT_WINDOW, patch.color.shape)


def _facade(patch: Patch) -> Textured:
    """Rows of windows. Parameters: window spacing, its glazed fraction, floor height, glazed fraction of it, number
    of the house, whether the ground floor is a shop.
    """
    spacing, wide, floor_height, tall, number, shop = patch.parameters.T
    column, across = np.divmod(patch.u, spacing)
    floor, up = np.divmod(patch.v, floor_height)
    across, up = np.abs(across / spacing - 0.5) * 2, np.abs(up / floor_height - 0.52) * 2
    is_shop = (shop > 0) & (floor == 0)
    glazed = np.where(is_shop, (across < 0.9) & (up < 0.72), (across < wide) & (up < tall))
    fate = _hashed(column, floor, number)
    visible = _fade(spacing * 0.5, patch.footprint)
    share = np.where(glazed, visible, 0) + (1 - visible) * wide * tall
    stain = 1 + 0.07 * noise(patch.u + number, patch.v, 2.5) + 0.05 * noise(patch.u, patch.v, 14)
    wall = patch.color * stain[:, None]
    wall = wall * np.where((up > 0.93) & (visible > 0.4), 0.8, 1.0)[:, None]
    frame = (across < wide + 0.1) & (up < tall + 0.1) & ~glazed & ~is_shop
    wall = np.where(frame[:, None], wall * 0.5 + 0.25, wall)
    pane = np.where(fate < 0.25, 0.25, 0.03 + 0.1 * _hashed(column, floor, number + 3))[:, None]
    pane = pane * np.array([0.85, 0.95, 1.1], np.float32)
    color = wall + (pane - wall) * share[:, None]
    lit = (fate > 0.78) | is_shop & (_hashed(column * 0, floor, number) > 0.3)
    bright = np.where(lit, 0.12 + 0.5 * (fate - 0.5) ** 2, 0.0) * (1 + 0.4 * noise(patch.u, patch.v, 3))
    light = (share * np.maximum(bright, 0))[:, None] * LIT_WINDOW
    return np.clip(color, 0.01, 1), light


def _masonry(patch: Patch) -> Textured:
    row = np.floor(patch.v / 0.3)
    along = np.mod(patch.u + 0.35 * np.mod(row, 2), 0.7)
    joint = (np.mod(patch.v, 0.3) < 0.05) | (along < 0.05)
    tone = 1 + 0.14 * noise(patch.u, patch.v, 5) - 0.3 * joint * _fade(0.25, patch.footprint)
    return patch.color * tone[:, None], patch.color


def _fence(patch: Patch) -> Textured:
    """Bars, planks or mesh, with shade behind."""
    style = patch.parameters[:, 0]
    period = np.array([0.24, 0.3, 0.16], np.float32)[style.astype(np.intp)]
    solid = np.array([0.4, 0.8, 0.35], np.float32)[style.astype(np.intp)]
    bar = np.mod(patch.u, period) < solid * period
    bar |= (style == 2) & (np.mod(patch.v, 0.16) < 0.05) | (np.mod(patch.v + 0.1, 0.75) < 0.1)
    visible = _fade(period, patch.footprint)
    share = (np.where(bar, visible, 0) + (1 - visible) * solid)[:, None]
    behind = np.array([0.035, 0.05, 0.025], np.float32) * (1 + 0.4 * noise(patch.u, patch.v, 4))[:, None]
    return patch.color * share + behind * (1 - share), patch.color


def _foliage(patch: Patch) -> Textured:
    leaf = noise(patch.u + 11, patch.v, 7) * 0.38 + noise(patch.u, patch.v, 2) * 0.2
    tone = np.clip(0.55 + 0.16 * patch.v + leaf, 0.12, 2.2)
    return patch.color * tone[:, None], patch.color


def _roof(patch: Patch) -> Textured:
    row = np.mod(patch.v, 0.28) < 0.08
    tone = 1 + 0.16 * noise(patch.u, patch.v, 3) - 0.3 * row * _fade(0.28, patch.footprint)
    return patch.color * tone[:, None], patch.color


_TEXTURES: dict[Material, Callable[[Patch], Textured]] = {
    Material.PLAIN: _plain, Material.PAINTWORK: _paintwork, Material.GLASS: _glass, Material.FACADE: _facade,
    Material.MASONRY: _masonry, Material.FENCE: _fence, Material.FOLIAGE: _foliage, Material.ROOF: _roof,
    Material.LAMP: lambda patch: (patch.color, patch.color),
}  # fmt: skip


def _ground(street: Street, points: np.ndarray, labels: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Reflectance [N, 3] of the ground."""
    tones = street.tones
    x, z = points[0], points[2]
    offset = x - street.center(z).astype(np.float32)
    grain = noise(x, z, 2.2) * 0.12 + noise(x, z, 11) * 0.14 * _fade(0.1, footprint)
    color = np.array([0.15, 0.135, 0.11], np.float32) * (1 + grain)[:, None]
    terrain = labels == LABEL["terrain"]
    tufts = 1 + 2 * grain[terrain] + 0.2 * noise(x, z, 0.4)[terrain]
    color[terrain] = np.array(tones.grass, np.float32) * tufts[:, None]
    walk = labels == LABEL["sidewalk"]
    slabs = ((np.mod(z, 0.9) < 0.06) | (np.mod(offset, 0.9) < 0.06)) * _fade(0.5, footprint) * 0.35
    edge = np.where(offset > 0, street.road_edge(1), street.road_edge(-1))
    curb = (np.abs(np.abs(offset) - edge - 0.12) < 0.13) * 0.35
    color[walk] = np.array(tones.paving, np.float32) * (1 + 0.8 * grain - slabs + curb)[walk][:, None]
    road = labels == LABEL["road"]
    color[road] = _road(street, offset[road], z[road], footprint[road], tones.asphalt * (1 + grain[road]))
    return np.maximum(color, 0.004)


def _road(street: Street, offset: np.ndarray, z: np.ndarray, footprint: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Asphalt or cobbles with wheel tracks, patches, rails and markings."""
    kind, lane = street.kind, street.lane_width
    distance = np.abs(offset)
    tone = tone * (1 - 0.08 * np.cos(4 * np.pi * (distance - kind.median / 2) / lane))
    tone = np.where(noise(offset * 0.5, z * 0.12 + 40, 1.0) > 1.1, tone * 0.75, tone)
    if kind.cobbles:
        joints = (np.mod(z, 0.22) < 0.05) | (np.mod(offset + 0.1 * np.floor(z / 0.22), 0.22) < 0.05)
        tone = tone * (1.35 - 0.6 * joints * _fade(0.2, footprint))
    if kind.rails:
        rail = np.abs(np.abs(distance - street.lane_center(0)) - 0.72) < np.maximum(0.05, footprint * 0.5)
        tone = np.where(rail, 0.25 * tone, tone)
    paint = _markings(street, offset, z, footprint) * (0.72 + 0.2 * np.clip(noise(offset, z, 6), -1, 1))
    gray = tone[:, None] * np.array([1.0, 1.0, 1.03], np.float32)
    return gray + (0.62 - gray) * np.clip(paint, 0, 1)[:, None]


def _markings(street: Street, offset: np.ndarray, z: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """How much of a pixel is painted white, in [0, 1]."""
    kind, distance = street.kind, np.abs(offset)
    dashed = np.mod(z, 9.0) < 4.0
    width = np.maximum(0.14, footprint)
    sharp = np.clip(0.14 / footprint, 0.15, 1)
    painted = np.zeros(offset.shape, bool)
    if not kind.cobbles:
        if not kind.median:
            painted |= (distance < width / 2) & (dashed | (kind.lanes > 1))
        for boundary in range(1, kind.lanes + 1):
            at = kind.median / 2 + boundary * street.lane_width
            painted |= (np.abs(distance - at) < width / 2) & (dashed | (boundary == kind.lanes))
    zebra = np.zeros(offset.shape, bool)
    for start, end in street.crossings:
        painted &= (z < start) | (z > end)
        zebra |= ((z > start - 3.4) & (z < start - 0.6)) | ((z > end + 0.6) & (z < end + 3.4))
        painted |= (offset > kind.median / 2) & (z > start - 4.8) & (z < start - 4.3)
    stripes = np.mod(offset, 1.1) < 0.55
    visible = _fade(1.1, footprint)
    return np.where(zebra, np.where(stripes, visible, 0) + 0.5 * (1 - visible), painted * sharp)
