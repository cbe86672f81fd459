"""Polygon models in local metres: x right, y up, z forward, standing on y = 0.

Shapes: V vertices, P polygons. A polygon is planar and convex or nearly so, its vertices listed from the bottom left
as seen from outside; the raster stage drops the polygons of solids that face away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from trainers.data.toy_city.dice import Number

Point = tuple[Number, Number, Number]
Outline = Sequence[tuple[Number, Number]]
Color = tuple[float, float, float]

PAINT: Color = (-1.0, 0.0, 0.0)
"""Stands for the first color that the placement brings."""
SECOND_PAINT: Color = (-2.0, 0.0, 0.0)
"""Stands for the second color that the placement brings."""


class Material(IntEnum):
    """Which texture function colors a polygon."""

    PLAIN = 0
    PAINTWORK = 1
    GLASS = 2
    FACADE = 3
    MASONRY = 4
    FENCE = 5
    FOLIAGE = 6
    ROOF = 7
    LAMP = 8


@dataclass(frozen=True)
class Model:
    """Polygons of one object; see ``Shape`` for how they are made."""

    vertices: np.ndarray
    """float32 [V, 3], polygon after polygon."""
    counts: np.ndarray
    """int64 [P], vertices of each polygon."""
    materials: np.ndarray
    """uint8 [P]."""
    colors: np.ndarray
    """float32 [P, 3], sRGB in [0, 1], or PAINT, or SECOND_PAINT."""
    glow: np.ndarray
    """float32 [P], light that the polygon sends out while its object's lights are on (1 = white paper by day)."""
    two_sided: np.ndarray
    """bool [P], drawn from both sides."""


class Shape:
    """Collects polygons and builds a model of them."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._rows: list[tuple[int, int, Color, float, bool]] = []

    def polygon(
        self,
        points: Sequence[Point],
        color: Color,
        material: Material = Material.PLAIN,
        *,
        glow: Number = 0.0,
        two_sided: bool = True,
    ) -> None:
        """Add one polygon."""
        self._points.extend(points)
        self._rows.append((len(points), int(material), color, glow, two_sided))

    def upright(
        self, outline: Outline, color: Color, material: Material = Material.PLAIN, *, z: Number = 0, glow: Number = 0
    ) -> None:
        """Add a flat polygon that stands across the z axis; ``outline`` holds (x, y)."""
        self.polygon([(x, y, z) for x, y in outline], color, material, glow=glow)

    def box(
        self,
        size: Point,
        center: Point,
        color: Color,
        material: Material = Material.PLAIN,
        *,
        taper: Point = (1.0, 0.0, 0.0),
        roof: Color | None = None,
    ) -> None:
        """Add a box of ``size`` over ``center`` (of its bottom).

        ``taper``: the top's width as a fraction of the bottom's, and how far its rear and front edges move inwards.
        """
        half_width, height, half_length = size[0] / 2, size[1], size[2] / 2
        x, y, z = center
        width_fraction, rear, front = taper
        bottom = _rectangle(half_width, -half_length, half_length, x, y, z)
        top = _rectangle(half_width * width_fraction, -half_length + rear, half_length - front, x, y + height, z)
        for side, after in ((0, 1), (1, 2), (2, 3), (3, 0)):  # rear, right, front, left
            face = (bottom[side], bottom[after], top[after], top[side])
            self.polygon(face, color, material, two_sided=False)
        self.polygon(top, roof or color, Material.PAINTWORK, two_sided=False)

    def build(self) -> Model:
        """The model of everything added so far."""
        counts, materials, colors, glow, two_sided = zip(*self._rows, strict=True)
        return Model(
            vertices=np.array(self._points, dtype=np.float32),
            counts=np.array(counts, dtype=np.int64),
            materials=np.array(materials, dtype=np.uint8),
            colors=np.array(colors, dtype=np.float32),
            glow=np.array(glow, dtype=np.float32),
            two_sided=np.array(two_sided, dtype=bool),
        )


def _rectangle(half_width: Number, rear: Number, front: Number, x: Number, y: Number, z: Number) -> list[Point]:
    return [
        (x - half_width, y, z + rear),
        (x + half_width, y, z + rear),
        (x + half_width, y, z + front),
        (x - half_width, y, z + front),
    ]


def rect(left: Number, right: Number, low: Number, high: Number) -> list[tuple[Number, Number]]:
    """The outline (x, y) of a rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def disc(radius: Number, x: Number = 0.0, y: Number = 0.0, sides: int = 10) -> list[tuple[float, float]]:
    """The outline (x, y) of a regular polygon with a flat bottom edge."""
    angles = [2 * math.pi * (side + 0.5) / sides - math.pi / 2 for side in range(sides)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
