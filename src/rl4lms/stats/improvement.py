"""How likely a run of one system is to be better than a run of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rl4lms.errors import DataError
from rl4lms.stats.base import Estimate, finite, percentile_estimate


def probability_of_improvement(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate P(X > Y), that a run of ours is better than one of theirs on a task drawn at random; ties count half.

    It is the share of pairs of runs in which ours is better, the mean over tasks (Agarwal et al., 2021, arXiv
    2108.13264, section 4.3). The interval is a percentile bootstrap of runs within each task and system.
    Coverage of the nominal 95 % interval on seven tasks, of normal runs whose means differ by 0, 0.5 and 1 of their
    standard deviation, 1,000 samples each: 0.924, 0.921, 0.911 with three runs of each, 0.938, 0.932, 0.940 with five,
    0.943, 0.943, 0.944 with ten. Where every run of one system is better than every run of the other, the interval is a
    point: it then says less than it seems to.

    Args:
        ours, theirs: of each task the scores of the runs, higher for better; the tasks in the same order.
        confidence: mass of the interval.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        The estimate; `n` is the number of runs of ours.

    Raises:
        DataError: the tasks differ in number, there are none, or a score is not finite.
    """
    if len(ours) != len(theirs) or not len(ours):
        raise DataError(f"both systems need scores on the same tasks; got {len(ours)} and {len(theirs)} tasks")
    rng = np.random.default_rng(seed)
    value, draws, n = 0.0, np.zeros(resamples), 0
    for first, second in zip(map(finite, ours), map(finite, theirs), strict=True):
        wins = (first[:, None] > second) + 0.5 * (first[:, None] == second)
        drawn = [
            rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=resamples) / len(runs)
            for runs in (first, second)
        ]
        value += float(wins.mean()) / len(ours)
        draws += ((drawn[0] @ wins) * drawn[1]).sum(1) / len(ours)
        n += len(first)
    return percentile_estimate(value, draws, confidence, n)
