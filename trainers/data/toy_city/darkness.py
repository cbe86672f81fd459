"""The domain ``night``, and what else lies in a pool of night drives: twilight, and pictures too dark to read."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from trainers.data.toy_city.daylight import elevation
from trainers.data.toy_city.dice import Dice, Number
from trainers.data.toy_city.lighting import beam, ego_beam, lamp_light, pixel_normals
from trainers.data.toy_city.models import Color
from trainers.data.toy_city.raster import GROUND, SKY, Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.sensor import Picture, developed, downsampled, glare, saturated
from trainers.data.toy_city.textures import reflectance

_CASTS = ((1.15, 0.95, 0.72), (1.05, 0.98, 0.86), (0.88, 1.0, 1.12))
_BEAM_COLOR = np.array([0.75, 0.72, 0.62], np.float32)
_LAMP_COLORS = ((1.0, 0.58, 0.20), (1.0, 0.66, 0.30), (1.0, 0.86, 0.62), (0.85, 0.95, 1.0))


class Darkness(NamedTuple):
    """How dark it is and how well the camera copes; pairs are the ends of a range."""

    skies: tuple[tuple[Color, Color], ...]
    """Light of the zenith and of the horizon, linear."""
    ambient: tuple[float, float]
    """How much of the zenith's light falls on the street."""
    works: float
    """Share of the street lamps that are lit."""
    reach: tuple[Number, Number]
    """Metres that the own headlights reach."""
    exposure: tuple[float, float]
    read: float
    """Noise of the sensor in the dark."""
    shot: float
    """Noise of the light itself, for white."""


NIGHT = Darkness(
    skies=tuple((c, c) for c in ((0.018, 0.020, 0.030), (0.030, 0.023, 0.018), (0.012, 0.016, 0.028))),
    ambient=(3.0, 6.0), works=0.85, reach=(9, 18), exposure=(1.6, 3.0), read=0.007, shot=0.04,
)  # fmt: skip
TOO_DARK = NIGHT._replace(ambient=(0.05, 0.25), works=0.1, reach=(1.5, 3.5), exposure=(0.3, 0.8), read=0.016, shot=0.05)
TWILIGHT = Darkness(
    skies=(((0.09, 0.13, 0.30), (0.36, 0.24, 0.20)), ((0.13, 0.15, 0.24), (0.22, 0.23, 0.28)),
           ((0.07, 0.10, 0.22), (0.42, 0.22, 0.10))),
    ambient=(0.8, 1.5), works=0.7, reach=(6, 12), exposure=(1.8, 3.0), read=0.008, shot=0.03,
)  # fmt: skip


def night(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """Lamps, headlights and windows in the dark."""
    return _lamplit(scene, buffers, street_dice, frame_dice, NIGHT)


def too_dark(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """Noise and a few lamps."""
    return _lamplit(scene, buffers, street_dice, frame_dice, TOO_DARK)


def twilight(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice) -> Picture:
    """The last light of the sky, lamps already lit."""
    return _lamplit(scene, buffers, street_dice, frame_dice, TWILIGHT)


def _lamplit(scene: Scene, buffers: Buffers, street_dice: Dice, frame_dice: Dice, dark: Darkness) -> Picture:
    """Through a small sensor: clipped, tinted and noisy, so that no curve turns it back into day."""
    surface = reflectance(scene, buffers)
    zenith, horizon = (np.array(color, np.float32) for color in street_dice.pick(dark.skies))
    light = _light(scene, buffers, zenith * street_dice.uniform(*dark.ambient), dark, street_dice)
    _, height = elevation(buffers)
    sky = 0.5 * zenith + 1.2 * horizon * np.exp(-height / 0.12)[:, None]
    color = np.where((buffers.polygon.ravel() == SKY)[:, None], sky, surface.color * light + surface.emission)
    picture = downsampled(color.astype(np.float32), buffers)
    if street_dice.chance(0.4):
        picture = _wet(picture, buffers, street_dice.uniform(0.15, 0.5))
    cast = np.array(street_dice.pick(_CASTS), np.float32)
    picture = glare(picture, frame_dice.uniform(0.6, 1.4)) * cast * frame_dice.uniform(*dark.exposure)
    picture = saturated(np.minimum(picture, 1.6), frame_dice.uniform(0.45, 0.8)) - frame_dice.uniform(0.0, 0.012)
    return Picture(developed(picture, frame_dice, shot=dark.shot, read=dark.read))


def _light(scene: Scene, buffers: Buffers, ambient: np.ndarray, dark: Darkness, dice: Dice) -> np.ndarray:
    """Light that falls on each subpixel [N, 3]: from the sky, lamps near the camera and headlights."""
    points, normals = buffers.points.reshape(3, -1), pixel_normals(buffers)
    ahead = scene.lamps[:, 2] - scene.camera.position[2]
    near = (ahead > -15) & (ahead < 75)
    lamp_color = np.array(dice.pick(_LAMP_COLORS), np.float32) * dice.uniform(8, 26)
    works = np.array([dice.chance(dark.works) for _ in scene.lamps])[near]
    light = lamp_light(points, normals, scene.lamps[near], works[:, None] * lamp_color)
    light += (0.55 + 0.45 * normals[1])[:, None] * ambient
    light += ego_beam(points, scene.camera, dice.uniform(*dark.reach))[:, None] * _BEAM_COLOR
    noses = [nose for nose in scene.headlights.tolist() if 0 < nose[1] - scene.camera.position[2] < 45]
    for x, z, *direction in noses[:6]:
        light += 0.4 * beam(points, x, z, (direction[0], direction[1]), 9.0)[:, None] * _BEAM_COLOR
    return light


def _wet(picture: np.ndarray, buffers: Buffers, strength: float) -> np.ndarray:
    """Lights mirrored in a wet street: what stands above the horizon, drawn out downwards."""
    height, width = picture.shape[:2]
    horizon = int((buffers.rays[1, ::2, width] > 0).sum())
    mirror = np.clip(2 * horizon - 1 - np.arange(height), 0, height - 1)
    smeared = ndimage.gaussian_filter(np.minimum(picture, 6), (height / 14, width / 200, 0), truncate=2.5)[mirror]
    ground = (buffers.polygon[::2, ::2] == GROUND) & (np.arange(height)[:, None] >= horizon)
    return picture + strength * ground[:, :, None] * smeared
