"""Recombined label maps are label maps: against the definition pixel by pixel, and what holds of any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.references import recombination as reference
from trainers.data.donors import areas_and_boxes
from trainers.data.label_spaces import CITYSCAPES, CITYSCAPES_LABEL_IDS, CLASS_NAMES, IGNORE_LABEL
from trainers.data.recombination import Donor, LabelMap, recombine
from trainers.errors import UserError

THINGS = (11, 13)  # Person and car.
SOME = (0, 2, 3, *THINGS)
ORDER = [CLASS_NAMES.index(name) for name in ("building", "road", "wall", "car", "person")]
ORDER += [one for one in range(19) if one not in ORDER]
VOID = (0, 1, 4)


@st.composite
def label_maps(draw, *, image=False):
    """Blocks of a few classes and of void, objects with numbers from a small range, groups without."""
    height, width = 6, 7
    kinds = draw(st.lists(st.sampled_from([*SOME, *VOID_KINDS]), min_size=height * width, max_size=height * width))
    numbers = draw(st.lists(st.integers(-1, 3), min_size=height * width, max_size=height * width))
    labels = np.zeros((height, width), dtype=np.uint8)
    instances = np.zeros((height, width), dtype=np.uint16)
    for place, (kind, number) in enumerate(zip(kinds, numbers, strict=True)):
        label = VOID[-kind - 1] if kind < 0 else CITYSCAPES_LABEL_IDS[kind]
        labels.flat[place] = label
        instances.flat[place] = label * 1000 + number if kind in THINGS and number >= 0 else label
    pixels = np.repeat((labels.astype(int) * 7 % 251).astype(np.uint8)[..., None], 3, axis=2) if image else None
    return LabelMap(labels, instances, pixels)


VOID_KINDS = (-1, -2, -3)


@st.composite
def scenes(draw):
    """A base, some classes, a donor of each, and whether the base is replaced."""
    base = draw(label_maps(image=True))
    classes = draw(st.lists(st.sampled_from(SOME), unique=True, max_size=len(SOME)))
    return base, [(one, draw(label_maps(image=True))) for one in classes], draw(st.booleans())


def pasted(base, pastes, *, replace, min_pixels=1.0):
    donors = [(one, [Donor(source, whole_box(source, one))]) for one, source in pastes]
    return recombine(base, donors, order=ORDER, replace=replace, min_pixels=min_pixels)[0]


def whole_box(source, train_id):
    _, boxes = areas_and_boxes(source)
    return tuple(boxes[train_id].tolist())


@settings(deadline=None)
@given(scenes())
def test_a_recombined_map_is_that_of_the_definition(scene):
    base, pastes, replace = scene
    made = pasted(base, pastes, replace=replace)
    in_order = sorted(pastes, key=lambda paste: ORDER.index(paste[0]))
    plain = [(one, (source.labels.tolist(), source.instances.tolist())) for one, source in in_order]
    labels, owners = reference.recombined(
        (base.labels.tolist(), base.instances.tolist()), plain, ORDER, replace=replace
    )
    assert made.labels.tolist() == labels
    # One instance id for each object that is seen, and one object for each: an owner is an object, or an area of stuff.
    seen: dict[tuple[object, int], int] = {}
    for place, owner in np.ndenumerate(np.array([[str(one) for one in row] for row in owners])):
        found = int(made.instances[place])
        y, x = place
        number, instance = owners[y][x]
        if number == "base" or instance < 1000:
            assert found == instance, "the base's objects keep their ids; what is no object has its label"
            continue
        assert seen.setdefault((number, instance), found) == found, owner
    assert len(set(seen.values())) == len(seen), "two objects share an id"
    assert not set(seen.values()) & set(np.unique(base.instances).tolist()), "an id of the base is used again"


@settings(deadline=None)
@given(scenes())
def test_a_recombined_map_is_valid(scene):
    base, pastes, replace = scene
    made = pasted(base, pastes, replace=replace)
    assert made.labels.shape == made.instances.shape == base.labels.shape
    assert (made.labels.dtype, made.instances.dtype) == (np.uint8, np.uint16)
    given_labels = set(np.unique(base.labels)) | {CITYSCAPES_LABEL_IDS[one] for one, _ in pastes}
    assert set(np.unique(made.labels)) <= given_labels
    ids = made.instances.astype(int)
    assert np.array_equal(np.where(ids >= 1000, ids // 1000, ids), made.labels)
    void = np.vectorize(CITYSCAPES.__getitem__)(base.labels) == IGNORE_LABEL
    assert np.array_equal(made.labels[void], base.labels[void])
    assert np.array_equal(made.instances[void], base.instances[void])
    void_now = np.vectorize(CITYSCAPES.__getitem__)(made.labels) == IGNORE_LABEL
    assert np.array_equal(void, void_now), "nothing becomes void"
    # Each pixel's color is a function of its label here, so pixels came with their labels.
    assert np.array_equal(made.image[..., 0], made.labels.astype(int) * 7 % 251)


@settings(deadline=None)
@given(scenes(), st.integers(2, 8))
def test_what_is_pasted_shows_enough_in_the_end_or_not_at_all(scene, enough):
    base, pastes, replace = scene
    tagged = [
        LabelMap(one.labels, one.instances, np.full((*one.labels.shape, 3), number, dtype=np.uint8))
        for number, one in enumerate((base, *(source for _, source in pastes)))
    ]
    with_tags = [(train_id, one) for (train_id, _), one in zip(pastes, tagged[1:], strict=True)]
    made = pasted(tagged[0], with_tags, replace=replace, min_pixels=float(enough))
    for number in range(1, len(tagged)):
        shown = (made.image[..., 0] == number).sum()
        assert shown == 0 or shown >= enough


@settings(deadline=None)
@given(scenes())
def test_inputs_are_left_alone(scene):
    base, pastes, replace = scene
    before = [(one.labels.copy(), one.instances.copy(), one.image.copy()) for one in (base, *(s for _, s in pastes))]
    pasted(base, pastes, replace=replace)
    for one, copy in zip((base, *(s for _, s in pastes)), before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip((one.labels, one.instances, one.image), copy, strict=True))


def flat(label, instance=None):
    return LabelMap(np.full((4, 4), label, dtype=np.uint8), np.full((4, 4), instance or label, dtype=np.uint16), None)


def test_what_stands_in_front_hides_what_is_pasted_unless_all_is_replaced():
    wall, car = CLASS_NAMES.index("wall"), CLASS_NAMES.index("car")
    parked = flat(26, 26004)
    assert pasted(parked, [(wall, flat(12))], replace=False).labels.max() == 26
    assert pasted(parked, [(wall, flat(12))], replace=True).labels.max() == 12
    behind = pasted(flat(12), [(car, parked)], replace=False)
    assert set(behind.instances.flatten().tolist()) == {26000}


def test_a_class_that_would_hardly_be_seen_is_left_out_and_the_next_donor_is_tried():
    wall = CLASS_NAMES.index("wall")
    base = flat(26)
    base.labels[0, :3] = 7
    base.instances[0, :3] = 7
    assert (pasted(base, [(wall, flat(12))], replace=False, min_pixels=4.0).labels != 12).all()
    assert (pasted(base, [(wall, flat(12))], replace=False, min_pixels=3.0).labels == 12).sum() == 3
    small = flat(7)
    small.labels[0, 0] = small.instances[0, 0] = 12
    donors = [Donor(one, whole_box(one, wall)) for one in (small, flat(12))]
    made, told = recombine(base, [(wall, donors)], order=ORDER, replace=False, min_pixels=2.0)
    assert (made.labels == 12).sum() == 3
    assert told == (wall,)
    assert recombine(base, [(wall, donors)], order=ORDER, replace=False, min_pixels=4.0)[1] == ()


def test_numbers_of_objects_run_out():
    crowd = np.arange(1000, dtype=np.uint16).reshape(20, 50) + 26_000
    base = LabelMap(np.full((20, 50), 26, dtype=np.uint8), crowd)
    with pytest.raises(UserError, match="more than 1000 instances of label id 26"):
        pasted(base, [(13, LabelMap(base.labels, np.full_like(crowd, 26_001)))], replace=True)


@settings(deadline=None)
@given(label_maps())
def test_areas_and_boxes_are_those_of_the_pixels(one):
    pixels, boxes = areas_and_boxes(one)
    counted = reference.count([one.labels.tolist()])
    assert pixels.tolist() == [counted[name] for name in CLASS_NAMES]
    for train_id, (top, left, bottom, right) in enumerate(boxes.tolist()):
        places = np.argwhere(one.labels == CITYSCAPES_LABEL_IDS[train_id]).tolist()
        if places:
            rows, columns = zip(*places, strict=True)
            assert (top, left, bottom, right) == (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
