from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from rl4lms import stats
from rl4lms.errors import DataError
from tests.marks import slow_but

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
    assert stats.bootstrap_ci([2.0]) == stats.Estimate(2.0, -math.inf, math.inf, 1, stats.SKEWED_T)
    for few in (X[:4], X[:49]):
        inner, outer = stats.bootstrap_ci(few, confidence=0.5), stats.bootstrap_ci(few, confidence=0.99)
        assert outer.low < inner.low < inner.value < inner.high < outer.high


def test_strata_are_resampled_apart():
    # within a stratum nothing varies, so nothing may vary at all; pooled values would
    strata = [[1.0] * 5, [9.0] * 5]
    assert stats.stratified_bootstrap_ci(strata, np.mean) == stats.Estimate(5.0, 5.0, 5.0, 10, stats.SKEWED_T)
    many = [[1.0] * 50, [9.0] * 50]
    assert stats.stratified_bootstrap_ci(many, np.mean, resamples=50) == stats.Estimate(5.0, 5.0, 5.0, 100)
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
    theirs = scipy.stats.permutation_test(
        (X, Y), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True
    )
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
    tiny, large = (
        stats.correlation(x, [1, 3, 2, 4], resamples=100),
        stats.correlation(x * 1e200, [1, 3, 2, 4], resamples=100),
    )
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
        lambda: stats.bootstrap_ci(X, confidence=95),
        lambda: stats.mean_ci([1.0, 2.0], confidence=0),
        lambda: stats.mean_ci([]),
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
    scores, human = np.vstack([SCORES, SCORES]), np.vstack([HUMAN, HUMAN])  # 60 documents: the bootstrap alone
    for _ in range(2000):
        rows = rng.integers(0, 60, 60)
        draws.append(scipy.stats.pearsonr(scores[rows].mean(0), human[rows].mean(0)).statistic)
    ours = stats.system_level_correlation(scores, human)
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


SOURCES = {  # how to draw values, and their mean
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "lognormal": (lambda rng, shape: np.exp(0.5 * rng.normal(size=shape)), math.exp(0.125)),
    "gamma": (lambda rng, shape: rng.gamma(2.0, size=shape), 2.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
}


@pytest.mark.parametrize("n", slow_but([3, 5, 10, 30], [3, 10]))
@pytest.mark.parametrize("source", SOURCES)
def test_intervals_of_a_mean_cover_it_as_often_as_they_say(source, n):
    """The bounds are two standard errors of 5,000 samples (0.3 %) beyond what the docstring says: 93.1 to 96.7 %."""
    draw, mean = SOURCES[source]
    found = [stats.bootstrap_ci(x) for x in draw(np.random.default_rng(2 * n), (5000, n))]
    assert {estimate.method for estimate in found} == {stats.SKEWED_T}
    covered = np.mean([estimate.low <= mean <= estimate.high for estimate in found])
    assert 0.925 <= covered <= 0.973


@pytest.mark.parametrize("source", ["normal", "exponential"])
def test_intervals_over_strata_of_few_values_cover(source):
    """Four tasks of three runs, of one mean and different deviations; the percentile bootstrap covers about 82 %."""
    draw, mean = SOURCES[source]
    samples = mean + (draw(np.random.default_rng(1), (200, 4, 3)) - mean) * np.array([1.0, 1.0, 2.0, 0.5])[:, None]
    found = [stats.stratified_bootstrap_ci(list(x), np.mean, resamples=60) for x in samples]
    assert 0.90 <= np.mean([estimate.low <= mean <= estimate.high for estimate in found]) <= 0.99


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_intervals_of_a_correlation_of_few_pairs_cover_it(kind, n):
    """Normal pairs of correlation 0.5; the percentile bootstrap of five covers 90 %."""
    rng, rho = np.random.default_rng(3), 0.5
    truth = rho if kind == "pearson" else 6 / math.pi * math.asin(rho / 2)
    covered = 0
    for _ in range(200):
        x = rng.normal(size=n)
        found = stats.correlation(x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n), kind, resamples=100)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 200 <= 1


def test_halls_interval_by_hand():
    """The ends are where the transformed statistic, a cubic in the mean, equals the quantiles of t: found by
    bisection.
    """
    x = np.array([1.0, 1.2, 1.3, 2.0, 4.5])
    ours, n, confidence = stats.mean_ci(x, confidence=0.9), len(x), 0.9
    error, skewness = scipy.stats.sem(x), scipy.stats.skew(x) / math.sqrt(n)
    quantile = scipy.stats.t.ppf(1 - 0.1 * (1 - 0.77 * confidence**4 / math.sqrt(n)) / 2, n - 1)

    def transformed(mean):
        t = (x.mean() - mean) / error
        return t + skewness * (2 * t * t + 1) / 6 + skewness**2 * t**3 / 27

    low = scipy.optimize.brentq(lambda mean: transformed(mean) - quantile, -1000, 1000)
    high = scipy.optimize.brentq(lambda mean: transformed(mean) + quantile, -1000, 1000)
    assert (ours.value, ours.low, ours.high) == pytest.approx((2.0, low, high))
    assert ours.high - ours.value > 1.5 * (ours.value - ours.low)  # skewed to the right


def test_the_bootstrap_of_a_mean_agrees_with_its_closed_form():
    """Another statistic than numpy's mean itself is resampled."""
    x = [1.0, 1.2, 1.3, 2.0, 4.5]
    resampled, closed = stats.bootstrap_ci(x, lambda v: v.mean(), resamples=20_000), stats.bootstrap_ci(x)
    assert closed == stats.mean_ci(x)
    assert (resampled.low, resampled.high) == pytest.approx((closed.low, closed.high), rel=0.03)


def test_intervals_move_and_scale_with_the_values():
    x = np.array([0.1, 0.5, 0.2, 0.9])
    here, there, mirrored = stats.mean_ci(x), stats.mean_ci(1e6 + 1e-3 * x), stats.mean_ci(-x)
    assert (there.low - 1e6, there.high - 1e6) == pytest.approx((1e-3 * here.low, 1e-3 * here.high), abs=1e-8)
    assert (mirrored.low, mirrored.high) == pytest.approx((-here.high, -here.low))
    tiny = stats.mean_ci(1e-200 * x)
    assert (tiny.low, tiny.high) == pytest.approx((1e-200 * here.low, 1e-200 * here.high), rel=1e-9, abs=0)
    assert stats.mean_ci([3.0] * 4) == stats.Estimate(3.0, 3.0, 3.0, 4, stats.SKEWED_T)


def test_fishers_interval_of_few_pairs_is_never_narrower_than_scipys():
    """Normal theory is joined with the bootstrap; three pairs say nothing, and a perfect order of four little."""
    x, y = X[:12], Y[:12]
    ours, theirs = stats.correlation(x, y, resamples=300), scipy.stats.pearsonr(x, y).confidence_interval()
    assert ours.method == stats.FISHER
    assert ours.low <= theirs.low < theirs.high <= ours.high
    assert ours.high - ours.low < 1.4 * (theirs.high - theirs.low)
    three = stats.correlation([1, 2, 4], [1, 3, 2], resamples=50)
    assert (three.low, three.high) == (-1, 1)
    for kind in ("spearman", "kendall"):
        five = stats.correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], kind, resamples=50)
        assert (five.value, five.high) == pytest.approx((1, 1))
        assert five.low < 0.5


def test_levels_of_correlation_over_few_documents():
    """What many documents say is resampled; of few the interval is that of a mean, or wider than the bootstrap's."""
    each = [scipy.stats.kendalltau(a, b).statistic for a, b in zip(SCORES, HUMAN, strict=True)]
    within = stats.summary_level_correlation(SCORES, HUMAN, "kendall")
    expected = stats.mean_ci(each)
    assert (within.low, within.high) == pytest.approx((expected.low, expected.high))
    assert within.method == stats.SKEWED_T
    rng, few = np.random.default_rng(5), SCORES[:6]
    draws = [
        scipy.stats.pearsonr(few[r].mean(0), HUMAN[:6][r].mean(0)).statistic for r in rng.integers(0, 6, (2000, 6))
    ]
    between = stats.system_level_correlation(few, HUMAN[:6])
    assert between.method == stats.FISHER
    assert -1 <= between.low < np.quantile(draws, 0.025) - 0.05
    assert np.quantile(draws, 0.975) - 0.03 < between.high <= 1
    one = stats.system_level_correlation(SCORES[:1], HUMAN[:1], resamples=20)
    assert (one.low, one.high) == (-1, 1)
    perfect = stats.summary_level_correlation([[1, 2, 3], [1, 2, 4], [1, 3, 2]], [[1, 2, 3]] * 3, "kendall")
    assert -1 <= perfect.low < perfect.value < perfect.high <= 1


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_bootstrap_error_of_a_mean_is_that_of_the_mean(n):
    """With every bootstrap sample there is, and with drawn ones."""
    rng = np.random.default_rng(n)
    values = rng.exponential(size=n)
    _, expected = stats.mean_stderr(values)
    drawn = values[rng.integers(0, n, (40_000, n))].mean(1)
    assert stats.bootstrap_stderr(drawn, n) == pytest.approx(expected, rel=0.02)
    if n <= 5:
        every = np.array([values[list(rows)].mean() for rows in itertools.product(range(n), repeat=n)])
        assert stats.bootstrap_stderr(every, n) * np.sqrt(1 - 1 / len(every)) == pytest.approx(expected, rel=1e-12)


def test_no_bootstrap_error_of_a_single_value():
    assert stats.bootstrap_stderr([1.0, 1.0, 1.0], 1) is None
    assert stats.bootstrap_stderr([1.0], 3) is None
    assert stats.bootstrap_stderr([], 3) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_named(value):
    told = f"^statistics need finite numbers, and value 2 of 3 is {value}; leave out what has no value"
    with pytest.raises(DataError, match=told):
        stats.mean_stderr([1.0, value, 2.0])
    with pytest.raises(DataError, match=told):
        stats.correlation([1.0, 2.0, 3.0], [1.0, value, 2.0])
    with pytest.raises(DataError, match=f"the second table has {value} for document 2, system 3; leave out documents"):
        stats.summary_level_correlation([[1, 2, 3]] * 2, [[1, 2, 3], [1, 2, value]])


PX = [2, 5, 3, 8, 7, 1, 9, 4, 6, 10, 12, 11]
PY = [1, 4, 6, 7, 9, 2, 8, 3, 5, 12, 10, 11]
PZ = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
PW = [2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5]


@pytest.mark.parametrize(
    ("kind", "given", "r", "p", "ends"),
    [
        ("pearson", [PZ], 0.9052646992478491, 0.00012639869431213058, (0.67, 0.98)),
        ("pearson", [PZ, PW], 0.9065104239401002, 0.00029816467183703903, (0.65, 0.98)),
        ("spearman", [PZ], 0.9042301123406319, 0.00013252649806160934, None),
        ("spearman", [PZ, PW], 0.9058304738778173, 0.00030667476013105765, None),
    ],
)
def test_partial_correlations_are_those_of_pingouin(kind, given, r, p, ends):
    """`pingouin.partial_corr`, 0.7.0, whose interval is Fisher's alone; ours is never narrower."""
    found = stats.partial_correlation(PX, PY, np.transpose(given), kind, resamples=200)
    assert found.value == pytest.approx(r, abs=1e-12)
    assert found.p == pytest.approx(p, rel=1e-5)
    if ends:
        assert found.low <= ends[0] + 0.005
        assert found.high >= ends[1] - 0.005
    assert found == stats.partial_correlation(PX, PY, np.transpose(given), kind, resamples=200)


def test_partial_correlation_is_that_of_the_inverse_covariance():
    z = RNG.normal(size=(60, 3))
    x, y = X + z @ [1, 2, 0], Y - z @ [1, 0, 3]
    precision = np.linalg.inv(np.cov(np.column_stack([x, y, z]).T))
    expected = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    found = stats.partial_correlation(x, y, z, resamples=200)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < expected < found.high
    assert found.method == stats.BOOTSTRAP


def test_a_correlation_that_is_all_length_is_gone():
    length = RNG.normal(size=200)
    x, y = length + 0.1 * RNG.normal(size=200), length + 0.1 * RNG.normal(size=200)
    assert stats.correlation(x, y, resamples=50).value > 0.95
    found = stats.partial_correlation(x, y, length, resamples=200)
    assert abs(found.value) < 0.2
    assert found.p > 0.01


def test_partial_correlation_of_few_rows_covers_it():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        z = rng.normal(size=12)
        x = z + rng.normal(size=12)
        y = z + rng.normal(size=12)  # beside z nothing
        found = stats.partial_correlation(x, y, z, resamples=20)  # Fisher's end is the wider one nearly always
        hits += found.low <= 0 <= found.high
    assert 0.93 <= hits / 200 <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PX, PY, PZ[:-1]), "with n = 12; got shape"),
        ((PX, PY, [*PZ[:-1], math.nan]), "finite numbers"),
        ((PX[:3], PY[:3], PZ[:3]), "beside 1 variables needs 4 rows or more, got 3"),
        ((PX, PY, PX), "linear function of the other variables"),
        (([1] * 12, PY, PZ), "one side is constant"),
    ],
)
def test_no_partial_correlation(arguments, message):
    with pytest.raises(DataError, match=message):
        stats.partial_correlation(*arguments)


def test_darr_is_that_of_mt_metrics_eval():
    """Vectors of google-research/mt-metrics-eval, `stats_test.py`, `testKendallLike`."""
    nan = math.nan
    assert stats.darr_tau([[10, nan, 100, 150]], [[2, 1, 4, 3]], min_difference=1).value == pytest.approx(1 / 3)
    assert stats.darr_tau([[10, 100], [11, 150]], [[2, 4], [1, 3]], min_difference=1).value == 1
    assert stats.darr_tau([[10, 100], [nan, 150]], [[2, 4], [1, 3]], min_difference=1).value == 1


def test_darr_pair_by_pair():
    human = RNG.integers(0, 101, size=(80, 5)).astype(float)
    metric = human + RNG.integers(-60, 61, size=(80, 5))
    metric[:, 1] = metric[:, 0]  # ties, which are discordant
    agree = disagree = 0
    for document in range(80):
        for one, other in itertools.combinations(range(5), 2):
            better, worse = sorted((one, other), key=lambda system: -human[document, system])
            if human[document, better] - human[document, worse] >= 25:
                agree += metric[document, better] > metric[document, worse]
                disagree += metric[document, better] <= metric[document, worse]
    found = stats.darr_tau(human, metric)
    assert found.value == pytest.approx((agree - disagree) / (agree + disagree))
    assert found.n == agree + disagree
    assert found.low < found.value < found.high
    assert stats.darr_tau(human, human).value == 1
    assert stats.darr_tau(human, -human).value == -1


def test_darr_takes_pairs_that_are_exactly_so_far_apart():
    found = stats.darr_tau([[0, 25, 49]], [[0, 1, 2]])
    assert (found.n, found.value) == (2, 1.0)  # 0 and 25, 0 and 49


@pytest.mark.parametrize(
    ("human", "metric", "options", "message"),
    [
        ([[1, 2]], [[1, 2, 3]], {}, "one shape"),
        ([[1, 90]], [[1, math.nan]], {}, "nan for document 1, system 2, which people assessed"),
        ([[1, 2]], [[1, 2]], {}, "no two systems of a document are 25.0 points or more apart"),
        ([[1, 2]], [[1, 2]], {"min_difference": 0}, "must be above 0"),
    ],
)
def test_no_darr(human, metric, options, message):
    with pytest.raises(DataError, match=message):
        stats.darr_tau(human, metric, **options)


def mean_of_sums(sums):
    return sums[:, 0] / sums[:, 1]


def test_tests_of_sums_agree_with_those_of_means():
    """A mean is a value of sums: of the values, and of 1 for each."""
    a, b = X[:40], X[:40] + 0.3 + RNG.normal(size=40)
    rows = [np.column_stack([side, np.ones(40)]) for side in (a, b)]
    found = stats.paired_bootstrap(*rows, mean_of_sums, resamples=4000)
    assert found.value == pytest.approx((b - a).mean())
    theirs = scipy.stats.bootstrap(
        (b - a,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    )
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)
    p = stats.paired_randomisation_test(*rows, mean_of_sums)
    assert p == pytest.approx(stats.paired_permutation_test(a, b), abs=0.01)
    assert stats.paired_randomisation_test(*rows, mean_of_sums) == p


def test_equal_systems_do_not_differ_and_noise_seldom_does():
    rows = np.column_stack([X, np.ones(60)])
    assert stats.paired_randomisation_test(rows, rows, mean_of_sums, resamples=100) == 1.0
    assert stats.paired_bootstrap(rows, rows, mean_of_sums) == stats.Estimate(0.0, 0.0, 0.0, 60)
    rng = np.random.default_rng(3)
    ps = []
    for _ in range(200):
        one, other = (np.column_stack([rng.normal(size=20), np.ones(20)]) for _ in range(2))
        ps.append(stats.paired_randomisation_test(one, other, mean_of_sums, resamples=200))
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.1


@pytest.mark.parametrize("test", [stats.paired_bootstrap, stats.paired_randomisation_test])
def test_sums_that_cannot_be_compared(test):
    with pytest.raises(DataError, match="of one shape, with two rows or more"):
        test([[1, 2]], [[1, 2]], mean_of_sums)
    with pytest.raises(DataError, match="finite"):
        test([[1, 2], [3, math.nan]], [[1, 2], [1, 2]], mean_of_sums)
