import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import multitest, weightstats

from results.pareto_front import front
from results.statistics import holm, interval, paired, tie_groups, welch
from tests.references import statistics as reference

A = [0.412, 0.455, 0.431, 0.478, 0.440]
B = [0.398, 0.450, 0.402, 0.461, 0.437]
NAN = float("nan")


def test_the_interval_of_a_mean_is_that_of_scipy_and_statsmodels():
    low, high = interval(len(A), np.mean(A), np.std(A, ddof=1))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, len(A) - 1, np.mean(A), stats.sem(A)), rel=1e-12)
    assert (low, high) == pytest.approx(weightstats.DescrStatsW(A).tconfint_mean(0.05), rel=1e-12)


def test_one_number_has_no_interval():
    low, high = interval([0, 1, 2], [NAN, 0.5, 0.5], [NAN, NAN, 0.1])
    assert np.isnan([low[0], high[0], low[1], high[1]]).all()
    # By hand: t(0.975, 1) = 12.706; 12.706 × 0.1 / √2 = 0.89846.
    assert high[2] - 0.5 == pytest.approx(0.898464, rel=1e-5)


def test_a_paired_difference_is_that_of_scipy_and_statsmodels():
    found, expected = paired(A, B), stats.ttest_rel(A, B)
    assert (found.n, float(found.mean)) == (5, pytest.approx(np.mean(A) - np.mean(B), rel=1e-12))
    assert float(found.p) == pytest.approx(expected.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-10)
    described = weightstats.DescrStatsW(np.subtract(A, B))
    assert (found.low, found.high) == pytest.approx(described.tconfint_mean(0.05), rel=1e-10)
    assert float(found.p) == pytest.approx(described.ttest_mean(0)[1], rel=1e-10)


def test_pairs_are_the_seeds_that_both_ran():
    found = paired([[*A, NAN, 0.9], [NAN] * 7, [0.5, *[NAN] * 6]], [*B, 0.1, NAN])
    assert found.n.tolist() == [5, 0, 1]
    assert found.low[0] == pytest.approx(stats.ttest_rel(A, B).confidence_interval(0.95).low, rel=1e-10)
    assert found.mean[2] == pytest.approx(0.5 - B[0])
    assert np.isnan([found.mean[1], found.low[1], found.p[1], found.low[2], found.p[2]]).all()


def test_equal_differences_leave_no_doubt():
    found = paired([[0.5, 0.75], [0.25, 0.5]], [0.25, 0.5])
    assert found.p.tolist() == [0.0, 1.0]
    assert found.low.tolist() == found.high.tolist() == [0.25, 0.0]


def test_unpaired_samples_are_compared_as_scipy_and_statsmodels_do():
    found, expected = welch(A, B[:3]), stats.ttest_ind(A, B[:3], equal_var=False)
    assert float(found.p) == pytest.approx(expected.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-10)
    both = weightstats.CompareMeans.from_data(A, B[:3])
    assert (found.low, found.high) == pytest.approx(both.tconfint_diff(usevar="unequal"), rel=1e-10)
    assert (int(found.n), float(welch(A, [0.1]).mean)) == (3, pytest.approx(np.mean(A) - 0.1))
    assert np.isnan([float(welch(A, [0.1]).low), float(welch(A, []).mean)]).all()


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.5], [0.9, 0.8, 0.02, 0.02, 1.0], [0.2, 0.01, 0.01]])
def test_holm_is_that_of_statsmodels(p):
    assert holm(p).tolist() == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist(), rel=1e-12)


def test_holm_does_not_count_what_was_not_tested():
    # By hand: two tests; 0.01 × 2, then max(0.02, 0.04 × 1).
    np.testing.assert_allclose(holm([0.04, NAN, 0.01]), [0.04, NAN, 0.02])
    assert holm([]).tolist() == []


def scores(seed, configs, seeds, spread, missing):
    dice = np.random.default_rng(seed)
    values = np.linspace(0.5, 0.5 - spread * configs, configs)[:, None] + dice.normal(0, 0.01, (configs, seeds))
    values += dice.normal(0, 0.02, seeds)
    values[dice.random(values.shape) < missing] = NAN
    means = np.where(np.isnan(values).all(axis=1), -1, np.nanmean(np.c_[values, [-1] * configs], axis=1))
    return values[np.argsort(-means, kind="stable")]


@pytest.mark.parametrize("spread", [0.0, 0.003, 0.02, 0.2])
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_tie_groups_are_those_of_the_reference(spread, missing, seeds):
    for seed in range(3):
        values = scores(seed, 23, seeds, spread, missing)
        assert [tuple(pair) for pair in tie_groups(values).tolist()] == reference.tie_groups(values)


def test_tie_groups_by_hand():
    values = [[0.90, 0.91, 0.92], [0.89, 0.92, 0.91], [0.50, 0.51, 0.52], [0.51, 0.49, 0.50], [0.1, NAN, NAN]]
    assert tie_groups(values).tolist() == [[1, 2], [1, 2], [3, 5], [3, 5], [3, 5]]
    assert tie_groups(np.empty((0, 3))).tolist() == []


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_truth_as_often_as_it_says(n):
    """95 ± 2 %; 20,000 samples have a standard error of 0.15 %."""
    samples = np.random.default_rng(n).normal(0.4, 0.02, (20_000, n))
    low, high = interval(np.full(len(samples), n), samples.mean(axis=1), samples.std(axis=1, ddof=1))
    assert ((low <= 0.4) & (high >= 0.4)).mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_of_a_paired_difference_covers_the_truth_as_often_as_it_says(n):
    dice = np.random.default_rng(n)
    shared = dice.normal(0, 0.05, (20_000, n))
    found = paired(0.42 + shared + dice.normal(0, 0.01, shared.shape), 0.4 + shared)
    assert ((found.low <= 0.02) & (found.high >= 0.02)).mean() == pytest.approx(0.95, abs=0.02)
    under_null = paired(0.4 + shared + dice.normal(0, 0.01, shared.shape), 0.4 + shared)
    assert (under_null.p < 0.05).mean() == pytest.approx(0.05, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_pareto_front_is_that_of_the_reference(points):
    assert front(np.array(points, dtype=float).reshape(-1, 2)).tolist() == reference.front(points)
