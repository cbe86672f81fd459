"""Statistics of few paired numbers: intervals, differences, corrections, ties.

Shape legend: k configurations, s seeds. NaN is a seed that a configuration did not run. Intervals are 95 % t-intervals;
with fewer than two numbers there is none (NaN).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
_UPPER = 0.5 + CONFIDENCE / 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Mean differences with their intervals and two-sided p-values; arrays of one shape, or numbers."""

    n: NDArray[np.int64]
    """Pairs; of unpaired samples the smaller one."""
    mean: Floats
    low: Floats
    high: Floats
    p: Floats


def interval(n: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> tuple[Floats, Floats]:
    """The t-interval of a mean from n, mean and sd (n − 1); NaN where n < 2. Of any one shape."""
    n, mean, sd = np.asarray(n), np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)
    half = _critical(n - 1) * sd / np.sqrt(np.maximum(n, 1))
    return mean - half, mean + half


def paired(values: ArrayLike, baseline: ArrayLike) -> Difference:
    """``values − baseline`` [..., s] over the seeds that both ran: the paired t-test.

    Equal differences leave no doubt: their interval is a point, and p is 0, or 1 where all are 0.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    n = np.isfinite(differences).sum(axis=-1)
    total = np.nansum(differences, axis=-1)
    mean = np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0)
    squares = np.nansum((differences - mean[..., None]) ** 2, axis=-1)
    variance = np.divide(squares, n - 1, out=np.full(np.shape(total), np.nan), where=n > 1)
    error = np.sqrt(variance / np.maximum(n, 1))
    half = _critical(n - 1) * error
    return Difference(n, mean, mean - half, mean + half, _two_sided(mean, error, n - 1))


def welch(values: ArrayLike, baseline: ArrayLike) -> Difference:
    """``values − baseline``, two samples [s] without common seeds and of unequal variance: Welch's t-test."""
    a, b = (np.asarray(one, dtype=float) for one in (values, baseline))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    n = np.asarray(min(len(a), len(b)))
    if n == 0:
        absent = np.asarray(np.nan)
        return Difference(n, absent, absent, absent, absent)
    mean = np.asarray(a.mean() - b.mean())
    if n < 2:
        absent = np.asarray(np.nan)
        return Difference(n, mean, absent, absent, absent)
    of_a, of_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = np.asarray(np.sqrt(of_a + of_b))
    spread = of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1)
    freedom = np.asarray((of_a + of_b) ** 2 / spread if spread else len(a) + len(b) - 2)
    half = _critical(freedom) * error
    return Difference(n, mean, mean - half, mean + half, _two_sided(mean, error, freedom))


def holm(p: ArrayLike) -> Floats:
    """p-values of one family [k] adjusted by Holm's step-down rule; NaN (no test) neither counts nor changes.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6, 1979.
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def tie_groups(values: ArrayLike) -> NDArray[np.int64]:
    """The first and the last rank (from 1) of each configuration's tie group, [k, 2].

    ``values`` [k, s] are sorted, the best mean first. The best leads a group; who follows belongs to it as long as
    the paired interval of the difference to the leader covers 0, or there is none (fewer than two common seeds); the
    first who is worse leads the next group. Intervals are not adjusted for how many are compared.
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    count = len(values)
    places = np.empty((count, 2), dtype=np.int64)
    leader = 0
    while leader < count:
        end = _end_of_group(values, leader)
        places[leader:end] = leader + 1, end
        leader = end
    return places


def _end_of_group(values: Floats, leader: int) -> int:
    """The index of the first configuration that the leader beats; looks ahead in blocks that grow."""
    start, block = leader + 1, 4
    while start < len(values):
        difference = paired(values[start : start + block], values[leader])
        excludes_zero = (difference.low > 0) | (difference.high < 0)  # NaN, no interval, excludes nothing.
        if excludes_zero.any():
            return start + int(excludes_zero.argmax())
        start, block = start + block, 2 * block
    return len(values)


def _critical(freedom: ArrayLike) -> Floats:
    """The upper quantile of Student's t; NaN without a degree of freedom."""
    from scipy.special import stdtrit

    freedom = np.asarray(freedom, dtype=float)
    return np.where(freedom > 0, stdtrit(np.where(freedom > 0, freedom, 1.0), _UPPER), np.nan)


def _two_sided(mean: Floats, error: Floats, freedom: ArrayLike) -> Floats:
    from scipy.special import stdtr

    freedom = np.asarray(freedom, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, np.abs(mean) / error)
    has_test = (freedom > 0) & np.isfinite(mean)
    return np.where(has_test, 2 * stdtr(np.where(has_test, freedom, 1.0), -t), np.nan)
