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
