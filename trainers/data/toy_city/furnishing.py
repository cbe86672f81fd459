"""What stands still in a street: houses, plants, posts and parked vehicles, built once per street."""

from collections import Counter
from functools import lru_cache
from itertools import pairwise

import numpy as np

from trainers.data.toy_city import buildings, figures, vehicles
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.scene import SceneBuilder, Surfaces
from trainers.data.toy_city.street import LENGTH, SIDES, START, Lot, Street, build_street

SEGMENT = 3.5
"""Longest piece of a wall, fence or hedge in metres: short pieces sort correctly against what stands near them."""
_CLUTTER = {"nothing": 0.45, "sign": 0.085, "bin": 0.05, "bicycle": 0.15, "motorcycle": 0.035}
_HEIGHTS = {"wall": (1.5, 3.0), "fence": (1.1, 2.1), "hedge": (0.9, 2.0)}
FENCE_COLORS = ((0.22, 0.24, 0.22), (0.45, 0.33, 0.22), (0.75, 0.74, 0.70), (0.50, 0.52, 0.52))


@lru_cache(maxsize=6)
def furnished_street(seed: int, number: int, visit: int) -> tuple[Street, Surfaces, Counter[int], np.ndarray]:
    """A street, its standing polygons, how many instances they used of each label, and its lamps [L, 3].

    From visit to visit other cars are parked and the signals show something else.
    """
    street = build_street(seed, number)
    builder = SceneBuilder(street)
    dice = Dice(seed, number, "lots")
    _backdrops(builder, dice)
    for lot in street.lots:
        _furnish_lot(builder, lot, dice)
    dice = Dice(seed, number, "furniture")
    lamps = _lamps(builder, dice)
    visit_dice = Dice(seed, number, visit, "parked")
    _crossings(builder, dice, visit_dice)
    for side in SIDES:
        _sidewalk(builder, side, dice)
        _parked(builder, side, visit_dice)
    _median(builder, dice)
    return street, builder.surfaces(), builder.counters, lamps


def _backdrops(builder: SceneBuilder, dice: Dice) -> None:
    """Houses of the next streets, seen over the lots and through the crossings, and the end of the street."""
    style = (2.8, 0.5, 3.2, 0.5)
    for side in SIDES:
        z = START + 40
        while z < LENGTH:
            end = z + dice.uniform(14, 30)
            x = builder.street.x(side * dice.uniform(45, 75), z)
            model = buildings.backdrop(x, z, end, dice.uniform(7, 20), dice)
            seed = (*style, float(dice.integer(0, 9999)))
            builder.place(model, "building", parameters=seed, by_far_end=True, bias=20.0)
            z = end + dice.uniform(0, 14)
    for x in range(-120, 120, 24):
        z = LENGTH - dice.uniform(5, 40)
        model = buildings.backdrop(builder.street.x(x, z), z, z, dice.uniform(8, 24), dice)
        builder.place(model, "building", parameters=(*style, float(x)), bias=40.0)


def _furnish_lot(builder: SceneBuilder, lot: Lot, dice: Dice) -> None:
    street = builder.street
    edge = lot.side * street.sidewalk_end(lot.side)
    if lot.height:
        parameters, model = buildings.facade_parameters(lot, dice), buildings.house(street, lot, dice)
        builder.place(model, "building", parameters=parameters, by_far_end=True, bias=0.5)
    if lot.kind == "terrace":
        return
    _boundary(builder, lot, edge + lot.side * 0.3, dice)
    depth = lot.setback or 14.0
    density = {"park": 0.11, "garden": 0.05, "yard": 0.05, "parking": 0.0}[lot.kind]
    for _ in range(round(density * (lot.end - lot.start) * min(depth, 12.0) / 4 + dice.uniform(0, 1))):
        offset, z = edge + lot.side * dice.uniform(1.2, depth), dice.uniform(lot.start, lot.end)
        model, size = (figures.bush(dice), 1.0) if dice.chance(0.4) else (figures.tree(dice), dice.uniform(0.6, 1.3))
        builder.place(model, "vegetation", (offset, z), scale=size, casts_shadow=True)
    if lot.kind in ("parking", "park"):
        _boundary(builder, lot, edge + lot.side * 13.0, dice)


def _boundary(builder: SceneBuilder, lot: Lot, offset: float, dice: Dice) -> None:
    street, kind = builder.street, lot.boundary
    if kind == "none":
        return
    height = dice.uniform(*_HEIGHTS[kind])
    color = dice.color(dice.pick(buildings.MASONRY if kind == "wall" else FENCE_COLORS), 0.06)
    gate = dice.uniform(lot.start + 2, lot.end - 2) if kind == "fence" or lot.kind == "garden" else LENGTH
    pieces = max(round((lot.end - lot.start) / SEGMENT), 1)
    ends = np.linspace(lot.start, lot.end, pieces + 1)
    style = float(dice.integer(0, 2))
    for a, b in pairwise(ends.tolist()):
        if a < gate < b:
            continue
        foot, head = (street.x(offset, a), 0.0, a), (street.x(offset, b), 0.0, b)
        if kind == "hedge":
            model = figures.hedge(b - a, height, dice)
            builder.place(model, "vegetation", (offset, (a + b) / 2), heading=street.heading(a))
        elif kind == "wall":
            builder.place(buildings.wall(foot, head, height, color), "wall")
        else:
            builder.place(buildings.fence(foot, head, height, color), "fence", parameters=(style,))


def _lamps(builder: SceneBuilder, dice: Dice) -> np.ndarray:
    """Street lamps on one side or in turns on both."""
    street = builder.street
    height, spacing, both = dice.uniform(5.0, 8.5), dice.uniform(22, 36), dice.chance(0.5)
    lamps = []
    side = dice.pick(SIDES)
    z = START + dice.uniform(0, spacing)
    while z < LENGTH - 20:
        if not street.is_crossing(z, 1.0):
            offset = side * (street.sidewalk_start(side) + 0.35)
            reach = -side * dice.uniform(0.9, 1.8)
            builder.place(figures.lamp_post(height, reach), "pole", (offset, z))
            lamps.append((street.x(offset + reach, z), height, z))
        side = -side if both else side
        z += spacing * dice.uniform(0.85, 1.15)
    return np.array(lamps, dtype=np.float32).reshape(-1, 3)


def _crossings(builder: SceneBuilder, dice: Dice, visit_dice: Dice) -> None:
    """Signals, or else signs, at each street that crosses."""
    street = builder.street
    for start, end in street.crossings:
        state = visit_dice.integer(0, 2)
        signals = street.kind.lanes > 1 or dice.chance(0.6)
        for side in SIDES:
            for z in (start - 0.6, end + 0.6):
                offset = side * (street.sidewalk_start(side) + 0.5)
                if signals:
                    _signal(builder, offset, z, state, hangs=street.kind.lanes > 1 and z > end and side > 0)
                elif dice.chance(0.7):
                    _sign(builder, offset, z, dice)


def _signal(builder: SceneBuilder, offset: float, z: float, state: int, *, hangs: bool) -> None:
    street, signal = builder.street, figures.traffic_light(state)
    builder.place(figures.pole(5.6 if hangs else 3.3), "pole", (offset, z))
    builder.place(signal, "traffic_light", (offset, z - 0.1), lift=2.2, scale=1.3)
    if hangs:
        reach = street.lane_width + street.parking[1] + 0.8
        builder.place(figures.pole(0.1, reach), "pole", (offset - reach / 2, z), lift=5.4)
        builder.place(signal, "traffic_light", (offset - reach, z - 0.1), lift=4.2, scale=1.5)


def _sign(builder: SceneBuilder, offset: float, z: float, dice: Dice) -> None:
    height = dice.uniform(2.0, 2.6)
    builder.place(figures.pole(height + 0.3, 0.12), "pole", (offset, z))
    builder.place(figures.traffic_sign(dice), "traffic_sign", (offset, z - 0.06), lift=height, scale=1.25)
    if dice.chance(0.25):
        builder.place(figures.traffic_sign(dice), "traffic_sign", (offset, z - 0.06), lift=height - 0.75, scale=0.9)


def _sidewalk(builder: SceneBuilder, side: int, dice: Dice) -> None:
    """Trees, signs, bollards, bins and parked two-wheelers, metre after metre."""
    street = builder.street
    curb, end = street.sidewalk_start(side), street.sidewalk_end(side)
    bollards = dice.chance(0.25) and not street.verge[side > 0]
    z = START + 2.0
    while z < LENGTH - 40:
        z += dice.uniform(1.5, 4.5)
        if street.is_crossing(z, 1.5):
            continue
        near_curb = side * (curb + 0.4 if not street.verge[side > 0] else curb - 0.7)
        weights = {"tree": 0.3 * street.kind.trees, "bollard": 1.0 if bollards else 0.02}
        chosen = dice.weighted(_CLUTTER | weights)
        if chosen == "tree":
            size = dice.uniform(0.6, 1.15)
            builder.place(figures.tree(dice), "vegetation", (near_curb, z), scale=size, casts_shadow=True)
            z += 3.0
        elif chosen == "sign":
            _sign(builder, near_curb, z, dice)
        elif chosen == "bin":
            builder.place(figures.litter_bin(dice), "static", (near_curb, z), casts_shadow=True)
        elif chosen == "bollard":
            builder.place(figures.pole(0.95, 0.14, (0.3, 0.3, 0.3)), "pole", (near_curb, z))
        elif chosen != "nothing":
            place_two_wheeler(builder, chosen, side * (dice.pick((curb + 0.9, end - 0.5))), z, dice)


def place_two_wheeler(builder: SceneBuilder, kind: str, offset: float, z: float, dice: Dice) -> None:
    """A parked bicycle or motorcycle, more or less across the line of sight."""
    model = (vehicles.bicycle if kind == "bicycle" else vehicles.motorcycle)(sideways=True)
    turn, paint = dice.uniform(-0.9, 0.9), dice.pick(vehicles.PAINTS)
    builder.place(model, kind, (offset, z), heading=turn, paint=paint, lights_on=False, casts_shadow=True)


def _parked(builder: SceneBuilder, side: int, dice: Dice) -> None:
    street = builder.street
    for lot in street.lots:
        if lot.kind == "parking" and lot.side == side:
            for z in np.arange(lot.start + 2, lot.end - 1, 2.8).tolist():
                if dice.chance(0.6):
                    _park(builder, side * (street.sidewalk_end(side) + 3.5), z, dice, turn=np.pi / 2)
    if not street.parking[side > 0]:
        return
    z = START + 3.0
    while z < LENGTH - 60:
        if dice.chance(street.kind.parked) and not street.is_crossing(z, 4.0):
            _park(builder, side * (street.road_edge(side) - 1.1), z, dice)
        z += dice.uniform(5.3, 6.8)


def _park(builder: SceneBuilder, offset: float, z: float, dice: Dice, turn: float = 0.0) -> None:
    heading = builder.street.heading(z) + turn + (np.pi if offset < 0 else 0.0)
    model = vehicles.car(dice.pick(tuple(vehicles.CAR_SIZES)))
    paint = dice.color(dice.pick(vehicles.PAINTS), 0.04)
    builder.place(model, "car", (offset, z), heading=heading, paint=paint, lights_on=False, casts_shadow=True)


def _median(builder: SceneBuilder, dice: Dice) -> None:
    street = builder.street
    if not street.kind.median:
        return
    for z in np.arange(START, LENGTH - 60, 4.0).tolist():
        if street.is_crossing(z, 3.0):
            continue
        if dice.chance(0.35):
            builder.place(figures.tree(dice), "vegetation", (0.0, z), scale=0.8, casts_shadow=True)
        elif dice.chance(0.6):
            builder.place(figures.bush(dice), "vegetation", (0.0, z), scale=0.7)
