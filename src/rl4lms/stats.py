"""Error bars, tests and correlations. Every random draw is seeded, so a reported interval can be computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from rl4lms.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["pearson", "spearman", "kendall"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its confidence interval.

    Attributes:
        value: the statistic of the data itself.
        low, high: ends of the interval.
        n: number of values (or pairs).
    """

    value: float
    low: float
    high: float
    n: int


def mean_stderr(values: ArrayLike) -> tuple[float, float | None]:
    """The mean and its standard error, s / √n with the n - 1 estimate of s; the error is None for a single value."""
    x = _finite(values)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else None


def iqm(values: ArrayLike) -> float:
    """The interquartile mean: what is left after cutting ⌊n/4⌋ values off each end (Agarwal et al., 2021, arXiv 2108.13264)."""
    return float(scipy_stats.trim_mean(_finite(values), 0.25))


def bootstrap_ci(
    values: ArrayLike, statistic: Callable[[Array], Any] = np.mean, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Percentile bootstrap over independent values (Efron, 1979)."""
    return stratified_bootstrap_ci([values], statistic, confidence=confidence, resamples=resamples, seed=seed)


def stratified_bootstrap_ci(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Array], Any] = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of a statistic over all values, resampled within each stratum (runs within each task; Agarwal et al., 2021).

    Args:
        strata: one sequence of values per stratum; lengths may differ.
        statistic: from one array to a number.
        confidence: mass of the interval, in (0, 1).
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        DataError: a stratum is empty or holds NaN or infinity.
    """
    groups, rng = [_finite(stratum) for stratum in strata], np.random.default_rng(seed)
    draws = [statistic(np.concatenate([rng.choice(group, len(group)) for group in groups])) for _ in range(resamples)]
    every = np.concatenate(groups)
    return _estimate(float(statistic(every)), np.array(draws), confidence, len(every))


def paired_permutation_test(a: ArrayLike, b: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean difference of paired values, by flipping the signs of differences.

    Exact where there are at most `resamples` sign patterns, otherwise Monte Carlo with the observed pattern counted in, so never 0.

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
    """Pearson's r, Spearman's ρ or Kendall's τ-b, with a percentile bootstrap over pairs.

    Bootstrap samples in which one side is constant have no correlation and are left out.

    Raises:
        DataError: the lengths differ, there are fewer than three pairs, or one side is constant or not finite.
    """
    first, second = _paired(x, y)
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise DataError("a correlation needs at least three pairs and two different values on each side")
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(first), (resamples, len(first)))
    draws = [_CORRELATIONS[kind](first[row], second[row]) for row in rows if np.ptp(first[row]) > 0 and np.ptp(second[row]) > 0]
    return _estimate(_CORRELATIONS[kind](first, second), np.array(draws), confidence, len(first))


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
        predicted, observed, counts: of each bin that is not empty: the mean probability, the share of positives, the number of rows.
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
    if not 0 < confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, got {confidence}")
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise DataError(f"statistics need a flat, non-empty list of finite numbers, got shape {array.shape}")
    return array


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise DataError(f"values must come in pairs, got {len(first)} and {len(second)}")
    return first, second


def summary_level_correlation(
    x: ArrayLike, y: ArrayLike, kind: Kind = "pearson", *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How well one score orders the systems within each document as another one does: the mean of the documents' correlations.

    Documents in which one side is constant have no correlation and are left out. The interval is a percentile bootstrap over documents.

    Args:
        x, y: (documents, systems) the scores.
        kind: Pearson's r, Spearman's ρ or Kendall's τ-b.
        confidence, resamples, seed: as for `correlation`.

    Returns:
        The estimate; `n` is the number of documents that were not left out.

    Raises:
        DataError: the shapes differ, there are fewer than three systems, a value is not finite, or every document is left out.
    """
    first, second = _tables(x, y)
    each = _row_correlations(first, second, kind)
    kept = ~np.isnan(each)
    if not kept.any():
        raise DataError("no document has two different values on each side, so there is no correlation within documents")
    weights = np.random.default_rng(seed).multinomial(len(each), np.full(len(each), 1 / len(each)), size=resamples)
    used = weights @ kept
    draws = (weights @ np.where(kept, each, 0.0))[used > 0] / used[used > 0]
    return _estimate(float(each[kept].mean()), draws, confidence, int(kept.sum()))


def system_level_correlation(
    x: ArrayLike, y: ArrayLike, kind: Kind = "pearson", *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """How well one score orders systems as another one does: the correlation of the systems' means over documents.

    The interval is a percentile bootstrap over documents, the same ones on both sides. It says what other documents may have given, not
    what other systems may have; samples in which one side is constant are left out.

    Args:
        x, y: (documents, systems) the scores.
        kind, confidence, resamples, seed: as for `summary_level_correlation`.

    Returns:
        The estimate; `n` is the number of systems.

    Raises:
        DataError: the shapes differ, there are fewer than three systems, a value is not finite, or one side's means are all the same.
    """
    first, second = _tables(x, y)
    documents, systems = first.shape
    weights = np.random.default_rng(seed).multinomial(documents, np.full(documents, 1 / documents), size=resamples)
    weights = np.vstack([np.ones(documents, dtype=weights.dtype), weights])
    every = _row_correlations(_rounded(weights @ first), _rounded(weights @ second), kind)
    if np.isnan(every[0]):
        raise DataError("the systems' means are all the same on one side, so there is no correlation between systems")
    return _estimate(float(every[0]), every[1:][~np.isnan(every[1:])], confidence, systems)


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
        a, b = (
            side / np.maximum(np.abs(side).max(1, keepdims=True), np.finfo(np.float64).tiny) for side in (a, b)
        )  # or squares may vanish
    with np.errstate(invalid="ignore"):
        r = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.where(constant, np.nan, np.clip(r, -1.0, 1.0))


def _rounded(means: Array) -> Array:
    """Without the last digits, in which sums of the same values in another order differ: equal means stay ties."""
    scale = float(np.abs(means).max()) or 1.0
    return (means / scale).round(12)


def _tables(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 3 or not len(first):
        raise DataError(
            f"expected two tables (documents, systems) of one shape, with three systems or more; got {first.shape}, {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("correlations need finite numbers; leave out documents for which a system has no score")
    return first, second
