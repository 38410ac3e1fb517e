"""Error bars, tests and correlations. Every random draw is seeded, so a reported interval can be computed again.

Fewer than 50 values. A percentile bootstrap resamples the values it has, and of few values that is too narrow: a
nominal 95 % interval of the mean of 3, 5, 10 normal values covers the mean in 73, 84, 89 % of cases. Below 50 values
intervals come from Hall's transformation of the t statistic, which corrects it for skewness (`mean_ci`), or, for
correlations of pairs, from Fisher's z and the bootstrap together (`correlation`); `Estimate.method` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special as scipy_special
from scipy import stats as scipy_stats

from rl4lms.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["pearson", "spearman", "kendall"]

BOOTSTRAP = "percentile bootstrap"
SKEWED_T = "skewness-adjusted t"
FISHER = "the wider of Fisher's z and the percentile bootstrap at each end"
# From this many values on the percentile bootstrap stands alone: it covers means of 50 normal values in 93.5 %,
# exponential ones in 92.4 %.
_MANY = 50
# What share of misses intervals of few values save, times √n and at a confidence near 1; found by simulation.
_CAUTION = 0.77


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its confidence interval.

    Attributes:
        value: the statistic of the data itself.
        low, high: ends of the interval; infinite where the data say nothing of the error, as a single value.
        n: number of values (or pairs).
        method: how the interval was found: `BOOTSTRAP`, `SKEWED_T` or `FISHER`.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = BOOTSTRAP


def mean_stderr(values: ArrayLike) -> tuple[float, float | None]:
    """Return the mean and its standard error, s / √n with the n - 1 estimate of s; the error is None for a single
    value.
    """
    x = _finite(values)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else None


def bootstrap_stderr(draws: ArrayLike, n: int) -> float | None:
    """Return the standard error of a statistic of n independent values, by its values on bootstrap samples.

    Resampling n values has their variance with divisor n, so the deviation of the samples is √(1 - 1/n) too small:
    0.82, 0.89, 0.95 of it for n = 3, 5, 10. It is enlarged by √(n / (n - 1)): of a mean it is then s / √n with the
    n - 1 estimate of s, as in `mean_stderr`.

    Args:
        draws: (resamples,) the statistic of each bootstrap sample of n values.
        n: number of values, and of those in each sample.

    Returns:
        The error; None where it is not known, for a single value or fewer than two samples.
    """
    samples = np.asarray(draws, dtype=np.float64)
    if n < 2 or len(samples) < 2:
        return None
    return float(np.std(samples, ddof=1) * np.sqrt(n / (n - 1)))


def iqm(values: ArrayLike) -> float:
    """Return the interquartile mean: what is left after cutting ⌊n/4⌋ values off each end (Agarwal et al., 2021, arXiv
    2108.13264).
    """
    return float(scipy_stats.trim_mean(_finite(values), 0.25))


def mean_ci(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of independent values, with an interval that also covers for few and skewed ones.

    The interval is that of t after Hall's cubic transformation (Hall, 1992, "On the removal of skewness by
    transformation"), with the sample's skewness. It is made for a share of misses of (1 - confidence) (1 - 0.77
    confidence⁴ / √n): t covers normal values exactly but skewed ones too rarely, and the last factor was chosen so that
    both are near. Coverage of a nominal 95 % interval, 200,000 samples each (standard error 0.0005):

        n     normal   lognormal, σ = 0.5   gamma, shape 2   exponential   uniform     for comparison: t, exponential
        3     0.967    0.950                0.950            0.931         0.953      0.884
        5     0.961    0.943                0.946            0.934         0.963      0.883
        10    0.957    0.947                0.952            0.949         0.976      0.901
        30    0.956    0.950                0.954            0.954         0.967      0.928

    Values more skewed than exponential ones are covered less: lognormal ones with σ = 1 in 0.903, 0.898, 0.915 and
    0.934.

    Args:
        values: (n,).
        confidence: mass of the interval, in (0, 1).

    Returns:
        The estimate; a single value has an infinite interval.

    Raises:
        DataError: there are no values, one is not finite, or `confidence` is not in (0, 1).
    """
    x = _finite(values)
    spread, skewness = _moments(x)
    root = float(np.sqrt(len(x)))
    return _skewed_t(float(x.mean()), spread / root, skewness / root, [x], confidence)


def bootstrap_ci(
    values: ArrayLike,
    statistic: Callable[[Array], Any] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate a statistic of independent values, with an interval.

    The interval is a percentile bootstrap (Efron, 1979) from 50 values on; below, that of `mean_ci` for the mean, and
    for another statistic what `stratified_bootstrap_ci` does with one stratum.

    Args:
        values: (n,).
        statistic: from one array to a number.
        confidence, resamples, seed: as for `stratified_bootstrap_ci`.

    Raises:
        DataError: there are no values, one is not finite, or `confidence` is not in (0, 1).
    """
    x = _finite(values)
    if statistic is np.mean and len(x) < _MANY:
        return mean_ci(x, confidence=confidence)
    return stratified_bootstrap_ci([x], statistic, confidence=confidence, resamples=resamples, seed=seed)


def stratified_bootstrap_ci(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Array], Any] = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate a statistic over all values, with an interval from resampling within each stratum.

    Strata are runs within each task, for example (Agarwal et al., 2021). The interval is a percentile bootstrap where
    every stratum has 50 values or more. Where one has fewer it is that of `mean_ci` with the deviation and the skewness
    of the bootstrap samples: the deviation, which is √(1 - 1/n) too small for n values, is enlarged, and t has the
    degrees of freedom that Satterthwaite (1946) gives strata of different variance. A stratum of a single value is
    taken as it is, since its error is unknown. Coverage of nominal 95 % intervals of one stratum, 1,500 samples each,
    1,000 resamples:

        statistic               n     normal   lognormal, σ = 0.5   exponential     percentile bootstrap, normal
        interquartile mean      3     0.969    0.956                0.962           0.726
        interquartile mean      5     0.983    0.973                0.984           0.919
        interquartile mean      10    0.979    0.981                0.975           0.945
        interquartile mean      30    0.973    0.974                0.966           0.949
        median                  3     0.971    0.973                0.971           0.747
        median                  5     0.980    0.979                0.978           0.940

    Args:
        strata: one sequence of values per stratum; lengths may differ.
        statistic: from one array to a number.
        confidence: mass of the interval, in (0, 1).
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        DataError: a stratum is empty or holds NaN or infinity, or `confidence` is not in (0, 1).
    """
    groups, rng = [_finite(stratum) for stratum in strata], np.random.default_rng(seed)
    draws = [statistic(np.concatenate([rng.choice(group, len(group)) for group in groups])) for _ in range(resamples)]
    every, samples = np.concatenate(groups), np.array(draws, dtype=np.float64)
    if min(map(len, groups)) < _MANY:
        return _skewed_t(float(statistic(every)), *_moments(samples), groups, confidence)
    return _estimate(float(statistic(every)), samples, confidence, len(every))


def paired_permutation_test(a: ArrayLike, b: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean difference of paired values, by flipping the signs of differences.

    Exact where there are at most `resamples` sign patterns, otherwise Monte Carlo with the observed pattern counted in,
    so never 0.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    first, second = _paired(a, b)
    difference = first - second
    n = len(difference)
    exact = n < 63 and 2**n <= resamples
    if exact:
        signs = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        sums = (2.0 * signs - 1.0) @ difference
    else:
        rng = np.random.default_rng(seed)
        sums = np.array([(2.0 * rng.integers(0, 2, n) - 1.0) @ difference for _ in range(resamples)])
    as_extreme = int((np.abs(sums) >= abs(difference.sum()) - 1e-12 * np.abs(difference).sum()).sum())
    return as_extreme / len(sums) if exact else (as_extreme + 1) / (len(sums) + 1)


def correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Kind = "pearson",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate Pearson's r, Spearman's ρ or Kendall's τ-b, with an interval.

    The interval is a percentile bootstrap over pairs. For fewer than 50 pairs it is joined with one by Fisher's z, and
    each end is the wider of the two: Fisher's covers normal pairs of any number, the bootstrap what is far from normal.
    The standard error of z is 1 / √(n - 3) for r, √((1 + ρ² / 2) / (n - 3)) for ρ (Bonett and Wright, 2000) and
    √(0.437 / (n - 4)) for τ (Fieller, Hartley and Pearson, 1957). Coverage of nominal 95 % intervals of r, pairs of
    correlation 0, 0.5 and 0.9 before their sides are made lognormal or exponential, 800 samples each:

        n     normal                lognormal, σ = 0.5    exponential           percentile bootstrap alone, normal
        5     0.984 0.981 0.980     0.973 0.968 0.968     0.968 0.968 0.946     0.925 0.899 0.845
        10    0.956 0.961 0.973     0.970 0.963 0.966     0.980 0.941 0.944     0.890 0.921 0.905
        30    0.960 0.965 0.964     0.971 0.949 0.951     0.975 0.929 0.930     0.919 0.936 0.931

    Bootstrap samples in which one side is constant have no correlation and are left out.

    Raises:
        DataError: the lengths differ, there are fewer than three pairs, or one side is constant or not finite.
    """
    first, second = _paired(x, y)
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise DataError("a correlation needs at least three pairs and two different values on each side")
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(first), (resamples, len(first)))
    if len(first) >= _MANY:
        varied = [row for row in rows if np.ptp(first[row]) and np.ptp(second[row])]
        draws = [_CORRELATIONS[kind](first[row], second[row]) for row in varied]
        return _estimate(_CORRELATIONS[kind](first, second), np.array(draws), confidence, len(first))
    each = _row_correlations(first[rows], second[rows], kind)  # faster, but takes pairs of pairs for Kendall's
    found = _estimate(_CORRELATIONS[kind](first, second), each[~np.isnan(each)], confidence, len(first))
    low, high = _fisher(found.value, kind, len(first), confidence)
    return Estimate(found.value, min(low, found.low), max(high, found.high), found.n, FISHER)


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive has a higher score than a negative, ties counted half.

    Args:
        scores: (n,) higher for what is more likely positive.
        positive: (n,) true or false.

    Raises:
        DataError: the lengths differ, a score is not finite, or one of the two classes is not there.
    """
    x, y = _paired(scores, np.asarray(positive, dtype=np.float64))
    is_positive = y > 0.5
    n_positive = int(is_positive.sum())
    n_negative = len(y) - n_positive
    if not n_positive or not n_negative:
        raise DataError("the area under a ROC curve needs positives and negatives")
    ranks = scipy_stats.rankdata(x)
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities agree with what happens.

    Attributes:
        predicted, observed, counts: of each bin that is not empty: the mean probability, the share of positives, the
            number of rows.
        error: expected calibration error, the mean of |predicted - observed| over rows (Naeini et al., 2015).
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    error: float


def calibration(probabilities: ArrayLike, positive: ArrayLike, bins: int = 10) -> Calibration:
    """Probabilities against outcomes, in bins of equal width.

    Raises:
        DataError: the lengths differ, or a probability lies outside [0, 1].
    """
    p, y = _paired(probabilities, np.asarray(positive, dtype=np.float64))
    if p.min() < 0 or p.max() > 1:
        raise DataError("probabilities lie between 0 and 1")
    place = np.minimum((p * bins).astype(int), bins - 1)
    rows = [np.flatnonzero(place == b) for b in range(bins)]
    kept = [(float(p[r].mean()), float(y[r].mean()), len(r)) for r in rows if len(r)]
    predicted, observed, counts = zip(*kept, strict=True)
    error = sum(abs(a - b) * n for a, b, n in kept) / len(p)
    return Calibration(predicted, observed, counts, error)


def _pearson(x: Array, y: Array) -> float:
    return float(_row_correlations(x[None], y[None], "pearson")[0])


_CORRELATIONS: dict[str, Callable[[Array, Array], float]] = {
    "pearson": _pearson,
    "spearman": lambda x, y: _pearson(scipy_stats.rankdata(x), scipy_stats.rankdata(y)),
    "kendall": lambda x, y: float(scipy_stats.kendalltau(x, y).statistic),
}


def _estimate(value: float, draws: Array, confidence: float, n: int) -> Estimate:
    _check(confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def _skewed_t(value: float, spread: float, skewness: float, groups: Sequence[Array], confidence: float) -> Estimate:
    """Find the interval of t after Hall's transformation, g(t) = t + κ (2 t² + 1) / 6 + κ² t³ / 27.

    Args:
        value: the statistic.
        spread, skewness: standard deviation and skewness κ of its bootstrap distribution.
        groups: the values of each stratum, which give the degrees of freedom.
        confidence: nominal mass of the interval.
    """
    _check(confidence)
    n, several = sum(map(len, groups)), [group for group in groups if len(group) > 1]
    if not several:
        return Estimate(value, -np.inf, np.inf, n, SKEWED_T)
    size = np.array([len(group) for group in several], dtype=np.float64)
    widest = max(float(np.ptp(group)) for group in several)
    if widest == 0 or spread == 0:
        return Estimate(value, value, value, n, SKEWED_T)
    # of the variance of a sum over all values; of widths near 1, since squares of tiny ones vanish
    share = size * np.array([((group - group.mean()) / widest).var(ddof=1) for group in several])
    error = spread * np.sqrt(share.sum() / (share * (1 - 1 / size)).sum())
    freedom = share.sum() ** 2 / (share**2 / (size - 1)).sum()
    t = scipy_special.stdtrit(freedom, 1 - _miss(confidence, freedom + 1) / 2)
    high, low = value - error * _hall(-t, skewness), value - error * _hall(t, skewness)
    return Estimate(value, float(low), float(high), n, SKEWED_T)


def _hall(y: float, skewness: float) -> float:
    """Invert Hall's transformation, g(t) = y."""
    if abs(skewness) < 1e-6:  # g is the identity then, and its inverse 0 / 0
        return y
    return float(3 / skewness * (np.cbrt(1 + skewness * (y - skewness / 6)) - 1))


def _fisher(r: float, kind: Kind, n: int, confidence: float) -> tuple[float, float]:
    """Find the ends of the interval of a correlation of n pairs by Fisher's z; all of [-1, 1] where n is too small."""
    degrees = n - 4 if kind == "kendall" else n - 3
    if degrees <= 0:
        return -1.0, 1.0
    z = float(_z(r, kind, n))
    variance = {"pearson": 1.0, "spearman": 1 + np.tanh(z) ** 2 / 2, "kendall": 0.437}[kind] / degrees
    half = scipy_special.ndtri(1 - _miss(confidence, n) / 2) * np.sqrt(variance)
    return min(r, float(np.tanh(z - half))), max(r, float(np.tanh(z + half)))


def _z(r: ArrayLike, kind: Kind, n: int) -> Array:
    """Transform correlations of n pairs to Fisher's z, arctanh r, infinite at ±1: taken half a step inside there."""
    step = {"pearson": 1e-12, "spearman": 12 / (n * (n * n - 1)), "kendall": 4 / (n * (n - 1))}[kind]
    return np.arctanh(np.clip(r, step / 2 - 1, 1 - step / 2))


def _miss(confidence: float, n: float) -> float:
    """Share of misses that an interval of n values is made for: less than 1 - confidence, see `mean_ci`."""
    return (1 - confidence) * (1 - _CAUTION * confidence**4 / float(np.sqrt(n)))


def _moments(values: Array) -> tuple[float, float]:
    """Find the standard deviation and the skewness, with moments divided by n; 0 and 0 where nothing varies."""
    if np.ptp(values) == 0:
        return 0.0, 0.0
    centred = values - values.mean()
    largest = float(np.abs(centred).max())
    centred = centred / largest  # or powers may vanish
    deviation = float(np.sqrt((centred**2).mean()))
    return largest * deviation, float((centred**3).mean()) / deviation**3


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, got {confidence}")


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"statistics need a flat, non-empty list of finite numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise DataError(
            f"statistics need finite numbers, and value {place + 1} of {len(array)} is {array[place]}; leave out what "
            f"has no value, in pairs where values are paired"
        )
    return array


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise DataError(f"values must come in pairs, got {len(first)} and {len(second)}")
    return first, second


def summary_level_correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Kind = "pearson",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return how well one score orders the systems within each document as another one does: the mean of the documents'
    correlations.

    Documents in which one side is constant have no correlation and are left out. The interval is a percentile bootstrap
    over documents, or that of `mean_ci` where fewer than 50 are left.

    Args:
        x, y: (documents, systems) the scores.
        kind: Pearson's r, Spearman's ρ or Kendall's τ-b.
        confidence, resamples, seed: as for `correlation`.

    Returns:
        The estimate; `n` is the number of documents that were not left out.

    Raises:
        DataError: the shapes differ, there are fewer than three systems, a value is not finite, or every document is
            left out.
    """
    first, second = _tables(x, y)
    each = _row_correlations(first, second, kind)
    kept = ~np.isnan(each)
    if not kept.any():
        raise DataError(
            "no document has two different values on each side, so there is no correlation within documents"
        )
    if kept.sum() < _MANY:
        return _bounded(mean_ci(each[kept], confidence=confidence))
    weights = np.random.default_rng(seed).multinomial(len(each), np.full(len(each), 1 / len(each)), size=resamples)
    used = weights @ kept
    draws = (weights @ np.where(kept, each, 0.0))[used > 0] / used[used > 0]
    return _estimate(float(each[kept].mean()), draws, confidence, int(kept.sum()))


def system_level_correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Kind = "pearson",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return how well one score orders systems as another one does: the correlation of the systems' means over
    documents.

    The interval is a percentile bootstrap over documents, the same ones on both sides. Of fewer than 50 documents it is
    joined with a t interval of Fisher's z, whose deviation is that of the bootstrap samples, enlarged by 1 / √(1 -
    1/n); each end is the wider of the two. It says what other documents may have given, not what other systems may
    have; samples in which one side is constant are left out. Of 8 normal systems on 5, 10 and 30 documents, 400 times
    each, a nominal 95 % interval covers the correlation of the true means in 0.92, 0.90 and 0.94 for r (the bootstrap
    alone: 0.66, 0.82, 0.89) and in 0.95, 0.95 and 0.96 for τ: noise in the means makes a correlation smaller, which no
    resampling undoes.

    Args:
        x, y: (documents, systems) the scores.
        kind, confidence, resamples, seed: as for `summary_level_correlation`.

    Returns:
        The estimate; `n` is the number of systems.

    Raises:
        DataError: the shapes differ, there are fewer than three systems, a value is not finite, or one side's means are
            all the same.
    """
    first, second = _tables(x, y)
    documents, systems = first.shape
    weights = np.random.default_rng(seed).multinomial(documents, np.full(documents, 1 / documents), size=resamples)
    weights = np.vstack([np.ones(documents, dtype=weights.dtype), weights])
    every = _row_correlations(_rounded(weights @ first), _rounded(weights @ second), kind)
    if np.isnan(every[0]):
        raise DataError("the systems' means are all the same on one side, so there is no correlation between systems")
    draws = every[1:][~np.isnan(every[1:])]
    found = _estimate(float(every[0]), draws, confidence, systems)
    if documents >= _MANY:
        return found
    low, high = -1.0, 1.0
    if documents > 1:
        error = _z(draws, kind, systems).std() * np.sqrt(documents / (documents - 1))
        half = scipy_special.stdtrit(documents - 1, 1 - _miss(confidence, documents) / 2) * error
        low, high = np.tanh(_z(every[0], kind, systems) + np.array([-half, half]))
    return Estimate(found.value, min(float(low), found.low), max(float(high), found.high), systems, FISHER)


def _row_correlations(x: Array, y: Array, kind: Kind) -> Array:
    """Correlations of the rows of two (R, S) tables; NaN where a row is constant."""
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    if kind == "kendall":
        place, other = np.triu_indices(x.shape[1], 1)
        a, b = np.sign(x[:, place] - x[:, other]), np.sign(y[:, place] - y[:, other])
    else:
        if kind == "spearman":
            x, y = scipy_stats.rankdata(x, axis=1), scipy_stats.rankdata(y, axis=1)
        a, b = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        # Or squares may vanish
        a, b = (side / np.maximum(np.abs(side).max(1, keepdims=True), np.finfo(np.float64).tiny) for side in (a, b))
    with np.errstate(invalid="ignore"):
        r = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.where(constant, np.nan, np.clip(r, -1.0, 1.0))


def _bounded(found: Estimate) -> Estimate:
    """Cut the interval of a correlation to [-1, 1]."""
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _rounded(means: Array) -> Array:
    """Without the last digits, in which sums of the same values in another order differ: equal means stay ties."""
    scale = float(np.abs(means).max()) or 1.0
    return (means / scale).round(12)


def _tables(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 3 or not len(first):
        raise DataError(
            f"expected two tables (documents, systems) of one shape, with three systems or more; got {first.shape}, "
            f"{second.shape}"
        )
    for name, table in (("first", first), ("second", second)):
        if not np.isfinite(table).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(table))[0])
            raise DataError(
                f"correlations need finite numbers, and the {name} table has {table[row, column]} for document "
                f"{row + 1}, system {column + 1}; leave out documents for which a system has no score"
            )
    return first, second
