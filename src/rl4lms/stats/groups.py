"""Tests of several groups of independent values: whether they differ, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Array, check_confidence, finite
from rl4lms.stats.holm import holm


@dataclass(frozen=True, slots=True)
class GroupTest:
    """A test of all groups being alike.

    Attributes:
        name: of the test.
        statistic: F, or H.
        freedom: degrees of freedom; of F, between and within groups.
        p: of such a statistic, or a larger one, where the groups are alike.
    """

    name: str
    statistic: float
    freedom: tuple[int, ...]
    p: float


@dataclass(frozen=True, slots=True)
class PairTest:
    """A comparison of two of several groups.

    Attributes:
        first, second: the groups.
        difference: of their means, or of their mean ranks.
        low, high: its interval, one of a family that is right at once; None where the test has none.
        p: adjusted for the number of pairs.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float


def anova(groups: Mapping[str, ArrayLike]) -> GroupTest:
    """Test whether groups have one mean: analysis of variance with one factor (Fisher, 1925).

    Values are taken as independent and normal with one variance. Ratings of the same items are not independent: a test
    that pairs them, or a mixed model, finds more.

    Args:
        groups: values (n,) of each.

    Raises:
        DataError: there are fewer than two groups, a group has no values or NaN, no group has two values, or none
            varies.
    """
    values = _checked(groups)
    within = sum(len(one) for one in values) - len(values)
    if all(np.ptp(one) == 0 for one in values):
        raise DataError("within no group any value differs: an analysis of variance has nothing to compare with")
    found = scipy.stats.f_oneway(*values)
    return GroupTest("one-way ANOVA", float(found.statistic), (len(values) - 1, within), float(found.pvalue))


def tukey_hsd(groups: Mapping[str, ArrayLike], *, confidence: float = 0.95) -> list[PairTest]:
    """Compare the means of all pairs of groups, with intervals that hold for all of them at once (Tukey, 1949; Kramer,
    1956, where the groups are not of one size).

    Raises:
        DataError: as `anova`.
    """
    check_confidence(confidence)
    values, names = _checked(groups), list(groups)
    found = scipy.stats.tukey_hsd(*values)
    interval = found.confidence_interval(confidence)
    return [
        PairTest(
            names[i],
            names[j],
            float(found.statistic[i, j]),
            float(interval.low[i, j]),
            float(interval.high[i, j]),
            float(found.pvalue[i, j]),
        )
        for i, j in combinations(range(len(names)), 2)
    ]


def kruskal_wallis(groups: Mapping[str, ArrayLike]) -> GroupTest:
    """Test whether values of one group tend to be larger than those of another, by their ranks (Kruskal and Wallis,
    1952), with the correction for ties.

    Raises:
        DataError: as `anova`, and where all values are the same.
    """
    values = _checked(groups)
    if np.ptp(np.concatenate(values)) == 0:
        raise DataError("all values are the same: their ranks tell no groups apart")
    found = scipy.stats.kruskal(*values)
    return GroupTest("Kruskal-Wallis", float(found.statistic), (len(values) - 1,), float(found.pvalue))


def dunn(groups: Mapping[str, ArrayLike]) -> list[PairTest]:
    """Compare the mean ranks of all pairs of groups after `kruskal_wallis` (Dunn, 1964), with the correction for ties;
    p-values are adjusted by Holm's method.

    Raises:
        DataError: as `kruskal_wallis`.
    """
    values, names = _checked(groups), list(groups)
    everything = np.concatenate(values)
    if np.ptp(everything) == 0:
        raise DataError("all values are the same: their ranks tell no groups apart")
    n = len(everything)
    ranks = scipy.stats.rankdata(everything)
    means = [float(part.mean()) for part in np.split(ranks, np.cumsum([len(one) for one in values])[:-1])]
    _, ties = np.unique(everything, return_counts=True)
    variance = n * (n + 1) / 12 - float((ties**3 - ties).sum()) / (12 * (n - 1))
    pairs = list(combinations(range(len(names)), 2))
    errors = [np.sqrt(variance * (1 / len(values[i]) + 1 / len(values[j]))) for i, j in pairs]
    raw = [
        2 * float(scipy.stats.norm.sf(abs(means[i] - means[j]) / error))
        for (i, j), error in zip(pairs, errors, strict=True)
    ]
    return [
        PairTest(names[i], names[j], means[i] - means[j], None, None, float(p))
        for (i, j), p in zip(pairs, holm(raw), strict=True)
    ]


def _checked(groups: Mapping[str, ArrayLike]) -> list[Array]:
    if len(groups) < 2:
        raise DataError(f"a comparison needs two groups, got {len(groups)}")
    values = []
    for name, given in groups.items():
        try:
            values.append(finite(given))
        except DataError as error:
            raise DataError(f"group {name!r}: {error}") from error
    if all(len(one) == 1 for one in values):
        raise DataError("every group has a single value: nothing says how far values of one group differ")
    return values
