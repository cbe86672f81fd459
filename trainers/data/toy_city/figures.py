"""Models of people, plants and street furniture: flat cut-outs that stand across the street."""

import math

from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.models import PAINT, SECOND_PAINT, Color, Material, Model, Point, Shape, disc, rect

SKIN: tuple[Color, ...] = ((0.86, 0.67, 0.55), (0.72, 0.52, 0.40), (0.50, 0.34, 0.25), (0.35, 0.23, 0.17))
HAIR: tuple[Color, ...] = ((0.10, 0.08, 0.06), (0.28, 0.18, 0.10), (0.60, 0.48, 0.28), (0.55, 0.54, 0.52))
CLOTHES: tuple[Color, ...] = (
    (0.12, 0.13, 0.16), (0.20, 0.24, 0.36), (0.55, 0.12, 0.12), (0.80, 0.78, 0.72), (0.30, 0.34, 0.24),
    (0.62, 0.55, 0.42), (0.75, 0.60, 0.15), (0.35, 0.20, 0.35), (0.16, 0.36, 0.40), (0.85, 0.40, 0.45),
)  # fmt: skip
JACKETS: tuple[Color, ...] = (
    (0.90, 0.85, 0.10), (0.95, 0.45, 0.05), (0.85, 0.10, 0.15), (0.10, 0.45, 0.75), (0.45, 0.80, 0.20),
)  # fmt: skip
"""What riders wear: brighter than pedestrians' clothes."""
LEAVES: tuple[Color, ...] = (
    (0.20, 0.32, 0.10), (0.26, 0.38, 0.14), (0.33, 0.40, 0.14), (0.16, 0.27, 0.13), (0.45, 0.38, 0.12),
)  # fmt: skip
BARK: Color = (0.24, 0.19, 0.15)
METAL: Color = (0.38, 0.40, 0.41)
BLACK: Color = (0.05, 0.05, 0.05)


def pedestrian(dice: Dice) -> Model:
    """A person 1.75 m tall (scale for others), walking or standing."""
    shape = Shape()
    stride = dice.uniform(0.05, 0.28)
    coat = dice.chance(0.3)
    for side in (-1, 1):
        foot = side * stride
        leg = [(foot - 0.07, 0), (foot + 0.09, 0), (side * 0.09 + 0.09, 0.9), (side * 0.09 - 0.09, 0.9)]
        shape.upright(leg, SECOND_PAINT)
    hem = 0.5 if coat else 0.82
    shape.upright([(-0.2, hem), (0.2, hem), (0.24, 1.42), (0.1, 1.5), (-0.1, 1.5), (-0.24, 1.42)], PAINT)
    swing = dice.uniform(-0.15, 0.15)
    for side in (-1, 1):
        hand = side * 0.3 + swing
        arm = [(hand - 0.05, 0.8), (hand + 0.05, 0.8), (side * 0.24 + 0.06, 1.42), (side * 0.24 - 0.06, 1.42)]
        shape.upright(arm, PAINT)
    if dice.chance(0.35):
        x = dice.pick((-1, 1)) * 0.32
        shape.upright(rect(x - 0.12, x + 0.12, 0.6, 0.95), dice.pick(CLOTHES))
    _head(shape, 0.0, 1.63, dice)
    return shape.build()


def rider(dice: Dice, *, sideways: bool, helmet: bool) -> Model:
    """A person on a two-wheeler, seen from the side or from behind."""
    shape = Shape()
    if sideways:
        shape.upright([(-0.22, 0.85), (0.0, 0.8), (0.2, 0.4), (0.05, 0.2), (-0.05, 0.25), (0.02, 0.5)], SECOND_PAINT)
        shape.upright([(-0.28, 0.88), (-0.02, 0.85), (0.2, 1.38), (0.05, 1.48), (-0.08, 1.42)], PAINT)
        shape.upright([(0.1, 1.3), (0.42, 1.0), (0.48, 1.06), (0.18, 1.42)], PAINT)
        _head(shape, 0.2, 1.6, dice, helmet=helmet)
    else:
        for side in (-1, 1):
            knee, hip = side * 0.2, side * 0.13
            shape.upright([(knee - 0.08, 0.3), (knee + 0.08, 0.3), (hip + 0.1, 0.9), (hip - 0.1, 0.9)], SECOND_PAINT)
        shape.upright([(-0.2, 0.8), (0.2, 0.8), (0.25, 1.4), (0.1, 1.5), (-0.1, 1.5), (-0.25, 1.4)], PAINT)
        for side in (-1, 1):
            hand, arm = side * 0.32, side * 0.22
            shape.upright([(hand - 0.05, 1.0), (hand + 0.05, 1.0), (arm + 0.06, 1.42), (arm - 0.06, 1.42)], PAINT)
        _head(shape, 0.0, 1.62, dice, helmet=helmet)
    return shape.build()


def _head(shape: Shape, x: float, y: float, dice: Dice, *, helmet: bool = False) -> None:
    shape.upright(disc(0.12, x, y, 8), dice.pick(SKIN))
    cap = [(x - 0.13, y), (x + 0.13, y), (x + 0.1, y + 0.12), (x, y + 0.16), (x - 0.1, y + 0.12)]
    shape.upright(disc(0.15, x, y + 0.02, 8) if helmet else cap, dice.pick(CLOTHES if helmet else HAIR))


def tree(dice: Dice) -> Model:
    """A tree about 7 m tall: a trunk and a crown of ragged blobs one behind the other."""
    shape = Shape()
    leaves = dice.color(dice.pick(LEAVES), 0.04)
    shape.upright([(-0.16, 0), (0.16, 0), (0.1, 4.5), (-0.1, 4.5)], BARK)
    if dice.chance(0.2):
        _blob(shape, dice, (0.0, 4.2, 0.0), (1.5, 3.4), leaves)
        return shape.build()
    for z in (0.9, 0.0, -0.6):
        x, y = dice.uniform(-0.9, 0.9), dice.uniform(4.0, 5.6)
        _blob(shape, dice, (x, y, z), (dice.uniform(1.3, 2.1), dice.uniform(1.1, 1.9)), dice.color(leaves, 0.02))
    return shape.build()


def bush(dice: Dice) -> Model:
    """A bush about 1.2 m tall."""
    shape = Shape()
    leaves = dice.color(dice.pick(LEAVES), 0.05)
    for z in (0.3, -0.3):
        radii = (dice.uniform(0.6, 1.0), dice.uniform(0.5, 0.8))
        _blob(shape, dice, (dice.uniform(-0.4, 0.4), 0.5, z), radii, leaves)
    return shape.build()


def _blob(shape: Shape, dice: Dice, center: Point, radii: tuple[float, float], color: Color) -> None:
    x, y, z = center
    corners = 15
    outline = []
    for corner in range(corners):
        angle, reach = 2 * math.pi * corner / corners - math.pi / 2, dice.uniform(0.78, 1.12)
        outline.append((x + radii[0] * reach * math.cos(angle), max(y + radii[1] * reach * math.sin(angle), 0.0)))
    shape.upright(outline, color, Material.FOLIAGE, z=z)


def hedge(length: float, height: float, dice: Dice) -> Model:
    """A trimmed hedge along z."""
    shape = Shape()
    shape.box((0.8, height, length), (0, 0, 0), dice.color((0.17, 0.27, 0.11), 0.04), Material.FOLIAGE)
    return shape.build()


def pole(height: float, width: float = 0.18, color: Color = METAL) -> Model:
    """A post."""
    shape = Shape()
    shape.upright(rect(-width / 2, width / 2, 0, height), color)
    return shape.build()


def lamp_post(height: float, reach: float) -> Model:
    """A street lamp whose arm points along x by ``reach`` metres (negative: to the left)."""
    shape = Shape()
    shape.upright([(-0.12, 0), (0.12, 0), (0.09, height), (-0.09, height)], METAL)
    left, right = sorted((0.0, reach))
    shape.upright(rect(left, right, height - 0.08, height + 0.04), METAL)
    low = height - 0.16
    tip = [(reach - 0.35, low), (reach + 0.35, low), (reach + 0.25, height), (reach - 0.25, height)]
    shape.upright(tip, (0.8, 0.8, 0.75), Material.LAMP, glow=16.0)
    return shape.build()


def traffic_light(state: int) -> Model:
    """A signal head with red (0), amber (1) or green (2) lit, its lower edge on y = 0."""
    shape = Shape()
    shape.upright(rect(-0.17, 0.17, 0, 0.95), BLACK)
    bright: tuple[Color, ...] = ((1.0, 0.12, 0.08), (1.0, 0.62, 0.10), (0.15, 0.95, 0.50))
    for lamp, color in enumerate(bright):
        lit = lamp == state
        shown = color if lit else (color[0] * 0.2, color[1] * 0.2, color[2] * 0.2)
        material = Material.LAMP if lit else Material.PLAIN
        shape.upright(disc(0.12, 0.0, 0.8 - 0.32 * lamp, 8), shown, material, glow=7.0 if lit else 0.0)
    return shape.build()


_TRIANGLE = [(-0.42, 0.0), (0.42, 0.0), (0.0, 0.74)]
_SQUARE = rect(-0.33, 0.33, 0.0, 0.66)
_DIAMOND = [(0.0, 0.0), (0.38, 0.38), (0.0, 0.76), (-0.38, 0.38)]
_BOARD = rect(-0.75, 0.75, 0.0, 0.55)
_RED, _WHITE, _BLUE, _YELLOW = (0.75, 0.06, 0.08), (0.92, 0.92, 0.9), (0.08, 0.22, 0.62), (0.95, 0.78, 0.1)
_SIGNS = (
    (disc(0.34, 0, 0.34), _RED, disc(0.23, 0, 0.34), _WHITE),
    (disc(0.34, 0, 0.34), _BLUE, disc(0.10, 0, 0.34), _WHITE),
    (disc(0.34, 0, 0.34), _RED, rect(-0.24, 0.24, 0.28, 0.40), _WHITE),
    (disc(0.34, 0, 0.34), _BLUE, disc(0.3, 0, 0.34), _RED),
    (_TRIANGLE, _RED, [(-0.24, 0.1), (0.24, 0.1), (0.0, 0.52)], _WHITE),
    (_SQUARE, _BLUE, [(-0.15, 0.12), (0.15, 0.12), (0.0, 0.5)], _WHITE),
    (_DIAMOND, _WHITE, [(0.0, 0.12), (0.26, 0.38), (0.0, 0.64), (-0.26, 0.38)], _YELLOW),
    (_BOARD, _YELLOW, rect(-0.6, 0.5, 0.2, 0.32), BLACK),
    (_BOARD, _BLUE, rect(-0.6, 0.4, 0.2, 0.32), _WHITE),
)


def traffic_sign(dice: Dice) -> Model:
    """One of nine signs, its lower edge on y = 0."""
    outline, rim, inner, color = dice.pick(_SIGNS)
    shape = Shape()
    shape.upright(outline, rim)
    shape.upright(inner, color)
    return shape.build()


def litter_bin(dice: Dice) -> Model:
    """A bin or a box on the sidewalk (void in the labels)."""
    shape = Shape()
    color = dice.pick(((0.85, 0.4, 0.05), (0.15, 0.25, 0.18), (0.3, 0.3, 0.3), (0.8, 0.7, 0.1)))
    shape.box((dice.uniform(0.4, 0.9), dice.uniform(0.7, 1.3), 0.5), (0, 0, 0), color)
    return shape.build()
