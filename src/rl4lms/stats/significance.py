"""Tests of whether two systems differ, by the same rows of both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Array, Estimate, paired, percentile_estimate

#: From sums of the rows' statistics (R, S) to R values.
OfSums = Callable[[Array], Array]


def paired_permutation_test(a: ArrayLike, b: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean difference of paired values, by flipping the signs of differences.

    Exact where there are at most `resamples` sign patterns, otherwise Monte Carlo with the observed pattern counted in,
    so never 0.

    Raises:
        DataError: the lengths differ, or a value is not finite.
    """
    first, second = paired(a, b)
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


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, of_sums: OfSums, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Estimate by how much a value of a whole set, such as BLEU, is higher for b than for a, with an interval.

    The interval is a percentile bootstrap over rows, the same ones for both (Koehn, 2004).

    Args:
        a, b: (n, S) of each row of two systems, what is summed over the set.
        of_sums: from sums (R, S) to values (R,), NaN where there is none.
        confidence, resamples, seed: as for `bootstrap_ci`.

    Raises:
        DataError: the shapes differ, a number is not finite, or there are fewer than two rows.
    """
    first, second = _paired_rows(a, b)
    n = len(first)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    draws = of_sums(weights @ second) - of_sums(weights @ first)
    value = float((of_sums(second.sum(0, keepdims=True)) - of_sums(first.sum(0, keepdims=True)))[0])
    return percentile_estimate(value, draws[~np.isnan(draws)], confidence, n)


def paired_randomisation_test(
    a: ArrayLike, b: ArrayLike, of_sums: OfSums, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of the difference of a value of a whole set, by exchanging the two systems' rows.

    Each sample exchanges the rows of a random half (Riezler and Maxwell, 2005); samples that differ as much as the
    systems do, or more, count, and the systems themselves do. So it is never 0.

    Args:
        a, b, of_sums: as for `paired_bootstrap`.
        resamples, seed: of the exchanges.

    Raises:
        DataError: as `paired_bootstrap`.
    """
    first, second = _paired_rows(a, b)
    rng = np.random.default_rng(seed)
    together, apart = first.sum(0) + second.sum(0), second - first
    observed = abs(float((of_sums(second.sum(0, keepdims=True)) - of_sums(first.sum(0, keepdims=True)))[0]))
    as_extreme = 0
    for start in range(0, resamples, _AT_ONCE):
        exchanged = rng.integers(0, 2, (min(_AT_ONCE, resamples - start), len(first))).astype(np.float64)
        one = first.sum(0) + exchanged @ apart
        difference = np.abs(of_sums(one) - of_sums(together - one))
        # a sample without a value is as extreme as can be: it must not make a difference look surer
        as_extreme += int((np.isnan(difference) | (difference >= observed - 1e-12 * max(observed, 1.0))).sum())
    return (as_extreme + 1) / (resamples + 1)


_AT_ONCE = 1000  # exchanges of all rows at a time: some megabytes


def _paired_rows(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise DataError(
            f"expected two tables (rows, statistics) of one shape, with two rows or more; got {first.shape}, "
            f"{second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("the statistics of each row must be finite numbers")
    return first, second
