"""The error of a difference between two systems on the same prompts, with one seed or several.

With one seed a difference has one known source of error, the choice of prompts. With two seeds or more of each system
it has two: other prompts would have given another difference, and so would other training runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rl4lms.errors import DataError, plural
from rl4lms.stats.intervals import mean_ci, mean_stderr

Array = NDArray[np.float64]

#: What an error covers: which others of the kind might have been drawn.
PROMPTS, SEEDS, BOTH, NOTHING = "prompts", "seeds", "prompts and seeds", ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A mean, or a difference of two, with its error.

    Attributes:
        value: the mean over prompts and seeds, or the difference.
        stderr: its standard error; None where the data say nothing of it.
        low, high: a confidence interval; infinite where the error is not known.
        over: what the error covers: `prompts`, `prompts and seeds`, `seeds`, or nothing.
        prompts: how many have a value in every run; 0 for a number of the whole set.
        seeds: how many runs of each system.
    """

    value: float
    stderr: float | None
    low: float
    high: float
    over: str
    prompts: int
    seeds: tuple[int, ...]


def contrast(ours: ArrayLike, theirs: ArrayLike | None = None, *, confidence: float = 0.95) -> Contrast:
    """Estimate the difference of two systems' means over the same prompts, or the mean of one system.

    Prompts are crossed with seeds: every run answers all of them. With one seed of a system the error is that over
    prompts alone, of the differences prompt by prompt (means over seeds first), with the interval of `stats.mean_ci`.
    With several seeds of each, the variance is that of a two-way layout (Searle, Casella and McCulloch, 1992, ch. 5):

        V = V_prompts + V_seeds - V_rest

    V_prompts is the variance of the mean of the differences over prompts, V_seeds the sum over systems of the variance
    of the mean of its seeds' means, V_rest that of what neither explains, which is in both. V is no less than either of
    the first two. The interval is that of t with Satterthwaite's degrees of freedom: three seeds have few of them, and
    a percentile bootstrap over seeds would be too narrow. Coverage of the nominal 95 % interval of a difference of 0 on
    64 prompts, 4,000 samples each, by the standard deviation σ of a system's training runs, where that of the
    differences between prompts is 1, and of what is drawn anew for each completion 1:

        σ                    0        0.1      0.3      1
        three seeds each     0.962    0.951    0.945    0.953
        one seed each        0.949    0.918    0.631    0.239

    Of the mean of one system with three seeds (2,000 samples each) it is 0.960, 0.961, 0.938 and 0.917; where training
    runs are skewed as exponential values are, 0.962, 0.954, 0.927 and 0.846. `stats.mean_ci` of the means of the three
    seeds covers the mean over prompts and seeds in 0.892, 0.919, 0.960 and 0.967, with intervals twice as wide: it
    knows nothing of prompts, nor how sure the mean of each seed is.

    Args:
        ours, theirs: (seeds, prompts), prompts in the same order; NaN where a prompt has no value, which is then left
            out of all runs.
        confidence: mass of the interval.

    Raises:
        DataError: the shapes do not fit, or no prompt has a value in every run.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in (ours, theirs) if group is not None]
    if any(group.ndim != 2 or group.shape[1] != groups[0].shape[1] for group in groups):
        shapes = ", ".join(str(group.shape) for group in groups)
        raise DataError(f"paired values are tables (seeds, prompts) of the same prompts; got {shapes}")
    there = np.all([np.isfinite(group).all(0) for group in groups], axis=0)
    if not there.any():
        raise DataError("no prompt has a value in every run, so there is nothing to compare")
    groups = [group[:, there] for group in groups]
    seeds = tuple(len(group) for group in groups)
    means = [group.mean(0) for group in groups]
    each = means[0] if theirs is None else means[0] - means[1]
    n = len(each)
    value, error = mean_stderr(each)
    if error is None or min(seeds) < 2:
        found = mean_ci(each, confidence=confidence)
        return Contrast(value, error, found.low, found.high, PROMPTS if error is not None else NOTHING, n, seeds)
    by_seed = [group.mean(1) for group in groups]
    parts = [(error**2, n - 1)] + [(m.var(ddof=1) / len(m), len(m) - 1) for m in by_seed]
    rest = sum(_rest(group) for group in groups)
    between = sum(variance for variance, _ in parts[1:])
    variance = max(error**2, between, error**2 + between - rest)
    low, high = _t_interval(value, variance, parts, confidence)
    return Contrast(value, float(np.sqrt(variance)), low, high, BOTH, n, seeds)


def contrast_of_sets(ours: ArrayLike, theirs: ArrayLike | None = None, *, confidence: float = 0.95) -> Contrast:
    """Estimate the same for a metric with one value for the whole set, such as a perplexity: over seeds, by Welch's t.

    Args:
        ours, theirs: (seeds,).
        confidence: mass of the interval.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in (ours, theirs) if group is not None]
    seeds = tuple(len(group) for group in groups)
    value = float(groups[0].mean() - (groups[1].mean() if theirs is not None else 0.0))
    if min(seeds) < 2:
        return Contrast(value, None, -np.inf, np.inf, NOTHING, 0, seeds)
    parts = [(group.var(ddof=1) / len(group), len(group) - 1) for group in groups]
    variance = sum(variance for variance, _ in parts)
    low, high = _t_interval(value, variance, parts, confidence)
    return Contrast(value, float(np.sqrt(variance)), low, high, SEEDS, 0, seeds)


_METHODS = {
    PROMPTS: "t after Hall's transformation, over {prompts}",
    BOTH: "t with Satterthwaite's degrees of freedom, over {prompts} and {seeds}",
    SEEDS: "Welch's t, over {seeds}",
}


def methods(each: Iterable[tuple[str, int, Sequence[int]]]) -> str:
    """Name the method of intervals and how many values they are of; empty where none is known.

    Args:
        each: of every interval what it covers, its prompts, and the seeds of each system, as in `Contrast`.
    """
    known = list(each)
    said = []
    for over, method in _METHODS.items():
        prompts = [n for covers, n, _ in known if covers == over]
        seeds = [n for covers, _, of_systems in known if covers == over for n in of_systems]
        if prompts:
            said.append(method.format(prompts=f"n = {_span(prompts, 'prompt')}", seeds=_span(seeds, "seed")))
    return "; ".join(said)


def _span(counts: Sequence[int], what: str) -> str:
    least, most = min(counts), max(counts)
    return plural(most, what) if least == most else f"{least:,} to {plural(most, what)}"


def _rest(group: Array) -> float:
    """Return the variance of a system's mean that comes from what neither prompts nor seeds explain."""
    seeds, prompts = group.shape
    left = group - group.mean(0) - group.mean(1, keepdims=True) + group.mean()
    return float((left**2).sum() / ((seeds - 1) * (prompts - 1)) / group.size)


def _t_interval(
    value: float, variance: float, parts: list[tuple[float, int]], confidence: float
) -> tuple[float, float]:
    """Return value ± t · √variance, with Satterthwaite's (1946) degrees of freedom of a sum of independent variances.

    Args:
        value: the middle.
        variance: of it.
        parts: variance and degrees of freedom of each source.
        confidence: mass of the interval.
    """
    weight = sum(part**2 / freedom for part, freedom in parts)
    if variance == 0 or weight == 0:
        return value, value
    freedom = sum(part for part, _ in parts) ** 2 / weight
    half = float(special.stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance))
    return value - half, value + half
