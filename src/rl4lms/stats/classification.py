"""Scores and probabilities against outcomes that are true or false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import paired


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive has a higher score than a negative, ties counted half.

    Args:
        scores: (n,) higher for what is more likely positive.
        positive: (n,) true or false.

    Raises:
        DataError: the lengths differ, a score is not finite, or one of the two classes is not there.
    """
    x, y = paired(scores, np.asarray(positive, dtype=np.float64))
    is_positive = y > 0.5
    n_positive = int(is_positive.sum())
    n_negative = len(y) - n_positive
    if not n_positive or not n_negative:
        raise DataError("the area under a ROC curve needs positives and negatives")
    ranks = scipy.stats.rankdata(x)
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities agree with what happens.

    Attributes:
        predicted, observed, counts: of each bin that is not empty: the mean probability, the share of positives, the
            number of rows.
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
    p, y = paired(probabilities, np.asarray(positive, dtype=np.float64))
    if p.min() < 0 or p.max() > 1:
        raise DataError("probabilities lie between 0 and 1")
    place = np.minimum((p * bins).astype(int), bins - 1)
    rows = [np.flatnonzero(place == b) for b in range(bins)]
    kept = [(float(p[r].mean()), float(y[r].mean()), len(r)) for r in rows if len(r)]
    predicted, observed, counts = zip(*kept, strict=True)
    error = sum(abs(a - b) * n for a, b, n in kept) / len(p)
    return Calibration(predicted, observed, counts, error)
