"""A scene: placed models as flat arrays of polygons, the camera, and what gives light or shade.

Shapes: V vertices, P polygons, G groups (one per placed model), K objects that cast a shadow, L street lamps.
"""

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np

from trainers.data.toy_city.dice import Number
from trainers.data.toy_city.labels import LABEL, THINGS, instance_id
from trainers.data.toy_city.models import Color, Model, Point
from trainers.data.toy_city.street import Street

GRAY: Color = (0.5, 0.5, 0.5)
NUM_PARAMETERS = 6
"""Numbers that a texture function may take per polygon."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in world coordinates."""

    position: Point
    yaw: float
    """Radians to the right of the z axis."""
    pitch: float
    """Radians upwards."""
    roll: float
    focal: float = 1.0
    """Focal length as a fraction of the picture's width."""

    def rotation(self) -> np.ndarray:
        """float64 [3, 3]: world to camera (x right, y up, z ahead)."""
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (self.yaw, self.pitch, self.roll))
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return lean @ tilt @ turn


@dataclass(frozen=True)
class Surfaces:
    """Every polygon of a scene; polygons of a group follow each other, vertices of a polygon too."""

    vertices: np.ndarray
    """float64 [V, 3], world metres: with 32 bits, labels would depend on how a processor rounds."""
    counts: np.ndarray
    """int64 [P], vertices of each polygon."""
    materials: np.ndarray
    colors: np.ndarray
    """float32 [P, 3], sRGB."""
    glow: np.ndarray
    """float32 [P]; 0 where an object's lights are off."""
    two_sided: np.ndarray
    parameters: np.ndarray
    """float32 [P, NUM_PARAMETERS]."""
    labels: np.ndarray
    """uint8 [P], Cityscapes label ids."""
    instances: np.ndarray
    """int32 [P], Cityscapes instance ids."""
    sizes: np.ndarray
    """int64 [G], polygons of each group."""
    bias: np.ndarray
    """float32 [G]; added to a group's distance when groups are sorted from far to near, in metres."""
    by_far_end: np.ndarray
    """bool [G]; sort by the far end (facades along the street), not by the middle."""
    casters: np.ndarray
    """float32 [K, 10]: four corners (x, z) of a footprint, lower and upper height of what stands on it."""

    def joined(self, other: "Surfaces") -> "Surfaces":
        """These polygons and those of ``other``."""
        names = [f.name for f in fields(self)]
        return Surfaces(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names})


@dataclass(frozen=True)
class Scene:
    """All that a domain needs to make a picture; the same for every domain."""

    street: Street
    camera: Camera
    surfaces: Surfaces
    lamps: np.ndarray
    """float32 [L, 3], street lamps."""
    headlights: np.ndarray
    """float32 [N, 4]: x and z of a lit vehicle's nose, x and z of where it points."""


class SceneBuilder:
    """Places models and numbers their instances."""

    def __init__(self, street: Street, counters: Counter[int] | None = None) -> None:
        self.street = street
        self.counters: Counter[int] = Counter(counters or ())
        self._columns: dict[str, list[np.ndarray]] = {f.name: [] for f in fields(Surfaces)}

    def next_instance(self, label: str) -> int:
        """A fresh instance id; the label id itself where instances are not counted."""
        number = self.counters[LABEL[label]]
        self.counters[LABEL[label]] += LABEL[label] in THINGS
        return instance_id(LABEL[label], number)

    def place(
        self,
        model: Model,
        label: str,
        at: tuple[Number, Number] | None = None,
        *,
        lift: Number = 0.0,
        heading: Number = 0.0,
        scale: Number | Point = 1.0,
        paint: Color = GRAY,
        second_paint: Color = GRAY,
        parameters: tuple[float, ...] = (),
        instance: int | None = None,
        lights_on: bool = True,
        by_far_end: bool = False,
        bias: float = 0.0,
        casts_shadow: bool = False,
    ) -> None:
        """Stand ``model`` at (offset from the center line, z), turned by ``heading`` radians to the right of z.

        Without ``at`` its vertices are world coordinates already.
        """
        position = (0.0, 0.0, 0.0) if at is None else (self.street.x(*at), lift, at[1])
        local, turn = model.vertices * np.asarray(scale, dtype=np.float64), _turn(heading)
        instance = self.next_instance(label) if instance is None else instance
        add, polygons = self._add, len(model.counts)
        add("vertices", local @ turn + np.asarray(position))
        add("counts", model.counts)
        add("materials", model.materials)
        add("colors", _painted(model.colors, paint, second_paint))
        add("glow", model.glow * np.float32(lights_on))
        add("two_sided", model.two_sided)
        add("parameters", _padded(parameters, polygons))
        add("labels", np.full(polygons, LABEL[label], np.uint8))
        add("instances", np.full(polygons, instance, np.int32))
        add("sizes", np.array([polygons]))
        add("bias", np.array([bias], np.float32))
        add("by_far_end", np.array([by_far_end]))
        if casts_shadow:
            add("casters", _caster(local, turn, position))

    def _add(self, name: str, column: np.ndarray) -> None:
        self._columns[name].append(column)

    def surfaces(self) -> Surfaces:
        """The polygons placed so far."""
        no_casters = np.zeros((0, 10), np.float32)
        casters = self._columns["casters"] or [no_casters]
        return Surfaces(**{name: np.concatenate(c) for name, c in (self._columns | {"casters": casters}).items()})


def _padded(parameters: tuple[float, ...], polygons: int) -> np.ndarray:
    row = np.zeros((1, NUM_PARAMETERS), np.float32)
    row[0, : len(parameters)] = parameters
    return np.repeat(row, polygons, axis=0)


def _turn(heading: Number) -> np.ndarray:
    """Rotates row vectors about y."""
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def _painted(colors: np.ndarray, paint: Color, second_paint: Color) -> np.ndarray:
    if colors[:, 0].min() >= 0:
        return colors
    painted = colors.copy()
    painted[colors[:, 0] == -1] = paint
    painted[colors[:, 0] == -2] = second_paint
    return painted


def _caster(local: np.ndarray, turn: np.ndarray, position: Point) -> np.ndarray:
    """Footprint and heights of a model; flat cut-outs get the thickness of a body."""
    low, high = local.min(axis=0), local.max(axis=0)
    crown = local[local[:, 1] > 0.6 * high[1]]
    if len(crown) and high[1] > 4:
        low, high = crown.min(axis=0), crown.max(axis=0)
    thickness = max(0.0, 0.3 - float(high[2] - low[2])) / 2
    near, far = low[2] - thickness, high[2] + thickness
    corners = np.array([(low[0], 0, near), (high[0], 0, near), (high[0], 0, far), (low[0], 0, far)])
    footprint = (corners @ turn + np.asarray(position))[:, [0, 2]]
    return np.concatenate([footprint.ravel(), [low[1], high[1]]]).astype(np.float32)[None]
