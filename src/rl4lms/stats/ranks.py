"""Ranks of systems as intervals, from tests of all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rl4lms.errors import DataError
from rl4lms.stats.holm import holm


@dataclass(frozen=True, slots=True)
class Rank:
    """The place of a system among m.

    Attributes:
        rank: 1 + how many have a better value; systems with one value share it.
        low, high: the interval.
    """

    rank: int
    low: int
    high: int

    def __str__(self) -> str:
        """Return `2` or `2-4`."""
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def rank_intervals(
    values: Sequence[float],
    p_values: Mapping[tuple[int, int], float | None],
    *,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> list[Rank]:
    """Return intervals that hold the true ranks of all systems at once, with a probability of 1 - α.

    The rank of a system among m is in [1 + number of significantly better ones, m - number of significantly worse
    ones], by the p-values of all pairs after Holm's correction. No pair is wrongly called different with a probability
    of 1 - α, and then all intervals are right (Al Mohamad, Goeman and van Zwet, 2022, Biometrics 78; Mogstad, Romano,
    Shaikh and Wilhelm, 2024, Review of Economic Studies 91). Where systems are truly equal, their intervals hold every
    rank that they may take.

    On 1,000 boards each of six systems, on 100 prompts, with `Contrast.cautious_p_value`; training runs deviate by σ
    where what is drawn anew for each completion deviates by 1. A cell has the worst of σ = 0.05, 0.15, 0.3 and 1, with
    documents the worst of 0.05 and 0.3 (of two equal systems 0.3 alone); where the row names two, three systems have
    the first and three the second (`pytest -m slow tests/unit/stats/test_ranks.py`):

                                            intervals that hold    boards where all do    equal ones called different
        seeds                               3        5             3        5             3        5
        six equal systems                   0.988    0.991         0.966    0.976         0.034    0.024
        two equal of six, 0.3 apart         1.000    1.000         0.997    0.997         0.002    0.002
        six equal, skewed, documents of 4   0.995    0.996         0.986    0.988         0.014    0.012
        two equal of six, documents of 4    1.000    1.000         1.000    1.000         0.000    0.000
        six equal, σ = 0 and 1              0.980    0.992         0.957    0.985         0.043    0.015
        six equal, σ = 0.1 and 1            0.979    0.991         0.952    0.982         0.048    0.018

    Args:
        values: (m,) of the systems.
        p_values: by pair (i, j), i < j: two-sided, of the difference of i and j being 0, such as
            `Contrast.cautious_p_value`; None where it could not be tested, which is never significant.
        higher_is_better: which end is the first rank.
        alpha: chance that any interval is wrong.

    Raises:
        DataError: a value is not finite, or a pair is missing.
    """
    if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
        raise DataError("ranks need finite values; leave out systems that have none")
    pairs = list(combinations(range(len(values)), 2))
    missing = [pair for pair in pairs if pair not in p_values]
    if missing:
        raise DataError(f"ranks need a test of every pair of systems; none of {missing[0]}")
    sign = 1.0 if higher_is_better else -1.0
    # what was not tested still counts as a test: others are not surer for it
    raw = [1.0 if (p := p_values[pair]) is None else p for pair in pairs]
    better, worse = [0] * len(values), [0] * len(values)
    for (i, j), p in zip(pairs, holm(raw), strict=True):
        if p <= alpha and values[i] != values[j]:
            first, second = (i, j) if sign * values[i] > sign * values[j] else (j, i)
            worse[first] += 1
            better[second] += 1
    return [
        Rank(1 + sum(sign * other > sign * value for other in values), 1 + better[i], len(values) - worse[i])
        for i, value in enumerate(values)
    ]
