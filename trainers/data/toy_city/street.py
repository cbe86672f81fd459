"""The law of a street: what a seed decides before anything is drawn.

World coordinates in metres: x to the right, y up, z along the street. The street's center line is x = center(z), the
signed distance from it is the offset (positive on the right, where traffic drives away from the camera).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from trainers.data.toy_city.dice import Dice, Number
from trainers.data.toy_city.labels import LABEL
from trainers.data.toy_city.models import Color

START, LENGTH = -24.0, 280.0
"""Where a street begins and ends along z."""
SIDES = (-1, 1)
"""Left and right; arrays over sides keep this order."""


@dataclass(frozen=True)
class StreetKind:
    """What streets of one kind have in common."""

    name: str
    lanes: int
    """Lanes in each direction."""
    floors: tuple[int, int]
    sidewalk: tuple[float, float]
    """Width in metres, least and most."""
    lots: dict[str, Number]
    """Weight of each kind of lot: terrace, garden, park, yard or parking."""
    boundaries: dict[str, Number]
    """Weight of what stands between the sidewalk and a lot: fence, wall, hedge or none."""
    features: tuple[str, ...]
    """Rare things that every frame of such a street shows near the camera."""
    people: Number = 5.0
    """Mean number of pedestrians in view."""
    traffic: float = 0.5
    """How densely the lanes are driven, in [0, 1]."""
    parked: float = 0.5
    """Share of parking places that are taken."""
    verge: float = 0.3
    """Probability of a strip of grass between the road and the sidewalk."""
    trees: float = 0.5
    """Trees per 10 m of sidewalk."""
    median: float = 0.0
    """Width of the planted strip between the directions."""
    rails: bool = False
    cobbles: bool = False


KINDS = (
    StreetKind("downtown", 2, (4, 8), (3.5, 6.0), {"terrace": 8, "parking": 1}, {"none": 1}, ("bus", "cyclist"),
               people=11, traffic=0.7, verge=0.0, trees=0.35),
    StreetKind("residential", 1, (2, 3), (2.2, 3.6), {"garden": 8, "park": 1, "terrace": 1},
               {"fence": 3, "hedge": 3, "wall": 1, "none": 1}, ("motorcycle", "cyclist"), people=4, traffic=0.25),
    StreetKind("tramway", 2, (3, 6), (3.0, 5.0), {"terrace": 7, "garden": 1, "yard": 1}, {"wall": 1, "fence": 1},
               ("tram",), people=8, verge=0.1, rails=True),
    StreetKind("industrial", 1, (2, 4), (1.8, 3.2), {"yard": 5, "terrace": 2, "parking": 1, "park": 1},
               {"wall": 4, "fence": 3}, ("truck", "motorcyclist"), people=2, parked=0.4, verge=0.5, trees=0.25),
    StreetKind("avenue", 2, (4, 7), (3.0, 5.5), {"terrace": 5, "garden": 2, "park": 1}, {"hedge": 2, "fence": 2},
               ("bus", "motorcyclist"), people=7, traffic=0.7, trees=0.9, median=3.0),
    StreetKind("park", 1, (2, 5), (2.4, 4.2), {"park": 5, "garden": 2, "terrace": 1, "yard": 1},
               {"hedge": 3, "fence": 3, "wall": 2}, ("truck", "cyclist"), people=6, verge=0.7, trees=1.0),
    StreetKind("old_town", 1, (3, 5), (1.6, 3.0), {"terrace": 9, "yard": 2}, {"wall": 1},
               ("motorcycle", "motorcyclist", "cyclist"), people=10, traffic=0.35, verge=0.0, trees=0.15, cobbles=True),
    StreetKind("suburb", 1, (2, 4), (2.2, 3.8), {"garden": 4, "yard": 2, "park": 2, "parking": 1},
               {"fence": 4, "hedge": 2, "wall": 2}, ("tram", "motorcycle"), people=4, verge=0.6, rails=True),
)  # fmt: skip
"""Street number ``n`` is of kind ``n % 8``: any eight streets in a row show all 19 classes, whatever the seed."""


@dataclass(frozen=True)
class Lot:
    """A piece of land along one side of the street."""

    side: int
    start: float
    end: float
    kind: str
    boundary: str
    setback: float
    """Metres between the sidewalk and the facade; 0 without a building."""
    height: float
    """Of the facade in metres; 0 without a building."""
    floor_height: float


@dataclass(frozen=True)
class Tones:
    """Reflectance of a street's ground, linear."""

    asphalt: float
    paving: Color
    grass: Color


@dataclass(frozen=True)
class Street:
    """One street: its plan, not its pictures."""

    kind: StreetKind
    bends: tuple[tuple[float, float, float], ...]
    """(amplitude in metres, wavelength in metres, phase) of the waves that bend the center line."""
    lane_width: float
    parking: tuple[float, float]
    """Width of the parking lane, left and right; 0 without one."""
    verge: tuple[float, float]
    sidewalk: tuple[float, float]
    crossings: tuple[tuple[float, float], ...]
    """(start, end) along z of the streets that cross."""
    lots: tuple[Lot, ...]
    tones: Tones
    profile: dict[str, np.ndarray] = field(repr=False)
    """``height``, ``setback``, ``ground``: [2, LENGTH − START], one value per side and metre of street."""

    def center(self, z: np.ndarray) -> np.ndarray:
        """x of the center line at each ``z``."""
        waves = [a * np.sin(2 * math.pi * (z / length + phase)) for a, length, phase in self.bends]
        return np.sum(waves, axis=0)

    def x(self, offset: Number, z: float) -> float:
        """x at a signed distance from the center line at ``z``."""
        return offset + sum(a * math.sin(2 * math.pi * (z / length + phase)) for a, length, phase in self.bends)

    def heading(self, z: float) -> float:
        """Angle of the center line at ``z``: 0 along z, positive to the right, in radians."""
        return math.atan(self.x(0, z + 0.5) - self.x(0, z - 0.5))

    def road_edge(self, side: int) -> float:
        """Distance of the curb from the center line."""
        return self.kind.median / 2 + self.kind.lanes * self.lane_width + self.parking[side > 0]

    def lane_center(self, lane: int) -> float:
        """Distance of a lane's middle from the center line; lane 0 is the innermost."""
        return self.kind.median / 2 + (lane + 0.5) * self.lane_width

    def sidewalk_start(self, side: int) -> float:
        """Distance of the sidewalk's inner edge from the center line."""
        return self.road_edge(side) + self.verge[side > 0]

    def sidewalk_end(self, side: int) -> float:
        """Distance of the sidewalk's outer edge from the center line."""
        return self.sidewalk_start(side) + self.sidewalk[side > 0]

    def is_crossing(self, z: float, margin: float = 0.0) -> bool:
        """Whether another street crosses at ``z``."""
        return any(start - margin < z < end + margin for start, end in self.crossings)

    def row(self, z: np.ndarray) -> np.ndarray:
        """Column of ``profile`` for each ``z``."""
        return np.clip(z - START, 0, LENGTH - START - 1).astype(np.intp)

    def ground_labels(self, offset: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Cityscapes label id (uint8) of the ground at each (offset, z)."""
        right = (offset > 0).astype(np.intp)
        distance = np.abs(offset)
        edges = np.array(
            [[f(side) for side in SIDES] for f in (self.road_edge, self.sidewalk_start, self.sidewalk_end)]
        )
        road, walk, end = edges[:, right]
        labels = self.profile["ground"][right, self.row(z)]
        labels[distance < end] = LABEL["sidewalk"]
        labels[distance < walk] = LABEL["terrain"]
        labels[distance < road] = LABEL["road"]
        labels[distance < self.kind.median / 2 - 0.1] = LABEL["terrain"]
        for start, stop in self.crossings:
            inside = (z > start) & (z < stop)
            labels[inside & (distance > road)] = LABEL["sidewalk"]
            labels[inside & ((z > start + 2) & (z < stop - 2) | (distance < road))] = LABEL["road"]
        return labels


def build_street(seed: int, number: int) -> Street:
    """The street that ``seed`` puts at ``number``."""
    dice = Dice(seed, number, "street")
    kind = KINDS[number % len(KINDS)]
    crossings = _crossings(dice)
    lots = [lot for side in SIDES for lot in _lots(dice, kind, side, crossings)]
    return Street(
        kind=kind,
        bends=((dice.uniform(0, 7), dice.uniform(150, 260), dice.uniform(0, 1)),
               (dice.uniform(0, 1.2), dice.uniform(60, 110), dice.uniform(0, 1))),
        lane_width=dice.uniform(2.9, 3.6),
        parking=(_maybe(dice, 0.55, 2.2), _maybe(dice, 0.55, 2.2)),
        verge=(_maybe(dice, kind.verge, dice.uniform(1.2, 2.2)), _maybe(dice, kind.verge, dice.uniform(1.2, 2.2))),
        sidewalk=(dice.uniform(*kind.sidewalk), dice.uniform(*kind.sidewalk)),
        crossings=tuple(crossings),
        lots=tuple(lots),
        tones=_tones(dice),
        profile=_profile(lots),
    )  # fmt: skip


def _tones(dice: Dice) -> Tones:
    paving, warmth = dice.uniform(0.16, 0.34), dice.uniform(0, 0.12)
    return Tones(
        asphalt=dice.uniform(0.045, 0.12),
        paving=(paving * (1 + warmth), paving, paving * (1 - warmth)),
        grass=dice.pick(((0.10, 0.15, 0.04), (0.15, 0.15, 0.06), (0.08, 0.13, 0.03))),
    )


def _maybe(dice: Dice, probability: float, width: float) -> float:
    return width if dice.chance(probability) else 0.0


def _crossings(dice: Dice) -> list[tuple[float, float]]:
    crossings = []
    z = dice.uniform(22, 60)
    while z < LENGTH - 30:
        crossings.append((z, z + dice.uniform(10, 15)))
        z += dice.uniform(55, 110)
    return crossings


def _lots(dice: Dice, kind: StreetKind, side: int, crossings: list[tuple[float, float]]) -> list[Lot]:
    """Lots without gaps between the streets that cross."""
    lots = []
    z = START
    for start, end in [*crossings, (LENGTH, LENGTH)]:
        while z < start - 1:
            stop = z + dice.uniform(9, 22)
            stop = start if stop > start - 6 else stop
            lots.append(_lot(dice, kind, side, z, stop))
            z = stop
        z = end
    return lots


def _lot(dice: Dice, kind: StreetKind, side: int, start: float, end: float) -> Lot:
    use = dice.weighted(kind.lots)
    floor_height = dice.uniform(2.8, 3.6)
    built = use in ("terrace", "garden") or (use == "yard" and dice.chance(0.6))
    return Lot(
        side=side,
        start=start,
        end=end,
        kind=use,
        boundary="none" if use == "terrace" else dice.weighted(kind.boundaries),
        setback={"garden": dice.uniform(3, 7), "yard": dice.uniform(8, 14)}.get(use, 0.0) if built else 0.0,
        height=dice.integer(*kind.floors) * floor_height + 0.8 if built else 0.0,
        floor_height=floor_height,
    )


def _profile(lots: list[Lot]) -> dict[str, np.ndarray]:
    columns = int(LENGTH - START)
    profile = {name: np.zeros((2, columns), np.float32) for name in ("height", "setback")}
    profile["ground"] = np.full((2, columns), LABEL["road"], np.uint8)
    grounds = {"terrace": "sidewalk", "garden": "terrain", "park": "terrain", "yard": "ground", "parking": "parking"}
    for lot in lots:
        at = int(lot.side > 0), slice(round(lot.start - START), round(lot.end - START))
        profile["height"][at], profile["setback"][at] = lot.height, lot.setback
        profile["ground"][at] = LABEL[grounds[lot.kind]]
    return profile
