"""Means and other statistics of independent values, with intervals and standard errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from rl4lms.stats.base import MANY, SKEWED_T, Array, Estimate, check_confidence, finite, miss, percentile_estimate


def mean_stderr(values: ArrayLike) -> tuple[float, float | None]:
    """Return the mean and its standard error, s / √n with the n - 1 estimate of s; the error is None for a single
    value.
    """
    x = finite(values)
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
    return float(scipy.stats.trim_mean(finite(values), 0.25))


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
    x = finite(values)
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
    x = finite(values)
    if statistic is np.mean and len(x) < MANY:
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
    groups, rng = [finite(stratum) for stratum in strata], np.random.default_rng(seed)
    drawn = (np.concatenate([rng.choice(group, len(group)) for group in groups]) for _ in range(resamples))
    if statistic is iqm:
        samples = np.asarray(
            scipy.stats.trim_mean(np.array(list(drawn)), 0.25, axis=1)
        )  # all at once: ten times faster
    else:
        samples = np.array([statistic(sample) for sample in drawn], dtype=np.float64)
    every = np.concatenate(groups)
    if min(map(len, groups)) < MANY:
        return _skewed_t(float(statistic(every)), *_moments(samples), groups, confidence)
    return percentile_estimate(float(statistic(every)), samples, confidence, len(every))


def _skewed_t(value: float, spread: float, skewness: float, groups: Sequence[Array], confidence: float) -> Estimate:
    """Find the interval of t after Hall's transformation, g(t) = t + κ (2 t² + 1) / 6 + κ² t³ / 27.

    Args:
        value: the statistic.
        spread, skewness: standard deviation and skewness κ of its bootstrap distribution.
        groups: the values of each stratum, which give the degrees of freedom.
        confidence: nominal mass of the interval.
    """
    check_confidence(confidence)
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
    t = scipy.special.stdtrit(freedom, 1 - miss(confidence, freedom + 1) / 2)
    high, low = value - error * _hall(-t, skewness), value - error * _hall(t, skewness)
    return Estimate(value, float(low), float(high), n, SKEWED_T)


def _hall(y: float, skewness: float) -> float:
    """Invert Hall's transformation, g(t) = y."""
    if abs(skewness) < 1e-6:  # g is the identity then, and its inverse 0 / 0
        return y
    return float(3 / skewness * (np.cbrt(1 + skewness * (y - skewness / 6)) - 1))


def _moments(values: Array) -> tuple[float, float]:
    """Find the standard deviation and the skewness, with moments divided by n; 0 and 0 where nothing varies."""
    if np.ptp(values) == 0:
        return 0.0, 0.0
    centred = values - values.mean()
    largest = float(np.abs(centred).max())
    centred = centred / largest  # or powers may vanish
    deviation = float(np.sqrt((centred**2).mean()))
    return largest * deviation, float((centred**3).mean()) / deviation**3
