"""Several tests at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Array


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values for the number of tests: whatever is at most α, the chance of any false rejection is at most α.

    Sorted from the smallest on, p_(i) becomes the largest of (m - j + 1) p_(j) over j ≤ i, cut at 1 (Holm, 1979, "A
    simple sequentially rejective multiple test procedure"). Nothing is assumed of how the tests depend on each other.

    Args:
        p_values: (m,).

    Returns:
        (m,) in the order of `p_values`.

    Raises:
        DataError: one is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("p-values must be a flat list of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted
