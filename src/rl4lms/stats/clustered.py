"""Means of values that depend on each other in two ways: by the prompt they are of, and by the rater who gave them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Array, Estimate, Kind, check_confidence, finite, paired
from rl4lms.stats.correlations import correlation_of, fisher_z

TWO_WAY = "t, clustered by prompt and rater"
ONE_WAY = "t, clustered by prompt"
JACKKNIFE_Z = "t of Fisher's z, jackknife over prompts"
#: See `two_way_variance`.
LEAST = 0.75
WILSON = "Wilson, clustered by prompt and rater"


def mean_of_clusters(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float, Array]:
    """Return the mean over clusters of the mean of each, and by how much every value moves it, (n,).

    Raises:
        DataError: there are no values, one is not finite, or the lengths differ.
    """
    x = finite(values)
    of = codes(clusters)
    if len(of) != len(x):
        raise DataError(f"there must be a cluster for each value; got {len(of)} for {len(x)}")
    counts = np.bincount(of)
    own = np.bincount(of, x) / counts
    return float(own.mean()), (x - own.mean()) / (len(counts) * counts[of])


def two_way_variance(influence: Array, first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[float, float]:
    """Return the variance of a statistic over two crossed ways of clustering, and its degrees of freedom.

    V = V_first + V_second - V_both (Cameron, Gelbach and Miller, 2011, "Robust Inference With Multiway
    Clustering", eq. 2.11), where each is G / (G - 1) times the sum over its G clusters of the squared sum of the
    influences in it, and V_both is that of the pairs. The degrees of freedom are Satterthwaite's, of as many clusters
    as would be as sure if all had one size, (Σ n²)² / Σ n⁴ (after Carter, Schnepel and Steigerwald, 2017, "Asymptotic
    behavior of a t-test robust to cluster heterogeneity"). Where V_second is more than V_first they count it whole.
    V_second - V_both may be negative by chance; V is no less than `LEAST` of V_first, a share chosen by simulation:
    with 1 intervals cover too much, with a half too little.

    Args:
        influence: (n,) by how much each row moves the statistic; they sum to about 0.
        first, second: of each row; the first way is that with many clusters.

    Returns:
        The variance, infinite where there is one cluster of the first way, and the degrees of freedom.
    """
    one, other = codes(first), codes(second)
    v_first, g_first = _variance(influence, one)
    v_second, g_second = _variance(influence, other)
    if one.max() < 1:
        return np.inf, 1.0
    if other.max() < 1 or v_first == 0:
        return v_first, max(g_first - 1, 1.0)
    v_both, _ = _variance(influence, codes(list(zip(one.tolist(), other.tolist(), strict=True))))
    return combined(v_first, g_first - 1, v_second, g_second - 1, v_both)


def combined(first: float, freedom: float, second: float, second_freedom: float, both: float) -> tuple[float, float]:
    """Return the variance over two ways of clustering and its degrees of freedom, see `two_way_variance`.

    Args:
        first, freedom, second, second_freedom: the variance of each way, and its degrees of freedom.
        both: the variance of the pairs.
    """
    further = second - both
    total = max(first + further, LEAST * first)
    # the difference is less sure than what it is a difference of
    of_second = second if second > first else max(further, 0.0)
    found = total**2 / (first**2 / max(freedom, 1.0) + of_second**2 / max(second_freedom, 1.0))
    return float(total), max(float(found), 1.0)


def clustered_estimate(
    value: float,
    influence: Array,
    prompts: Sequence[Hashable],
    raters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    test: bool = False,
) -> Estimate:
    """Return a mean or a difference with the interval of t over prompts and raters.

    Coverage is in `docs/human-analysis.md`. With one rater the interval is over prompts alone; with fewer than six
    raters it says little of what others would have said.

    Args:
        value: the statistic.
        influence, prompts, raters: (n,) of each rating; see `two_way_variance`.
        confidence: mass of the interval.
        test: whether there is to be a two-sided p-value of the value being 0.

    Raises:
        DataError: `confidence` is not in (0, 1).
    """
    check_confidence(confidence)
    variance, freedom = two_way_variance(influence, prompts, raters)
    n, method = len(influence), TWO_WAY if len(set(raters)) > 1 else ONE_WAY
    if not np.isfinite(variance):
        return Estimate(value, -np.inf, np.inf, n, method, None)
    error = float(np.sqrt(variance))
    half = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2)) * error
    p = None
    if test:
        p = float(value == 0) if error == 0 else 2 * float(scipy.special.stdtr(freedom, -abs(value) / error))
    return Estimate(value, value - half, value + half, n, method, p)


def clustered_share(
    values: ArrayLike, prompts: Sequence[Hashable], raters: Sequence[Hashable], *, confidence: float = 0.95
) -> Estimate:
    """Estimate the mean over prompts of values from 0 to 1, with an interval that stays there, and a test of 0.5.

    It is Wilson's interval with t in place of z and, in place of n, as many independent values as would have the
    clustered variance (Korn and Graubard, 1998, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data").

    Args:
        values: (n,) such as 1 for a win, 0.5 for a tie and 0 for a loss.
        prompts, raters: of each.
        confidence: mass of the interval.

    Raises:
        DataError: there are no values, or one is not in [0, 1].
    """
    check_confidence(confidence)
    x = finite(values)
    if x.min() < 0 or x.max() > 1:
        raise DataError("shares lie between 0 and 1")
    mean, influence = mean_of_clusters(x, prompts)
    variance, freedom = two_way_variance(influence, prompts, raters)
    if not np.isfinite(variance):
        return Estimate(mean, 0.0, 1.0, len(x), WILSON, None)
    # all alike: as many values as there are prompts, since raters of one prompt may not be independent
    size = mean * (1 - mean) / variance if variance > 0 else float(len(set(prompts)))
    t = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2))
    middle = (mean + t * t / (2 * size)) / (1 + t * t / size)
    half = t * np.sqrt(mean * (1 - mean) / size + t * t / (4 * size * size)) / (1 + t * t / size)
    score = abs(mean - 0.5) / np.sqrt(0.25 / size)
    p = 2 * float(scipy.special.stdtr(freedom, -score))
    return Estimate(mean, max(0.0, float(middle - half)), min(1.0, float(middle + half)), len(x), WILSON, p)


def codes(names: Sequence[Hashable]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the number of each name, in the order in which they come first."""
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names], dtype=np.intp)


def _variance(influence: Array, of: np.ndarray[tuple[int], np.dtype[np.intp]]) -> tuple[float, float]:
    """Return the variance between clusters, and how many of equal size would be as sure."""
    sums, sizes = np.bincount(of, influence), np.bincount(of).astype(np.float64)
    groups, squares = len(sums), sizes**2
    effective = float(squares.sum() ** 2 / (squares**2).sum())
    return (float(groups / (groups - 1) * (sums**2).sum()) if groups > 1 else 0.0), effective


def clustered_correlation(
    x: ArrayLike, y: ArrayLike, clusters: Sequence[Hashable], kind: Kind = "pearson", *, confidence: float = 0.95
) -> Estimate:
    """Estimate a correlation over all pairs of values, those of one cluster taken as dependent.

    The interval is that of t of the jackknife over clusters on Fisher's scale, z = arctanh r, with as many degrees of
    freedom as clusters less one.

    Args:
        x, y: (n,) the values.
        clusters: of each pair, such as the prompt that its text answers.
        kind: Pearson's r, Spearman's ρ or Kendall's τ-b.
        confidence: mass of the interval.

    Returns:
        The estimate; n is the number of pairs. With one cluster the interval is all of [-1, 1].

    Raises:
        DataError: the lengths differ, there are fewer than three pairs, or one side is constant or not finite.
    """
    check_confidence(confidence)
    first, second = paired(x, y)
    of = codes(clusters)
    if len(of) != len(first):
        raise DataError(f"there must be a cluster for each pair; got {len(of)} for {len(first)}")
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise DataError("a correlation needs at least three pairs and two different values on each side")
    n, groups = len(first), int(of.max()) + 1
    value = correlation_of(first, second, kind)
    without = np.array([correlation_of(first[of != g], second[of != g], kind) for g in range(groups)])
    known = ~np.isnan(without)
    if known.sum() < 2:
        return Estimate(value, -1.0, 1.0, n, JACKKNIFE_Z)
    z, every = fisher_z(without[known], kind, n), float(fisher_z(value, kind, n))
    count = int(known.sum())
    error = float(np.sqrt((count - 1) / count * ((z - z.mean()) ** 2).sum()))
    half = float(scipy.special.stdtrit(count - 1, (1 + confidence) / 2)) * error
    return Estimate(value, float(np.tanh(every - half)), float(np.tanh(every + half)), n, JACKKNIFE_Z)
