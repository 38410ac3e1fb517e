from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from rl4lms import stats
from rl4lms.errors import DataError

RNG = np.random.default_rng(7)
X = RNG.normal(size=60)
Y = 0.5 * X + RNG.normal(size=60)


def test_mean_and_standard_error_by_hand():
    mean, error = stats.mean_stderr([2, 4, 4, 6])
    assert mean == 4
    assert error == pytest.approx(math.sqrt(8 / 3) / 2)
    assert stats.mean_stderr([3.5]) == (3.5, None)
    assert stats.mean_stderr(X)[1] == pytest.approx(scipy.stats.sem(X))


def test_iqm_by_hand():
    assert stats.iqm([100, 1, 2, 3, 4, 5, 6, -100]) == 3.5  # 1 and 6 go too: two values off each end
    assert stats.iqm([1, 2, 3, 100]) == 2.5
    assert stats.iqm([1, 5, 9]) == 5  # fewer than four values: nothing is cut


def test_bootstrap_agrees_with_scipy_and_with_theory():
    ours = stats.bootstrap_ci(X, resamples=5000)
    theirs = scipy.stats.bootstrap((X,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(1))
    assert ours.value == pytest.approx(X.mean())
    assert ours.n == 60
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * scipy.stats.sem(X), rel=0.06)


def test_bootstrap_is_seeded_and_widens_with_confidence():
    assert stats.bootstrap_ci(X, seed=3) == stats.bootstrap_ci(X, seed=3)
    assert stats.bootstrap_ci(X, seed=3) != stats.bootstrap_ci(X, seed=4)
    narrow, wide = stats.bootstrap_ci(X, confidence=0.5), stats.bootstrap_ci(X, confidence=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert stats.bootstrap_ci([2.0]) == stats.Estimate(2.0, 2.0, 2.0, 1)


def test_strata_are_resampled_apart():
    # within a stratum nothing varies, so nothing may vary at all; pooled values would
    strata = [[1.0] * 5, [9.0] * 5]
    assert stats.stratified_bootstrap_ci(strata, np.mean) == stats.Estimate(5.0, 5.0, 5.0, 10)
    pooled = stats.bootstrap_ci([1.0] * 5 + [9.0] * 5)
    assert pooled.low < 4 < 6 < pooled.high
    assert stats.stratified_bootstrap_ci([[1, 2, 3, 100], [5]]).value == 10 / 3  # IQM of 1 2 3 5 100


def test_permutation_test_exact_by_hand():
    # differences 1, 2, 3: of eight sign patterns only +++ and --- reach a sum of 6
    assert stats.paired_permutation_test([1, 2, 3], [0, 0, 0]) == 2 / 8
    # differences 1, 1, -1: the sums are ±3 once each and ±1 three times each; |1| is reached by all
    assert stats.paired_permutation_test([1, 1, 0], [0, 0, 1]) == 1.0
    assert stats.paired_permutation_test([0.1] * 10, [0.3] * 10) == 2 / 1024  # ties must survive rounding


def test_permutation_test_agrees_with_scipy():
    theirs = scipy.stats.permutation_test((X, Y), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True)
    assert stats.paired_permutation_test(X, Y) == pytest.approx(theirs.pvalue, abs=0.02)
    assert 0 < stats.paired_permutation_test(X, X + 5) < 2e-4


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr), ("kendall", scipy.stats.kendalltau)],
)
def test_correlations_agree_with_scipy(kind, reference):
    rounded = np.round(Y, 0)  # with ties
    ours = stats.correlation(X, rounded, kind, resamples=400)
    assert ours.value == pytest.approx(reference(X, rounded).statistic)
    assert ours.low < ours.value < ours.high
    assert ours == stats.correlation(X, rounded, kind, resamples=400)
    perfect = stats.correlation(X, np.exp(X), kind, resamples=50)
    assert perfect.value == pytest.approx(1.0) if kind != "pearson" else perfect.value < 1


def test_pearson_interval_is_close_to_fishers():
    ours = stats.correlation(X, Y)
    theirs = scipy.stats.pearsonr(X, Y).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.12)


def test_numbers_whose_squares_are_too_small():
    x = np.array([1e-200, 2e-200, 3e-200, 1e-180])
    tiny, large = stats.correlation(x, [1, 3, 2, 4], resamples=100), stats.correlation(x * 1e200, [1, 3, 2, 4], resamples=100)
    assert (tiny.value, tiny.low, tiny.high) == pytest.approx((large.value, large.low, large.high))


def test_constant_resamples_are_left_out():
    estimate = stats.correlation([0, 0, 0, 1], [0, 0, 0, 1], resamples=300)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.mean_stderr([]),
        lambda: stats.mean_stderr([1.0, math.nan]),
        lambda: stats.iqm([math.inf]),
        lambda: stats.mean_stderr([[1.0]]),
        lambda: stats.stratified_bootstrap_ci([[1.0], []]),
        lambda: stats.bootstrap_ci([1.0, 2.0], confidence=95),
        lambda: stats.paired_permutation_test([1, 2], [1]),
        lambda: stats.correlation([1, 2], [1, 2]),
        lambda: stats.correlation([1, 1, 1], [1, 2, 3]),
    ],
)
def test_what_cannot_be_computed_is_refused(call):
    with pytest.raises(DataError):
        call()


KINDS = [("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr), ("kendall", scipy.stats.kendalltau)]
HUMAN = np.round(2 * RNG.normal(3, 1, size=(30, 8))) / 2  # with ties
SCORES = HUMAN + RNG.normal(0, 1.5, size=(30, 8)) + RNG.normal(0, 3, size=(30, 1))  # documents differ in difficulty


def test_levels_of_correlation_by_hand():
    # documents 1 and 2 agree with the people and disagree with them; in document 3 the people see no difference
    people, scores = [[1, 2, 3], [1, 2, 3], [4, 4, 4]], [[10, 20, 30], [3, 2, 1], [5, 1, 9]]
    within = stats.summary_level_correlation(scores, people, "kendall", resamples=50)
    assert (within.value, within.n) == (0.0, 2)
    # means of systems: people 2, 8/3, 10/3; scores 6, 23/3, 40/3
    between = stats.system_level_correlation(scores, people, "spearman", resamples=50)
    assert (between.value, between.n) == (pytest.approx(1.0), 3)
    # τ-b of 1 1 2 and 1 2 3: two pairs agree, one is a tie on one side: 2 / √(2 * 3)
    assert stats.summary_level_correlation([[1, 1, 2]], [[1, 2, 3]], "kendall").value == pytest.approx(2 / math.sqrt(6))


@pytest.mark.parametrize(("kind", "reference"), KINDS)
def test_levels_of_correlation_agree_with_scipy(kind, reference):
    within = stats.summary_level_correlation(SCORES, HUMAN, kind, resamples=300)
    each = [reference(a, b).statistic for a, b in zip(SCORES, HUMAN, strict=True)]
    assert within.value == pytest.approx(np.mean(each))
    # an interval of a mean of independent numbers
    assert within.high - within.low == pytest.approx(2 * 1.96 * scipy.stats.sem(each), rel=0.2)
    between = stats.system_level_correlation(SCORES, HUMAN, kind, resamples=300)
    assert between.value == pytest.approx(reference(SCORES.mean(0), HUMAN.mean(0)).statistic)
    assert between.low <= between.value <= between.high
    assert between == stats.system_level_correlation(SCORES, HUMAN, kind, resamples=300)


def test_system_level_interval_resamples_documents_of_both_sides():
    draws = []
    rng = np.random.default_rng(5)
    for _ in range(2000):
        rows = rng.integers(0, 30, 30)
        draws.append(scipy.stats.pearsonr(SCORES[rows].mean(0), HUMAN[rows].mean(0)).statistic)
    ours = stats.system_level_correlation(SCORES, HUMAN)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.03)


def test_equal_means_are_ties_whatever_the_order_of_their_sum():
    thirds = np.array([[0.1, 0.3, 1.0], [0.2, 0.2, 1.0], [0.3, 0.1, 1.0]])
    assert thirds.sum(0)[0] != thirds.sum(0)[1]  # what rounding does
    tie = stats.system_level_correlation(thirds, [[1.0, 2.0, 3.0]] * 3, "kendall", resamples=10)
    assert tie.value == pytest.approx(2 / math.sqrt(6))


@pytest.mark.parametrize("level", [stats.summary_level_correlation, stats.system_level_correlation])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([[1, 2, 3]], [[1, 2, 3, 4]]),
        ([1, 2, 3], [1, 2, 3]),
        ([[1, 2]], [[1, 2]]),
        ([[1, 2, math.nan]], [[1, 2, 3]]),
        ([[1, 1, 1]], [[1, 2, 3]]),
        (np.ones((0, 3)), np.ones((0, 3))),
    ],
)
def test_levels_that_cannot_be_correlated_are_refused(level, x, y):
    with pytest.raises(DataError):
        level(x, y)
