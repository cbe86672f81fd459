"""The domain ``game``: the same law of streets as a game of 2013 would draw it."""

import numpy as np

from trainers.data.toy_city.daylight import day_sky, sun_direction
from trainers.data.toy_city.dice import Dice, Number
from trainers.data.toy_city.labels import LABEL
from trainers.data.toy_city.lighting import ground_shadows, pixel_normals, sun_visibility
from trainers.data.toy_city.models import Color
from trainers.data.toy_city.raster import GROUND, SKY, Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.sensor import Picture, downsampled, glare, saturated
from trainers.data.toy_city.textures import noise, reflectance

_SCENARIOS: dict[str, tuple[Color, Color, Color, tuple[Number, Number]]] = {
    # zenith, horizon, sunlight, height of the sun in degrees
    "noon": ((0.08, 0.24, 0.72), (0.42, 0.62, 0.86), (2.3, 2.1, 1.7), (40, 65)),
    "golden": ((0.16, 0.22, 0.50), (0.98, 0.62, 0.30), (2.4, 1.4, 0.6), (12, 24)),
    "smog": ((0.42, 0.44, 0.42), (0.82, 0.76, 0.58), (1.2, 1.1, 0.8), (35, 55)),
}
_PALETTE = {
    "road": (2.7, 2.5, 2.2),
    "sidewalk": (1.3, 1.15, 0.95),
    "building": (1.5, 1.1, 0.75),
    "vegetation": (1.9, 1.25, 0.45),
    "terrain": (2.4, 1.4, 0.7),
    "pole": (0.35, 0.35, 0.4),
    "wall": (1.4, 1.2, 0.9),
}
"""How the artists' materials differ from those of the photographs: factors of the reflectance."""


def game(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """Blurred and repeating textures, hard shadows, no noise; filmic tone curve, bloom and vignette."""
    name = street_dice.weighted({"noon": 6, "golden": 3, "smog": 1})
    zenith, horizon, sunlight, degrees = _SCENARIOS[name]
    sun = sun_direction(street_dice, degrees)
    surface = reflectance(scene, buffers, blur=4.0)
    points = buffers.points.reshape(3, -1)
    tint = np.ones((256, 3), np.float32)
    for label, factors in _PALETTE.items():
        tint[LABEL[label]] = factors
    dirt = 1 + 0.2 * noise(points[0] + 1.3 * points[1], points[2] + 0.7 * points[1], 3)
    color = surface.color * tint[buffers.labels.ravel()] * dirt[:, None]
    shadows, _ = ground_shadows(scene, sun, *buffers.polygon.shape)
    lit = (sun_visibility(scene, points, sun) > 0.5) & ~((shadows.ravel() > 0.5) & (buffers.polygon.ravel() == GROUND))
    direct = np.maximum(sun @ pixel_normals(buffers), 0) * lit
    ambient = np.array(zenith, np.float32) * 0.45 + 0.22
    color = color * (direct[:, None] * np.array(sunlight, np.float32) + ambient) + 0.2 * surface.emission
    haze = np.clip((np.minimum(buffers.depth.ravel(), 400) - 40) / 400, 0, 0.6)[:, None]
    color = color + (np.array(horizon, np.float32) - color) * haze
    sky = day_sky(buffers, zenith, horizon, 0.4, sun, street_dice)
    color = np.where((buffers.polygon.ravel() == SKY)[:, None], sky, color).astype(np.float32)
    return Picture(_graded(downsampled(color, buffers), frame_dice))


def _graded(picture: np.ndarray, dice: Dice) -> np.ndarray:
    """uint8: bloom, vignette, the tone curve of Hejl and Burgess-Dawson (gamma included), strong colors."""
    height, width = picture.shape[:2]
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    vignette = 1 - 0.28 * (0.4 * rows**2 + columns**2)
    exposed = glare(picture, 0.8) * vignette[:, :, None] * dice.uniform(0.7, 0.95)
    light = np.maximum(exposed - 0.004, 0)
    coded = light * (6.2 * light + 0.5) / (light * (6.2 * light + 1.7) + 0.06)
    return (np.clip(saturated(coded, 1.45), 0, 1) * 255 + 0.5).astype(np.uint8)
