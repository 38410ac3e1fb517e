"""How many items and raters a study needs."""

from __future__ import annotations

import math

import scipy

from rl4lms.errors import DataError

_MOST = 10_000_000


def power_of_ratings(
    difference: float,
    items: int,
    raters: int,
    *,
    noise: float,
    interaction: float = 0.0,
    significance: float = 0.05,
    comparisons: int = 1,
) -> float:
    """Return the probability that a study finds a difference of two systems' mean ratings.

    Every item is rated for both systems, by the given number of raters each. A rating is the mean of its system, plus
    what the item and the rater add for every system, plus how well the system does on this item (standard deviation
    `interaction`), plus noise (standard deviation `noise`). What items and raters add is the same for both systems and
    drops out of the differences, of which there is one for each item: the power is that of their t test.

    Args:
        difference: of the true means.
        items: that are rated, at least two.
        raters: of each item and system.
        noise: standard deviation of a rater's ratings of one text about what the rater gives on average.
        interaction: standard deviation over items of how much better one system is on them than it is on average.
        significance: of the two-sided test, before it is divided by `comparisons` (Bonferroni).
        comparisons: pairs of systems that are tested together.

    Raises:
        DataError: an argument is out of its range, or noise and interaction are both 0.
    """
    _check(items, raters, noise, interaction, significance, comparisons)
    error = math.sqrt((2 * interaction**2 + 2 * noise**2 / raters) / items)
    level = significance / comparisons
    if difference == 0:
        return level
    # t² is noncentral F, which SciPy computes where its noncentral t fails, far from 0
    critical = float(scipy.stats.t.ppf(1 - level / 2, items - 1))
    return float(scipy.stats.ncf.sf(critical**2, 1, items - 1, (difference / error) ** 2))


def items_for_ratings(
    difference: float,
    raters: int,
    *,
    noise: float,
    interaction: float = 0.0,
    power: float = 0.8,
    significance: float = 0.05,
    comparisons: int = 1,
) -> int:
    """Return how many items a study needs, so that it finds a difference with the probability `power`; see
    `power_of_ratings`.

    Raises:
        DataError: as `power_of_ratings`; the difference is 0, or so small that ten million items are too few.
    """
    if not 0 < power < 1:
        raise DataError(f"power lies between 0 and 1, got {power}")
    about = {"noise": noise, "interaction": interaction, "significance": significance, "comparisons": comparisons}

    def enough(items: int) -> bool:
        return power_of_ratings(difference, items, raters, **about) >= power  # type: ignore[arg-type]

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            raise DataError(f"no study finds a difference of {difference}: more than {_MOST:,} items would be needed")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(items: int, raters: int, noise: float, interaction: float, significance: float, comparisons: int) -> None:
    if items < 2 or raters < 1 or comparisons < 1:
        raise DataError(f"needs two items, a rater and a comparison, got {items}, {raters} and {comparisons}")
    if not (math.isfinite(noise) and math.isfinite(interaction)) or min(noise, interaction) < 0:
        raise DataError(f"standard deviations are finite and not negative, got {noise} and {interaction}")
    if noise == interaction == 0:
        raise DataError("noise and interaction are both 0: any difference would be found by two items")
    if not 0 < significance < 1:
        raise DataError(f"significance lies between 0 and 1, got {significance}")
