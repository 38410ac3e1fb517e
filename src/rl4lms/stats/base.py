"""What the statistics share: an estimate with its interval, and the checks of what is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl4lms.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["pearson", "spearman", "kendall"]

BOOTSTRAP = "percentile bootstrap"
SKEWED_T = "skewness-adjusted t"
FISHER = "the wider of Fisher's z and the percentile bootstrap at each end"
# From this many values on the percentile bootstrap stands alone: it covers means of 50 normal values in 93.5 %,
# exponential ones in 92.4 %.
MANY = 50
# What share of misses intervals of few values save, times √n and at a confidence near 1; found by simulation.
CAUTION = 0.77


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its confidence interval.

    Attributes:
        value: the statistic of the data itself.
        low, high: ends of the interval; infinite where the data say nothing of the error, as a single value.
        n: number of values (or pairs).
        method: how the interval was found: `BOOTSTRAP`, `SKEWED_T` or `FISHER`.
        p: two-sided p-value of the statistic being 0; None where it was not tested.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = BOOTSTRAP
    p: float | None = None


def percentile_estimate(value: float, draws: Array, confidence: float, n: int) -> Estimate:
    """Take the percentiles of bootstrap samples of a statistic as its interval."""
    check_confidence(confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def miss(confidence: float, n: float) -> float:
    """Share of misses that an interval of n values is made for: less than 1 - confidence, see `mean_ci`."""
    return (1 - confidence) * (1 - CAUTION * confidence**4 / float(np.sqrt(n)))


def check_confidence(confidence: float) -> None:
    """Refuse a nominal mass of an interval that is none."""
    if not 0 < confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, got {confidence}")


def finite(values: ArrayLike) -> Array:
    """Return values as an array (n,).

    Raises:
        DataError: there are none, or one is NaN or infinite.
    """
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


def paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Return two arrays of one length; raises as `finite`, and where the lengths differ."""
    first, second = finite(a), finite(b)
    if len(first) != len(second):
        raise DataError(f"values must come in pairs, got {len(first)} and {len(second)}")
    return first, second
