"""Ties and fronts by definition, one pair at a time, with SciPy's tests."""

import math

import numpy as np
from scipy import stats


def tie_groups(values):
    """Walk down the sorted configurations; a group ends where its leader's paired interval excludes 0."""
    places = []
    start = 0
    while start < len(values):
        end = start + 1
        while end < len(values) and not leads_clearly(values[start], values[end]):
            end += 1
        places += [(start + 1, end)] * (end - start)
        start = end
    return places


def leads_clearly(leader, other):
    both = [(a, b) for a, b in zip(leader, other, strict=True) if not (math.isnan(a) or math.isnan(b))]
    if len(both) < 2:
        return False
    a, b = zip(*both, strict=True)
    differences = np.subtract(a, b)
    if np.ptp(differences) == 0:
        return differences[0] != 0
    found = stats.ttest_rel(a, b).confidence_interval(0.95)
    return found.low > 0 or found.high < 0


def front(points):
    """A point is on the front if no other is at least as good in both and better in one (more is better)."""
    return [not any(a >= c and b >= d and (a > c or b > d) for a, b in points) for c, d in points]
