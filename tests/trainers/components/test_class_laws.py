"""Laws of class frequencies: in closed form, and a supplement that follows its plan comes nearer to them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.references import recombination as reference
from trainers.components.class_laws import LAWS, distance_to, least_filled, plan_classes, wanted_shares

PIXELS = st.lists(st.integers(1, 10_000), min_size=2, max_size=8)


@settings(deadline=None)
@given(PIXELS, st.sampled_from(sorted(LAWS)))
def test_shares_and_distances_are_those_of_the_definitions(pixels, law):
    names = [str(number) for number in range(len(pixels))]
    by_name = dict(zip(names, pixels, strict=True))
    wanted = wanted_shares(np.array(pixels), law)
    slow = reference.law_shares(by_name, law)
    assert wanted.tolist() == pytest.approx([slow[name] for name in names])
    assert distance_to(np.array(pixels), wanted) == pytest.approx(reference.distance(by_name, slow), abs=1e-12)


def test_a_pixel_of_a_class_four_times_as_frequent_counts_half():
    assert wanted_shares(np.array([400, 100]), "inverse_square_root").tolist() == pytest.approx([2 / 3, 1 / 3])
    assert wanted_shares(np.array([400, 100]), "natural").tolist() == [0.8, 0.2]
    assert wanted_shares(np.array([400, 100]), "uniform").tolist() == [0.5, 0.5]


@settings(deadline=None)
@given(PIXELS, st.data())
def test_each_class_that_is_added_is_the_furthest_below_the_law(pixels, data):
    counts = np.array(pixels)
    gains = np.array(data.draw(st.lists(st.integers(1, 50), min_size=len(pixels), max_size=len(pixels))))
    per_map = data.draw(st.integers(1, len(pixels)))
    wanted = wanted_shares(counts, data.draw(st.sampled_from(sorted(LAWS))))
    planned = plan_classes(counts, gains, wanted, maps=6, classes_per_map=per_map)
    filled = counts.astype(float)
    for row in planned.tolist():
        assert len(set(row)) == per_map
        others = [one for one in range(len(pixels)) if one not in row]
        below = filled / wanted
        assert all(below[one] <= below[other] + 1e-9 for one in row for other in others)
        filled[row] += gains[row]


def test_adding_moves_the_shares_to_the_law_and_stays_there():
    counts, gains = np.array([9000, 900, 100]), np.array([300, 30, 10])
    for law in ("uniform", "inverse_square_root"):
        wanted, now = wanted_shares(counts, law), counts.astype(float)
        distances = [distance_to(now, wanted)]
        for row in plan_classes(counts, gains, wanted, maps=1500, classes_per_map=1):
            now[row] += gains[row]
            distances.append(distance_to(now, wanted))
        assert all(later <= earlier + 0.01 for earlier, later in pairwise(distances))
        assert distances[-1] < 0.02 < distances[0]
    natural = wanted_shares(counts, "natural")
    now = counts.astype(float)
    for row in plan_classes(counts, gains, natural, maps=1500, classes_per_map=1):
        now[row] += gains[row]
    assert now.sum() > 2 * counts.sum()
    assert distance_to(now, natural) < 0.01


def test_the_least_filled_class_is_that_with_the_smallest_part_of_its_share():
    """The distance hardly moves where a rare class gets nothing; this does."""
    wanted = np.array([0.5, 0.4, 0.1])
    assert least_filled(np.array([50, 40, 10]), wanted) == pytest.approx(1)
    assert least_filled(np.array([58, 40, 2]), wanted) == pytest.approx(0.2)
    assert distance_to(np.array([58, 40, 2]), wanted) == pytest.approx(0.08)
