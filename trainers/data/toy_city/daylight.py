"""The domains ``day`` and ``fog``: sun, sky and what hangs in the air."""

from typing import NamedTuple

import numpy as np

from trainers.data.toy_city.dice import Dice, Number
from trainers.data.toy_city.lighting import ground_shadows, pixel_normals, sun_visibility
from trainers.data.toy_city.models import Color
from trainers.data.toy_city.raster import GROUND, SKY, Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.sensor import Picture, developed, downsampled, saturated
from trainers.data.toy_city.textures import noise, reflectance

FOG_BETA = (0.015, 0.06)
"""Least and most extinction of the fog per metre; drawn for each image, uniform in its logarithm. Contrast falls to 5 %
within 3 / β: 200 m to 50 m."""


class Weather(NamedTuple):
    """A kind of day; colors are linear."""

    zenith: Color
    horizon: Color
    sun: float
    """Strength of the sun's light."""
    sky: float
    """Strength of the sky's light."""
    clouds: float
    """Share of the sky that clouds cover."""
    sight: float
    """Metres in which haze takes 63 % of the contrast."""


WEATHERS = {
    "clear": Weather((0.16, 0.32, 0.70), (0.58, 0.70, 0.85), 2.1, 0.62, 0.15, 700.0),
    "cloudy": Weather((0.24, 0.38, 0.65), (0.70, 0.75, 0.82), 1.3, 0.75, 0.65, 420.0),
    "overcast": Weather((0.55, 0.58, 0.63), (0.80, 0.81, 0.83), 0.12, 1.25, 0.5, 260.0),
    "hazy": Weather((0.50, 0.58, 0.68), (0.86, 0.84, 0.80), 0.8, 0.9, 0.3, 120.0),
    "evening": Weather((0.22, 0.30, 0.52), (0.90, 0.66, 0.44), 1.7, 0.45, 0.4, 300.0),
}


def day(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """Sun, sky and haze; the weather is the street's."""
    weather = street_dice.weighted({"clear": 4, "cloudy": 3, "overcast": 3, "hazy": 1, "evening": 1.5})
    color = _sunlit(scene, buffers, weather, street_dice)
    air = np.exp(-np.minimum(buffers.depth.ravel(), 400) / WEATHERS[weather].sight)
    air[buffers.polygon.ravel() == SKY] = 1  # The sky's colors are those of its haze already.
    color = _behind(air, color, WEATHERS[weather].horizon)
    return Picture(_photograph(color, buffers, frame_dice))


def fog(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """I = J · t + A · (1 − t) with t = exp(−β z): linear light, z the depth in metres, J an overcast day."""
    color = _sunlit(scene, buffers, "overcast", street_dice)
    beta = np.exp(frame_dice.uniform(*np.log(FOG_BETA).tolist()))
    gray, warmth = frame_dice.uniform(0.42, 0.8), frame_dice.uniform(-0.05, 0.05)
    foggy = _behind(np.exp(-beta * buffers.depth.ravel()), color, (gray * (1 + warmth), gray, gray * (1 - warmth)))
    hazed = saturated(downsampled(foggy, buffers), frame_dice.uniform(0.4, 0.75)) * frame_dice.uniform(0.9, 1.1)
    return Picture(developed(hazed, frame_dice, shot=0.012, read=0.006), _photograph(color, buffers, frame_dice))


def _photograph(color: np.ndarray, buffers: Buffers, dice: Dice) -> np.ndarray:
    """A daylight camera's picture, its white balance and its exposure a little off."""
    balance = np.array([dice.uniform(0.94, 1.06), 1.0, dice.uniform(0.93, 1.07)], np.float32)
    picture = downsampled(color, buffers) * balance * dice.uniform(0.85, 1.2)
    return developed(picture, dice, shot=0.006, read=0.004)


def _behind(transmission: np.ndarray, color: np.ndarray, air: Color) -> np.ndarray:
    """``color`` seen through air that lets ``transmission`` [N] of its light pass."""
    clear = transmission.astype(np.float32)[:, None]
    return color * clear + np.array(air, np.float32) * (1 - clear)


def _sunlit(scene: Scene, buffers: Buffers, name: str, dice: Dice) -> np.ndarray:
    """Linear light of each subpixel, flat [N, 3], as if the air were clear."""
    weather = WEATHERS[name]
    sun = sun_direction(dice, (12, 25) if name == "evening" else (28, 62))
    surface = reflectance(scene, buffers)
    points, normals = buffers.points.reshape(3, -1), pixel_normals(buffers)
    shadows, gloom = (mask.ravel() for mask in ground_shadows(scene, sun, *buffers.polygon.shape))
    on_ground = buffers.polygon.ravel() == GROUND
    facing = np.maximum(sun @ normals, 0) * 0.85 + 0.15
    direct = facing * sun_visibility(scene, points, sun) * (1 - shadows * on_ground)
    low = 0.72 + 0.28 * np.clip(points[1] / 2.5, 0, 1)
    ambient = (0.75 + 0.35 * normals[1]) * np.where(on_ground, 1 - 0.55 * gloom, low)
    warm = np.array([1.0, 0.72, 0.45] if name == "evening" else [1.0, 0.95, 0.86], np.float32)
    cool = np.array(weather.zenith, np.float32) * 0.5 + 0.45
    light = direct[:, None] * warm * weather.sun + ambient[:, None] * cool * weather.sky
    color = surface.color * light + 0.12 * surface.emission * (surface.emission.max(axis=1, keepdims=True) > 0.9)
    sky = day_sky(buffers, weather.zenith, weather.horizon, weather.clouds, sun, dice)
    return np.where((buffers.polygon.ravel() == SKY)[:, None], sky, color).astype(np.float32)


def sun_direction(dice: Dice, degrees: tuple[Number, Number]) -> np.ndarray:
    """Unit vector towards a sun that stands within ``degrees`` above the horizon, anywhere around."""
    height, azimuth = np.radians(dice.uniform(*degrees)), np.radians(dice.uniform(0, 360))
    level = np.cos(height)
    return np.array([level * np.sin(azimuth), np.sin(height), level * np.cos(azimuth)], np.float32)


def elevation(buffers: Buffers) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation of each subpixel's ray, as tangents, flat."""
    rays = buffers.rays.reshape(3, -1)
    ahead = np.maximum(rays[2], 0.2)
    return rays[0] / ahead, np.maximum(rays[1] / ahead, 0.0)


def day_sky(buffers: Buffers, zenith: Color, horizon: Color, clouds: float, sun: np.ndarray, dice: Dice) -> np.ndarray:
    """Flat [N, 3]: a gradient, clouds, and a glow around the sun."""
    azimuth, height = elevation(buffers)
    blend = np.clip(height / 0.45, 0, 1)[:, None] ** 0.7
    sky = np.array(horizon, np.float32) * (1 - blend) + np.array(zenith, np.float32) * blend
    shift = dice.uniform(0, 200)
    across, up = azimuth / (height + 0.25), 1 / (height + 0.25)
    cover = noise(across + shift, up * 3, 12) + 0.5 * noise(across + shift, up * 3, 30)
    cover = np.clip(cover * 0.35 + clouds * 1.6 - 0.75, 0, 0.9)[:, None]
    sky = sky + (0.92 - sky) * cover * (0.75 + 0.25 * blend)
    rays = buffers.rays.reshape(3, -1)
    toward = np.clip(sun @ (rays / np.linalg.norm(rays, axis=0)), 0, 1)
    return sky + 0.5 * (toward**24)[:, None]
