"""Models of what stands along a lot: houses, walls and fences, in world coordinates."""

from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.models import Color, Material, Model, Point, Shape, rect
from trainers.data.toy_city.street import Lot, Street

PLASTER: tuple[Color, ...] = (
    (0.74, 0.68, 0.56), (0.66, 0.54, 0.40), (0.60, 0.36, 0.28), (0.52, 0.30, 0.24), (0.72, 0.71, 0.68),
    (0.50, 0.49, 0.47), (0.62, 0.60, 0.50), (0.70, 0.52, 0.42), (0.44, 0.47, 0.50), (0.78, 0.74, 0.64),
    (0.36, 0.33, 0.31), (0.56, 0.58, 0.48),
)  # fmt: skip
TILES: tuple[Color, ...] = ((0.45, 0.20, 0.14), (0.30, 0.20, 0.17), (0.22, 0.23, 0.25), (0.38, 0.26, 0.20))
MASONRY: tuple[Color, ...] = ((0.50, 0.49, 0.47), (0.42, 0.26, 0.20), (0.60, 0.57, 0.50), (0.36, 0.36, 0.36))
DEPTH = 11.0
"""Metres from the facade to the back of a house."""


def facade_parameters(lot: Lot, dice: Dice) -> tuple[float, ...]:
    """What the facade texture needs: see ``textures.facade``."""
    return (
        dice.uniform(1.9, 3.4),
        dice.uniform(0.35, 0.7),
        lot.floor_height,
        dice.uniform(0.4, 0.66),
        float(dice.integer(0, 9999)),
        1.0 if lot.kind == "terrace" and dice.chance(0.55) else 0.0,
    )


def house(street: Street, lot: Lot, dice: Dice) -> Model:
    """The front and the gable that faces the camera, with a pitched roof on most."""
    shape = Shape()
    color = dice.color(dice.pick(PLASTER), 0.07)
    line = street.sidewalk_end(lot.side) + lot.setback
    narrow = dice.uniform(0.6, 2.2) if lot.kind != "terrace" else 0.0
    start, end = lot.start + narrow, lot.end - narrow
    near = (street.x(lot.side * line, start), start)
    far = (street.x(lot.side * line, end), end)
    deep = lot.side * DEPTH
    _wall(shape, near, (near[0] + deep, start), lot.height, color)
    _wall(shape, near, far, lot.height, color)
    if dice.chance(0.7):
        rise, tiles = dice.uniform(1.2, 3.6), dice.color(dice.pick(TILES), 0.05)
        ridge, top = lot.height + rise, lot.height
        shape.polygon([(near[0], top, start), (near[0] + deep, top, start), (near[0] + deep / 2, ridge, start)], color)
        slope = [(near[0] - lot.side * 0.3, top - 0.1, start), (far[0] - lot.side * 0.3, top - 0.1, end),
                 (far[0] + deep / 2, ridge, end), (near[0] + deep / 2, ridge, start)]  # fmt: skip
        shape.polygon(slope, tiles, Material.ROOF)
        if dice.chance(0.5):
            _chimney(shape, near[0] + deep / 2, ridge, dice.uniform(start, end))
    return shape.build()


def backdrop(x: float, start: float, end: float, height: float, dice: Dice) -> Model:
    """A distant facade along the street, or across it where ``start`` equals ``end``."""
    shape = Shape()
    color = dice.color(dice.pick(PLASTER), 0.06)
    _wall(shape, (x, start), (x, end) if end > start else (x + 24.0, end), height, color)
    return shape.build()


def wall(a: Point, b: Point, height: float, color: Color) -> Model:
    """A free-standing wall from ``a`` to ``b`` (their feet), with a lighter coping."""
    shape = Shape()
    _strip(shape, a, b, (0.0, height), color, Material.MASONRY)
    coping = (color[0] * 1.15, color[1] * 1.15, color[2] * 1.15)
    _strip(shape, a, b, (height - 0.12, height), coping, Material.PLAIN)
    return shape.build()


def fence(a: Point, b: Point, height: float, color: Color) -> Model:
    """A fence from ``a`` to ``b`` (their feet)."""
    shape = Shape()
    _strip(shape, a, b, (0.0, height), color, Material.FENCE)
    return shape.build()


def _strip(shape: Shape, a: Point, b: Point, heights: tuple[float, float], color: Color, material: Material) -> None:
    low, high = heights
    points = [(a[0], a[1] + low, a[2]), (b[0], b[1] + low, b[2]), (b[0], b[1] + high, b[2]), (a[0], a[1] + high, a[2])]
    shape.polygon(points, color, material)


def _wall(shape: Shape, a: tuple[float, float], b: tuple[float, float], height: float, color: Color) -> None:
    """A facade over the line from ``a`` to ``b`` (x, z); windows are counted from ``a``."""
    _strip(shape, (a[0], 0.0, a[1]), (b[0], 0.0, b[1]), (0.0, height), color, Material.FACADE)


def _chimney(shape: Shape, x: float, y: float, z: float) -> None:
    shape.upright(rect(x - 0.4, x + 0.4, y - 0.5, y + 0.9), (0.4, 0.24, 0.18), z=z)
