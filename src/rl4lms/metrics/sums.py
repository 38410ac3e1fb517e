"""Values of a whole set that come from sums over its texts, with what compares two systems."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl4lms.stats import bootstrap_stderr
from rl4lms.types import CorpusValue, Sums

Array = NDArray[np.float64]


def corpus_value(rows: ArrayLike, value: Callable[[Array], Array], n: int | None = None) -> CorpusValue:
    """Return a value of a whole set, with its error by the bootstrap over texts (200 samples, seeded).

    Args:
        rows: (B, S) statistics of each text, which are summed up over the set.
        value: from sums (R, S) to values (R,), NaN for sums that have none; such bootstrap samples are left out.
        n: how many texts it is about, where not B.
    """
    statistics = np.asarray(rows, dtype=np.float64)
    draws = value(resampled_sums(statistics)) if len(statistics) > 1 else np.empty(0)
    error = bootstrap_stderr(draws[~np.isnan(draws)], len(statistics))
    return CorpusValue(float(value(statistics.sum(0, keepdims=True))[0]), error, n, Sums(statistics, value))


def resampled_sums(rows: ArrayLike, resamples: int = 200, seed: int = 0) -> Array:
    """Column sums of as many rows drawn with replacement, `resamples` times: the bootstrap of additive statistics.

    Args:
        rows: (B, S) statistics of each text.

    Returns:
        (resamples, S).
    """
    statistics = np.asarray(rows, dtype=np.float64)
    n = len(statistics)
    how_often = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return how_often.astype(np.float64) @ statistics


def ratio(sums: Array) -> Array:
    """Return the first sum over the second; NaN where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
