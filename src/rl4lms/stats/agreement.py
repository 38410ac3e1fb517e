"""Agreement between raters: Krippendorff's α."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Array, Estimate, check_confidence
from rl4lms.stats.intervals import mean_ci

Scale = Literal["nominal", "ordinal", "interval", "ratio"]

SCALES: tuple[Scale, ...] = ("nominal", "ordinal", "interval", "ratio")
JACKKNIFE = "jackknife over items"


def krippendorff_alpha(ratings: ArrayLike, scale: Scale = "interval", *, confidence: float = 0.95) -> Estimate:
    """Estimate how far raters agree beyond chance: 1 is full agreement, 0 that of ratings handed out at random.

    α = 1 - D_o / D_e, observed over expected disagreement (Krippendorff, 2011, "Computing Krippendorff's
    Alpha-Reliability"). Both come from the table of coincidences: every ordered pair of ratings of one item counts
    1 / (m - 1), where m is how many ratings the item has. Items with one rating have no pair and are left out.

    The interval is that of `mean_ci` of the jackknife's pseudo-values, one for each item: items are what a study draws.
    Coverage of nominal 95 % intervals over 1,000 simulated studies is in `tests/unit/test_agreement.py`.

    Args:
        ratings: (items, raters), NaN where a rater did not rate an item.
        scale: what differences of ratings mean. `nominal`: none, they are names; `ordinal`: how many ratings lie
            between; `interval`: their square; `ratio`: their square relative to the sum.
        confidence: mass of the interval.

    Returns:
        The estimate; n is the number of items with at least two ratings.

    Raises:
        DataError: no item has two ratings, all ratings are the same, one is infinite, or, on a ratio scale, negative.
    """
    check_confidence(confidence)
    values, counts = _counted(ratings, scale)
    per_item = _coincidences(counts)
    whole, n = sum(per_item), len(counts)
    assert isinstance(whole, np.ndarray)
    value = _alpha(whole, values, _DISTANCES[scale])
    if n == 1:
        return Estimate(value, -np.inf, np.inf, 1, JACKKNIFE)
    without = np.array([_alpha(whole - one, values, _DISTANCES[scale]) for one in per_item])
    found = mean_ci(n * value - (n - 1) * without, confidence=confidence)
    return Estimate(value, found.low, min(found.high, 1.0), n, JACKKNIFE)


def alpha(ratings: ArrayLike, scale: Scale = "interval") -> float:
    """Return α without its interval, which takes milliseconds for thousands of items.

    Args:
        ratings, scale: see `krippendorff_alpha`.

    Raises:
        DataError: see `krippendorff_alpha`.
    """
    values, counts = _counted(ratings, scale)
    weighted = counts / (counts.sum(1, keepdims=True) - 1)
    return _alpha(weighted.T @ counts - np.diag(weighted.sum(0)), values, _DISTANCES[scale])


def _counted(ratings: ArrayLike, scale: Scale) -> tuple[Array, Array]:
    """Return the values that were given, and how often each item that has several ratings has each of them."""
    if scale not in SCALES:
        raise DataError(f"there is no scale {scale!r}; the scales are {', '.join(SCALES)}")
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"ratings need a table (items, raters), got shape {table.shape}")
    if np.isinf(table).any() or (scale == "ratio" and bool((table < 0).any())):
        raise DataError("ratings must be finite, and on a ratio scale not negative; NaN is for what was not rated")
    values, codes = np.unique(table[~np.isnan(table)], return_inverse=True)
    counts = np.zeros((len(table), len(values)))
    np.add.at(counts, (np.nonzero(~np.isnan(table))[0], codes), 1)
    counts = counts[counts.sum(1) >= 2]
    if not len(counts):
        raise DataError("no item has two ratings: agreement needs two raters of the same items")
    if np.count_nonzero(counts.sum(0)) < 2:
        raise DataError("all ratings are the same: whether raters agree beyond chance cannot be told")
    return values, counts


def _coincidences(counts: Array) -> list[Array]:
    """Return the table of coincidences (values, values) of each item, from how often it has each value."""
    return [(np.outer(row, row) - np.diag(row)) / (row.sum() - 1) for row in counts]


def _alpha(coincidences: Array, values: Array, distance: Callable[[Array, Array], Array]) -> float:
    """Return α of a table of coincidences; 1 where its ratings are all the same, and no pair disagrees."""
    margin = coincidences.sum(1)
    squared = distance(values, margin)
    observed = float((coincidences * squared).sum())
    expected = float((np.outer(margin, margin) * squared).sum()) / (margin.sum() - 1)
    return 1.0 if expected == 0 else 1 - observed / expected


def _nominal(values: Array, margin: Array) -> Array:
    return 1 - np.eye(len(values))


def _ordinal(values: Array, margin: Array) -> Array:
    """Ratings between two values, half of those at the ends counted."""
    place = np.cumsum(margin) - margin / 2
    return np.asarray(np.subtract.outer(place, place) ** 2)


def _interval(values: Array, margin: Array) -> Array:
    return np.asarray(np.subtract.outer(values, values) ** 2)


def _ratio(values: Array, margin: Array) -> Array:
    both = np.add.outer(values, values)
    return np.asarray((np.subtract.outer(values, values) / np.where(both == 0, 1, both)) ** 2)


_DISTANCES: dict[Scale, Callable[[Array, Array], Array]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
    "ratio": _ratio,
}
