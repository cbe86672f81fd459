"""What moves: the camera, vehicles in the lanes, riders and pedestrians, drawn anew for every frame."""

import math

import numpy as np

from trainers.data.toy_city import figures, vehicles
from trainers.data.toy_city.dice import Dice
from trainers.data.toy_city.furnishing import furnished_street, place_two_wheeler
from trainers.data.toy_city.models import Model, Shape
from trainers.data.toy_city.scene import Camera, Scene, SceneBuilder
from trainers.data.toy_city.street import SIDES, Street

FRAMES_PER_STREET = 4
SPACING = 17.0
"""Metres that the camera drives from one frame to the next."""
SHIFT = 4.0
"""Metres along the street by which visits miss each other's places."""
SIGHT = 75.0
"""Metres within which moving things are placed."""
_HALF_LENGTHS = {"car": 2.4, "bus": 5.8, "truck": 4.1, "tram": 7.1}


def build_scene(seed: int, street: int, frame: int, visit: int) -> Scene:
    """The ``frame``-th view along a street, the same in every domain.

    Another ``visit`` comes to nearly the same place (up to ``SHIFT`` metres further or less far, perhaps in the other
    lane, looking a little elsewhere) and meets others.
    """
    plan, standing, counters, lamps = furnished_street(seed, street, visit)
    dice = Dice(seed, street, frame, visit, "traffic")
    camera, lane = _camera(plan, frame, Dice(seed, street, frame, "place"), dice if visit else None)
    builder = SceneBuilder(plan, counters)
    headlights = _Lanes(builder, camera.position[2], lane, dice).fill()
    _pedestrians(builder, camera.position[2], dice)
    _hood(builder, camera, Dice(seed, street, visit, "hood"))
    return Scene(plan, camera, standing.joined(builder.surfaces()), lamps, headlights)


def _camera(street: Street, frame: int, dice: Dice, shift: Dice | None) -> tuple[Camera, int]:
    """A dash camera in one of the right-hand lanes, and that lane; with ``shift``, as another visit places it."""
    z = 6.0 + SPACING * frame + dice.uniform(0, 8)
    lane = street.kind.lanes - 1 if dice.chance(0.7) else 0
    if shift:
        z += shift.uniform(-SHIFT, SHIFT)
        lane, dice = (shift.integer(0, lane), shift)
    offset = street.lane_center(lane) + dice.uniform(-0.35, 0.35)
    position = (street.x(offset, z), dice.uniform(1.2, 1.5), z)
    yaw = street.heading(z) + dice.uniform(-0.05, 0.05)
    return Camera(position, yaw, dice.uniform(-0.035, 0.02), dice.uniform(-0.012, 0.012)), lane


class _Lanes:
    """Fills the lanes around the camera; keeps vehicles of one lane apart."""

    def __init__(self, builder: SceneBuilder, z: float, ego_lane: int, dice: Dice) -> None:
        self.builder, self.street, self.dice = builder, builder.street, dice
        self.z, self.ego_lane = z, ego_lane
        self.taken: list[tuple[int, float, float]] = []
        self.headlights: list[tuple[float, float, float, float]] = []

    def fill(self) -> np.ndarray:
        """Place features, then other traffic; returns the headlights [N, 4]."""
        for feature in self.street.kind.features:
            self._feature(feature)
        density = self.street.kind.traffic
        for direction in SIDES:
            for lane in range(self.street.kind.lanes):
                is_ego = direction > 0 and lane == self.ego_lane
                ahead = self.dice.uniform(11, 32) if is_ego else self.dice.uniform(5, 30)
                while ahead < SIGHT:
                    if self.dice.chance(density):
                        self._vehicle("car", direction * (lane + 1), ahead)
                    ahead += self.dice.uniform(7, 26)
        if self.dice.chance(0.3):
            self._rider(self.dice.pick(("cyclist", "cyclist", "motorcyclist")), self.dice.uniform(10, 40))
        return np.array(self.headlights, dtype=np.float32).reshape(-1, 4)

    def _feature(self, feature: str) -> None:
        """Something rare, near enough to be seen."""
        dice = self.dice
        if feature in ("cyclist", "motorcyclist"):
            self._rider(feature, dice.uniform(6, 16))
        elif feature == "motorcycle":
            side = dice.pick(SIDES)
            offset = side * (self.street.sidewalk_start(side) + 0.8)
            place_two_wheeler(self.builder, feature, offset, self.z + dice.uniform(9, 15), dice)
        elif feature == "tram":
            self._vehicle("tram", dice.pick((-1, -1, 1)), dice.uniform(16, 34))
        else:
            lane = dice.pick((-1, self.street.kind.lanes))
            self._vehicle(feature, lane, dice.uniform(13, 36))

    def _vehicle(self, kind: str, lane: int, ahead: float) -> None:
        """A vehicle in lane ``lane``: ±1 is the innermost, negative lanes come towards the camera."""
        dice, street = self.dice, self.street
        z, reach = self.z + ahead, _HALF_LENGTHS[kind]
        if any(lane == other and abs(z - place) < reach + length + 2.5 for other, place, length in self.taken):
            return
        self.taken.append((lane, z, reach))
        direction = 1 if lane > 0 else -1
        offset = direction * street.lane_center(abs(lane) - 1) + dice.uniform(-0.25, 0.25)
        heading = street.heading(z) + (0.0 if lane > 0 else np.pi)
        label = "train" if kind == "tram" else kind
        paint = dice.color(dice.pick(vehicles.LIVERIES.get(kind, vehicles.PAINTS)), 0.04)
        second = dice.color(dice.pick(vehicles.PAINTS), 0.04)
        instance = self.builder.next_instance(label)
        for model in _vehicle_parts(kind, dice):
            self.builder.place(model, label, (offset, z), heading=heading, paint=paint, second_paint=second,
                               instance=instance, casts_shadow=True)  # fmt: skip
        ahead_x, ahead_z = math.sin(heading), math.cos(heading)
        self.headlights.append((street.x(offset, z) + ahead_x * reach, z + ahead_z * reach, ahead_x, ahead_z))

    def _rider(self, kind: str, ahead: float) -> None:
        """Someone riding along the right edge of the road, or crossing it."""
        dice, street = self.dice, self.street
        z = self.z + ahead
        sideways = dice.chance(0.45)
        offset = dice.uniform(-2, 4) if sideways else street.road_edge(1) - street.parking[1] - dice.uniform(0.3, 1.0)
        two_wheeler = vehicles.bicycle if kind == "cyclist" else vehicles.motorcycle
        helmet = kind == "motorcyclist" or dice.chance(0.7)
        mirror = (dice.pick((-1.0, 1.0)), 1.0, 1.0)
        label, paint = "bicycle" if kind == "cyclist" else "motorcycle", dice.pick(vehicles.PAINTS)
        self.builder.place(two_wheeler(sideways=sideways), label, (offset, z), scale=mirror, paint=paint)
        person = figures.rider(dice, sideways=sideways, helmet=helmet)
        jacket, trousers = dice.pick(figures.JACKETS), dice.pick(figures.CLOTHES)
        self.builder.place(person, "rider", (offset, z - 0.05), scale=mirror, paint=jacket, second_paint=trousers,
                           casts_shadow=True)  # fmt: skip


def _vehicle_parts(kind: str, dice: Dice) -> tuple[Model, ...]:
    if kind == "truck":
        return vehicles.truck_parts()
    if kind == "car":
        return (vehicles.car(dice.pick(tuple(vehicles.CAR_SIZES))),)
    return (vehicles.bus() if kind == "bus" else vehicles.tram(),)


def _pedestrians(builder: SceneBuilder, z: float, dice: Dice) -> None:
    """People on the sidewalks, some in groups, now and then one on the road."""
    street = builder.street
    groups = round(street.kind.people * dice.uniform(0.4, 1.6) / 1.6) + 1
    for group in range(groups):
        ahead = dice.uniform(6, 14) if group == 0 else 5 + SIGHT * dice.uniform(0, 1) ** 1.6
        side = dice.pick(SIDES)
        offset = side * dice.uniform(street.sidewalk_start(side) + 0.3, street.sidewalk_end(side) - 0.3)
        if dice.chance(0.12):
            offset = dice.uniform(-street.road_edge(-1), street.road_edge(1))
        for _ in range(dice.weighted({1: 6, 2: 3, 3: 1})):
            _pedestrian(builder, offset + dice.uniform(-0.7, 0.7), z + ahead + dice.uniform(-0.8, 0.8), dice)


def _pedestrian(builder: SceneBuilder, offset: float, z: float, dice: Dice) -> None:
    height = dice.uniform(0.6, 0.75) if dice.chance(0.12) else dice.uniform(0.9, 1.08)
    size = (height * dice.uniform(0.85, 1.2), height, 1.0)
    jacket, trousers = (dice.color(dice.pick(figures.CLOTHES), 0.05) for _ in range(2))
    model = figures.pedestrian(dice)
    builder.place(model, "person", (offset, z), scale=size, paint=jacket, second_paint=trousers, casts_shadow=True)


def _hood(builder: SceneBuilder, camera: Camera, dice: Dice) -> None:
    """The hood of the own car along the lower edge of the picture, on three streets of four."""
    if not dice.chance(0.75):
        return
    height, color = dice.uniform(-0.25, -0.215), dice.color(dice.pick(vehicles.PAINTS), 0.05)
    corner = height - 0.06
    outline = [(-0.9, -0.5), (0.9, -0.5), (0.9, corner), (0.3, height), (-0.3, height), (-0.9, corner)]
    local = np.array([(x, y, 1.0) for x, y in outline])
    shape = Shape()
    shape.polygon([(x, y, z) for x, y, z in (local @ camera.rotation() + camera.position).tolist()], color)
    builder.place(shape.build(), "ego_vehicle", bias=-100.0)
