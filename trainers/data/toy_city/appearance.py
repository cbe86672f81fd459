"""Domains: from a scene and its buffers to a picture. Every domain sees the same street and the same objects.

A domain takes dice of the street (weather, lamps: the same along a street) and dice of the frame (exposure, noise).
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.lighting import (
    beam,
    ego_beam,
    ground_shadows,
    lamp_light,
    pixel_normals,
    sun_visibility,
)
from trainers.data.toy_city.raster import GROUND, SKY, Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.textures import GAMMA, noise, reflectance

Domain = Callable[[Scene, Buffers, Dice, Dice], np.ndarray]
"""(scene, buffers, dice of the street, dice of the frame) → uint8 [H, W, 3] at half the buffers' size."""

WEATHERS = {  # zenith, horizon, strength of the sun, of the sky's light, share of clouds, sight in metres
    "clear": ((0.16, 0.32, 0.70), (0.58, 0.70, 0.85), 2.1, 0.62, 0.15, 700.0),
    "cloudy": ((0.24, 0.38, 0.65), (0.70, 0.75, 0.82), 1.3, 0.75, 0.65, 420.0),
    "overcast": ((0.55, 0.58, 0.63), (0.80, 0.81, 0.83), 0.12, 1.25, 0.5, 260.0),
    "hazy": ((0.50, 0.58, 0.68), (0.86, 0.84, 0.80), 0.8, 0.9, 0.3, 120.0),
    "evening": ((0.22, 0.30, 0.52), (0.90, 0.66, 0.44), 1.7, 0.45, 0.4, 300.0),
}
_NIGHT_SKIES = ((0.010, 0.011, 0.018), (0.022, 0.015, 0.010), (0.006, 0.008, 0.016))
_CASTS = ((1.15, 0.95, 0.72), (1.05, 0.98, 0.86), (0.88, 1.0, 1.12))
_BEAM_COLOR = np.array([0.75, 0.72, 0.62], np.float32)
_LAMP_COLORS = ((1.0, 0.58, 0.20), (1.0, 0.66, 0.30), (1.0, 0.86, 0.62), (0.85, 0.95, 1.0))


def day(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> np.ndarray:
    """Sun, sky and haze; the weather is the street's."""
    weather = street_dice.weighted({"clear": 4, "cloudy": 3, "overcast": 3, "hazy": 1, "evening": 1.5})
    zenith, horizon, sun_strength, sky_strength, clouds, sight = WEATHERS[weather]
    sun = _sun(street_dice, low=weather == "evening")
    surface = reflectance(scene, buffers)
    points, normals = buffers.points.reshape(3, -1), pixel_normals(buffers)
    shadows, gloom = (mask.ravel() for mask in ground_shadows(scene, sun, *buffers.polygon.shape))
    on_ground = buffers.polygon.ravel() == GROUND
    facing = np.maximum(sun @ normals, 0) * 0.85 + 0.15
    direct = facing * sun_visibility(scene, points, sun) * (1 - shadows * on_ground)
    low = 0.72 + 0.28 * np.clip(points[1] / 2.5, 0, 1)
    ambient = (0.75 + 0.35 * normals[1]) * np.where(on_ground, 1 - 0.55 * gloom, low)
    warm = np.array([1.0, 0.72, 0.45] if weather == "evening" else [1.0, 0.95, 0.86], np.float32)
    cool = np.array(zenith, np.float32) * 0.5 + 0.45
    light = direct[:, None] * warm * sun_strength + ambient[:, None] * cool * sky_strength
    color = surface.color * light + 0.12 * surface.emission * (surface.emission.max(axis=1, keepdims=True) > 0.9)
    color = _haze(color, buffers, np.array(horizon, np.float32), sight)
    sky = _day_sky(buffers, zenith, horizon, clouds, sun, street_dice)
    color = np.where((buffers.polygon.ravel() == SKY)[:, None], sky, color).astype(np.float32)
    balance = np.array([frame_dice.uniform(0.94, 1.06), 1.0, frame_dice.uniform(0.93, 1.07)], np.float32)
    picture = _downsampled(color, buffers) * balance * frame_dice.uniform(0.85, 1.2)
    return _developed(picture, _random(frame_dice), shot=0.006, read=0.004)


def night(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> np.ndarray:
    """Lamps, headlights and windows in the dark, through a small sensor: clipped, tinted and noisy."""
    surface = reflectance(scene, buffers)
    points, normals = buffers.points.reshape(3, -1), pixel_normals(buffers)
    lit_sky = np.array(street_dice.pick(_NIGHT_SKIES), np.float32)
    light = (0.55 + 0.45 * normals[1])[:, None] * lit_sky * street_dice.uniform(0.4, 1.4)
    light = light + _street_lamps(scene, points, normals, street_dice)
    light += ego_beam(points, scene.camera, street_dice.uniform(9, 18))[:, None] * _BEAM_COLOR
    ahead = [nose for nose in scene.headlights.tolist() if 0 < nose[1] - scene.camera.position[2] < 45]
    for x, z, *direction in ahead[:6]:
        light += 0.4 * beam(points, x, z, (direction[0], direction[1]), 9.0)[:, None] * _BEAM_COLOR
    color = surface.color * light + surface.emission
    color = np.where((buffers.polygon.ravel() == SKY)[:, None], _night_sky(buffers, lit_sky), color)
    picture = _glare(_downsampled(color, buffers), frame_dice.uniform(0.6, 1.4))
    cast = np.array(street_dice.pick(_CASTS), np.float32)
    picture = np.minimum(picture * cast * frame_dice.uniform(2.2, 4.5), 1.6)
    gray = picture.mean(axis=2, keepdims=True)
    picture = gray + (picture - gray) * frame_dice.uniform(0.45, 0.8)
    return _developed(picture - frame_dice.uniform(0.0, 0.012), _random(frame_dice), shot=0.05, read=0.012)


DOMAINS: dict[str, Domain] = {"day": day, "night": night}
"""Appearance by name; the position counts too (it numbers the streets), so a new domain goes to the end."""


def _sun(dice: Dice, *, low: bool) -> np.ndarray:
    """Unit vector towards the sun."""
    height = np.radians(dice.uniform(12, 25) if low else dice.uniform(28, 62))
    azimuth = np.radians(dice.uniform(0, 360))
    level = np.cos(height)
    return np.array([level * np.sin(azimuth), np.sin(height), level * np.cos(azimuth)], np.float32)


def _elevation(buffers: Buffers) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation of each pixel's ray, as tangents, flat."""
    rays = buffers.rays.reshape(3, -1)
    ahead = np.maximum(rays[2], 0.2)
    return rays[0] / ahead, np.maximum(rays[1] / ahead, 0.0)


def _day_sky(
    buffers: Buffers,
    zenith: tuple[float, ...],
    horizon: tuple[float, ...],
    clouds: float,
    sun: np.ndarray,
    dice: Dice,
) -> np.ndarray:
    azimuth, elevation = _elevation(buffers)
    blend = np.clip(elevation / 0.45, 0, 1)[:, None] ** 0.7
    sky = np.array(horizon, np.float32) * (1 - blend) + np.array(zenith, np.float32) * blend
    shift = dice.uniform(0, 200)
    across, up = azimuth / (elevation + 0.25), 1 / (elevation + 0.25)
    cover = noise(across + shift, up * 3, 12) + 0.5 * noise(across + shift, up * 3, 30)
    cover = np.clip(cover * 0.35 + clouds * 1.6 - 0.75, 0, 0.9)[:, None]
    sky = sky + (0.92 - sky) * cover * (0.75 + 0.25 * blend)
    toward = np.clip(sun @ (buffers.rays.reshape(3, -1) / np.linalg.norm(buffers.rays.reshape(3, -1), axis=0)), 0, 1)
    return sky + 0.5 * (toward**24)[:, None]


def _night_sky(buffers: Buffers, lit: np.ndarray) -> np.ndarray:
    _, elevation = _elevation(buffers)
    return lit * (0.5 + 1.2 * np.exp(-elevation / 0.12))[:, None]


def _street_lamps(scene: Scene, points: np.ndarray, normals: np.ndarray, dice: Dice) -> np.ndarray:
    """Light of the lamps near the camera; some are broken, and their colors differ from street to street."""
    near = scene.lamps[:, 2] - scene.camera.position[2]
    lamps = scene.lamps[(near > -15) & (near < 75)]
    color = np.array(dice.pick(_LAMP_COLORS), np.float32) * dice.uniform(8, 26)
    works = np.array([dice.chance(0.85) for _ in scene.lamps])[(near > -15) & (near < 75)]
    return lamp_light(points, normals, lamps, works[:, None] * color)


def _haze(color: np.ndarray, buffers: Buffers, horizon: np.ndarray, sight: float) -> np.ndarray:
    clear = np.exp(-np.minimum(buffers.depth.ravel(), 400) / sight)[:, None]
    return color * clear + horizon * (1 - clear)


def _downsampled(color: np.ndarray, buffers: Buffers) -> np.ndarray:
    """float32 [H, W, 3]: mean of each 2 × 2 block, highlights limited so that an edge stays smooth."""
    height, width = buffers.polygon.shape
    return np.minimum(color, 20).reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))


def _glare(picture: np.ndarray, strength: float) -> np.ndarray:
    """Light of bright spots scattered over their surroundings, near and far; radii scale with the picture."""
    bright = np.maximum(picture - 0.6, 0)
    width = picture.shape[1]
    for share, radius in ((0.25, width / 110), (0.10, width / 22)):
        picture = picture + strength * share * ndimage.gaussian_filter(bright, (radius, radius, 0), truncate=2.5)
    return picture


def _random(dice: Dice) -> np.random.RandomState:
    """A generator whose stream NumPy has frozen."""
    return np.random.RandomState(dice.integer(0, 2**31 - 1))


def _developed(picture: np.ndarray, random: np.random.RandomState, *, shot: float, read: float) -> np.ndarray:
    """Sensor noise (grows with the root of the light, over a floor), clipping, gamma, 8 bits."""
    deviation = np.sqrt(shot**2 * np.maximum(picture, 0) + read**2)
    noisy = picture + deviation * random.standard_normal(picture.shape)
    return (np.clip(noisy, 0, 1) ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)
