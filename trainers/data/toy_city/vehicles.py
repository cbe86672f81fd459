"""Models of vehicles, their noses towards +z, the middle of their footprint at the origin."""

from functools import cache

from trainers.data.toy_city.dice import Number
from trainers.data.toy_city.models import PAINT, SECOND_PAINT, Color, Material, Model, Outline, Shape, disc, rect

DARK: Color = (0.06, 0.06, 0.07)
GLASS: Color = (0.16, 0.19, 0.22)
STEEL: Color = (0.45, 0.46, 0.48)
HEADLIGHT: Color = (0.95, 0.94, 0.88)
TAILLIGHT: Color = (0.75, 0.05, 0.04)

CAR_SIZES = {
    "hatchback": (1.75, 1.48, 3.9),
    "sedan": (1.82, 1.45, 4.7),
    "estate": (1.83, 1.50, 4.7),
    "suv": (1.92, 1.72, 4.6),
    "van": (1.95, 1.98, 4.9),
}
"""Width, height and length in metres."""

_CABINS = {  # inset of the cabin's rear and front from the body's, of its top from its bottom at both ends
    "hatchback": (0.10, 1.05, 0.35, 0.75),
    "sedan": (0.75, 1.30, 0.60, 0.75),
    "estate": (0.08, 1.30, 0.30, 0.75),
    "suv": (0.08, 1.15, 0.25, 0.60),
    "van": (0.05, 0.70, 0.10, 0.70),
}
PAINTS: tuple[Color, ...] = (
    (0.82, 0.82, 0.82), (0.90, 0.90, 0.88), (0.10, 0.10, 0.11), (0.14, 0.14, 0.15), (0.55, 0.57, 0.60),
    (0.35, 0.37, 0.40), (0.50, 0.07, 0.07), (0.10, 0.18, 0.42), (0.10, 0.30, 0.22), (0.65, 0.48, 0.20),
    (0.30, 0.45, 0.60),
)  # fmt: skip


LIVERIES: dict[str, tuple[Color, ...]] = {
    "bus": ((0.75, 0.12, 0.10), (0.60, 0.10, 0.16), (0.85, 0.85, 0.83)),
    "tram": ((0.85, 0.70, 0.15), (0.88, 0.78, 0.30), (0.20, 0.45, 0.30)),
}
"""Paints of public transport."""


@cache
def car(body: str) -> Model:
    """A car of one of ``CAR_SIZES``."""
    width, height, length = CAR_SIZES[body]
    rear, front, rear_slope, front_slope = _CABINS[body]
    belt = 0.62 * height
    shape = Shape()
    _underside(shape, width, length, 0.3)
    shape.box((width, belt - 0.22, length), (0, 0.22, 0), PAINT, Material.PAINTWORK, taper=(0.97, 0.06, 0.1))
    cabin_length = length - rear - front
    middle = (rear - front) / 2
    shape.box((width * 0.94, height - belt, cabin_length), (0, belt, middle), GLASS, Material.GLASS,
              taper=(0.80, rear_slope, front_slope), roof=PAINT)  # fmt: skip
    for side in (-1, 1):
        for z in (-0.29 * length, 0.30 * length):
            _wheel(shape, side * width / 2, 0.32, z, side)
    _lights(shape, width, length, belt * 0.72)
    for end in (-1, 1):
        _on_end(shape, rect(-0.26, 0.26, 0.45, 0.57), end * (length / 2 + 0.01), (0.85, 0.85, 0.8))
    return shape.build()


@cache
def truck_parts() -> tuple[Model, Model]:
    """The load and the cab of a truck 8 m long; placed at the same point, drawn by their own distances."""
    load, cab = Shape(), Shape()
    _underside(load, 2.4, 5.8, 0.9, center=-1.1)
    load.box((2.5, 2.7, 5.8), (0, 0.95, -1.1), PAINT, Material.PAINTWORK)
    _on_end(load, rect(-1.15, 1.15, 1.25, 3.45), -4.01, SECOND_PAINT)
    _on_end(load, rect(-0.03, 0.03, 1.0, 3.6), -4.02, DARK)
    for side in (-1, 1):
        for z in (-3.0, -1.9):
            _wheel(load, side * 1.22, 0.5, z, side)
        _wheel(cab, side * 1.2, 0.5, 2.6, side)
    _on_end(load, rect(-1.25, 1.25, 0.55, 0.8), -4.02, DARK)
    _lights(load, 2.4, 8.0, 0.72)
    cab.box((2.4, 1.1, 1.8), (0, 0.5, 2.9), SECOND_PAINT, Material.PAINTWORK)
    cab.box((2.4, 1.2, 1.8), (0, 1.6, 2.9), GLASS, Material.GLASS, taper=(0.95, 0, 0.25), roof=SECOND_PAINT)
    _lights(cab, 2.4, 7.62, 0.75)
    return load.build(), cab.build()


@cache
def bus() -> Model:
    """A city bus 11.5 m long."""
    return _coach(2.5, 3.05, 11.5, wheels=(-3.4, 3.6), belt=1.25)


@cache
def tram() -> Model:
    """One section of a tram, 14 m long."""
    return _coach(2.4, 3.4, 14.0, wheels=(), belt=1.35)


def _coach(width: float, height: float, length: float, wheels: tuple[float, ...], belt: float) -> Model:
    """Paint below and above a band of windows with pillars, doors and a lit destination board."""
    shape = Shape()
    _underside(shape, width, length, 0.4)
    shape.box((width, height - 0.3, length), (0, 0.3, 0), PAINT, Material.PAINTWORK, roof=SECOND_PAINT)
    half, top = width / 2 + 0.01, height - 0.55
    for side in (-1, 1):
        _on_side(shape, rect(-length / 2, length / 2, 0.32, 0.7), side * half, SECOND_PAINT)
        panes = round(length / 1.7)
        for number in range(panes):
            start = -length / 2 + 0.15 + number * (length - 0.3) / panes
            low = 0.5 if number % 3 == 1 and side > 0 else belt
            pane = rect(start + 0.1, start + 1.5, low, top)
            _on_side(shape, pane, side * (half + 0.01), GLASS, Material.GLASS, 0.14)
        for z in wheels:
            _wheel(shape, side * (half + 0.01), 0.48, z, side)
    for end in (-1, 1):
        z = end * (length / 2 + 0.01)
        pane = [(-half + 0.18, belt - 0.1), (half - 0.18, belt - 0.1), (half - 0.25, top), (-half + 0.25, top)]
        _on_end(shape, pane, z, GLASS, Material.GLASS, 0.1)
        _on_end(shape, rect(-0.7, 0.7, top + 0.08, top + 0.38), z, (0.25, 0.16, 0.05), Material.LAMP, 1.5)
    _lights(shape, width, length, 0.75)
    return shape.build()


@cache
def bicycle(*, sideways: bool) -> Model:
    """A bicycle along x when ``sideways``, else seen from behind."""
    shape = Shape()
    if not sideways:
        shape.upright(rect(-0.05, 0.05, 0, 0.68), DARK)
        shape.upright(rect(-0.28, 0.28, 0.98, 1.03), DARK)
        shape.upright(rect(-0.04, 0.04, 0.6, 0.98), PAINT)
        return shape.build()
    for x in (-0.52, 0.52):
        shape.upright(disc(0.34, x, 0.34), DARK)
        shape.upright(disc(0.27, x, 0.34), (0.42, 0.42, 0.42))
    rear, pedals, front = (-0.52, 0.34), (-0.02, 0.36), (0.52, 0.34)
    saddle, head, bars = (-0.1, 0.78), (0.38, 0.78), (0.36, 1)
    for a, b in ((rear, saddle), (saddle, head), (pedals, head), (rear, pedals), (front, bars), (pedals, saddle)):
        _bar(shape, a, b, 0.045, PAINT)
    shape.upright(rect(-0.3, -0.04, 0.92, 0.99), DARK)
    shape.upright(rect(0.3, 0.5, 0.98, 1.04), DARK)
    return shape.build()


@cache
def motorcycle(*, sideways: bool) -> Model:
    """A motorcycle or scooter along x when ``sideways``, else seen from behind."""
    shape = Shape()
    if not sideways:
        shape.upright(rect(-0.09, 0.09, 0, 0.62), DARK)
        shape.upright([(-0.2, 0.45), (0.2, 0.45), (0.26, 0.8), (-0.26, 0.8)], PAINT, Material.PAINTWORK)
        shape.upright(rect(-0.4, 0.4, 1.02, 1.1), DARK)
        shape.upright(rect(-0.1, 0.1, 0.66, 0.76), TAILLIGHT, Material.LAMP, glow=1.2)
        return shape.build()
    for x in (-0.7, 0.7):
        shape.upright(disc(0.33, x, 0.33), DARK)
        shape.upright(disc(0.17, x, 0.33), STEEL)
    shape.upright([(-0.35, 0.3), (0.3, 0.3), (0.35, 0.62), (-0.35, 0.62)], STEEL)
    shape.upright([(-0.2, 0.62), (0.35, 0.62), (0.45, 0.95), (-0.05, 0.92)], PAINT, Material.PAINTWORK)
    shape.upright([(-0.85, 0.66), (-0.1, 0.66), (-0.1, 0.84), (-0.9, 0.84)], DARK)
    _bar(shape, (0.7, 0.33), (0.42, 1.1), 0.1, STEEL)
    shape.upright(disc(0.12, 0.55, 0.92, 6), HEADLIGHT)
    return shape.build()


def _bar(shape: Shape, a: tuple[Number, Number], b: tuple[Number, Number], width: float, color: Color) -> None:
    across = (b[1] - a[1], a[0] - b[0])
    norm = (across[0] ** 2 + across[1] ** 2) ** 0.5
    dx, dy = across[0] / norm * width / 2, across[1] / norm * width / 2
    outline = [(a[0] - dx, a[1] - dy), (a[0] + dx, a[1] + dy), (b[0] + dx, b[1] + dy), (b[0] - dx, b[1] - dy)]
    shape.upright(outline, color)


def _underside(shape: Shape, width: float, length: float, height: float, center: float = 0.0) -> None:
    """The dark gap under a body."""
    shape.box((width * 0.9, height, length * 0.94), (0, 0, center), (0.03, 0.03, 0.03))


def _wheel(shape: Shape, x: float, radius: float, z: float, side: int) -> None:
    outline, hub = disc(radius, z * side, radius, 8), disc(radius * 0.55, z * side, radius, 6)
    for points, color, out in ((outline, DARK, 0.012), (hub, STEEL, 0.02)):
        shape.polygon([(x + side * out, y, u * side) for u, y in points], color, two_sided=False)


def _on_end(
    shape: Shape, outline: Outline, z: Number, color: Color, material: Material = Material.PLAIN, glow: float = 0.0
) -> None:
    """A patch on the rear (z < 0) or the front of a body."""
    points = [(x, y, z) if z < 0 else (-x, y, z) for x, y in outline]
    shape.polygon(points, color, material, glow=glow, two_sided=False)


def _on_side(
    shape: Shape, outline: Outline, x: Number, color: Color, material: Material = Material.PLAIN, glow: float = 0.0
) -> None:
    """A patch on the left (x < 0) or the right side of a body; ``outline`` holds (z, y)."""
    points = [(x, y, z) for z, y in (outline if x > 0 else outline[::-1])]
    shape.polygon(points, color, material, glow=glow, two_sided=False)


def _lights(shape: Shape, width: float, length: float, height: float) -> None:
    for end, color, glow in ((-1, TAILLIGHT, 1.2), (1, HEADLIGHT, 14.0)):
        for side in (-1, 1):
            x = side * (width / 2 - 0.22)
            outline = rect(x - 0.17, x + 0.17, height - 0.08, height + 0.08)
            _on_end(shape, outline, end * (length / 2 + 0.015), color, Material.LAMP, glow)
