"""Looks: from a scene and its buffers to a picture. Every look sees the same street and the same objects.

A look takes dice of the street (weather, lamps: the same along a street) and dice of the frame (exposure, noise).
"""

from collections.abc import Callable

from trainers.data.toy_city.darkness import night, too_dark, twilight
from trainers.data.toy_city.daylight import day, fog
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.game import game
from trainers.data.toy_city.raster import Buffers
from trainers.data.toy_city.scene import Scene
from trainers.data.toy_city.sensor import Picture

Look = Callable[[Scene, Buffers, Dice, Dice], Picture]
"""(scene, buffers, dice of the street, dice of the frame) → picture at half the buffers' size."""

DOMAINS: dict[str, Look] = {"day": day, "night": night, "fog": fog, "game": game}
"""Domains by name; the position counts too (it numbers the streets), so a new domain goes to the end."""

LOOKS: dict[str, Look] = DOMAINS | {"twilight": twilight, "dark": too_dark}
"""What a frame can be rendered in: the domains, and two that only the night pool shows."""
