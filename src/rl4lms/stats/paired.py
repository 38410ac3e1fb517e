"""The error of a difference between two systems on the same prompts, with one seed or several.

With one seed a difference has one known source of error, the choice of prompts. With two seeds or more of each system
it has two: other prompts would have given another difference, and so would other training runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

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
        freedom: degrees of freedom of t; None with one seed, where the error over training runs is not known.
        cautious: those of tests of many pairs; see `contrast`.
    """

    value: float
    stderr: float | None
    low: float
    high: float
    over: str
    prompts: int
    seeds: tuple[int, ...]
    freedom: float | None = None
    cautious: float | None = None

    @property
    def p_value(self) -> float | None:
        """Two-sided p-value of the value being 0, by the t of the interval; None where `freedom` is."""
        return self._p_value(self.freedom)

    @property
    def cautious_p_value(self) -> float | None:
        """The same with the degrees of freedom `cautious`: for Holm's correction of many pairs."""
        return self._p_value(self.cautious)

    def _p_value(self, freedom: float | None) -> float | None:
        if freedom is None or self.stderr is None:
            return None
        if self.stderr == 0:
            return float(self.value == 0)
        return float(2 * scipy.special.stdtr(freedom, -abs(self.value) / self.stderr))


def contrast(
    ours: ArrayLike,
    theirs: ArrayLike | None = None,
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Contrast:
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

    Prompts of one document are no independent draws. With `clusters` all variances are those between documents: the
    layout has the values of `cluster_values` in place of prompts.

    Satterthwaite's degrees of freedom take the estimated variances for the true ones, which far out in the tails of t,
    where tests of many pairs decide, is not cautious enough: of six equal systems with three seeds and σ = 0.3, Holm's
    correction of these p-values calls some pair different in 11 to 14 % of boards rather than 5 %. `cautious` is no
    more than the degrees of freedom of V_seeds alone, which are Welch's, unless V_seeds is at most half of V_rest,
    where training runs show no variance of their own; see `stats.ranks` for what it reaches.

    Args:
        ours, theirs: (seeds, prompts), prompts in the same order; NaN where a prompt has no value, which is then left
            out of all runs.
        clusters: (prompts,) the document of each prompt; None where every prompt is its own.
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
    groups, prompts = [group[:, there] for group in groups], int(there.sum())
    if clusters is not None:
        groups = [cluster_values(group, _kept(clusters, there)) for group in groups]
    seeds = tuple(len(group) for group in groups)
    means = [group.mean(0) for group in groups]
    each = means[0] if theirs is None else means[0] - means[1]
    n = len(each)
    value, error = mean_stderr(each)
    if error is None or min(seeds) < 2:
        found = mean_ci(each, confidence=confidence)
        return Contrast(value, error, found.low, found.high, PROMPTS if error is not None else NOTHING, prompts, seeds)
    by_seed = [group.mean(1) for group in groups]
    parts = [(error**2, n - 1)] + [(m.var(ddof=1) / len(m), len(m) - 1) for m in by_seed]
    rest = sum(_rest(group) for group in groups)
    between = sum(variance for variance, _ in parts[1:])
    variance = max(error**2, between, error**2 + between - rest)
    low, high, freedom = _t_interval(value, variance, parts, confidence)
    *_, of_seeds = _t_interval(value, between, parts[1:], confidence)
    cautious = freedom if between <= rest / 2 else min(freedom, of_seeds)
    return Contrast(value, float(np.sqrt(variance)), low, high, BOTH, prompts, seeds, freedom, cautious)


def cluster_values(table: ArrayLike, clusters: Sequence[Hashable]) -> Array:
    """Return a value for each cluster of prompts: they have the mean of the prompts, and its error between clusters.

    The mean m of N prompts in G clusters is a ratio, of the sum of the clusters' totals and that of their sizes. The
    value of a cluster is m + G/N Σ (x - m) over its prompts, so that the variance of the mean of these values is the
    cluster-robust one, G/(G-1) Σ_g (Σ (x - m))² / N² (Liang and Zeger, 1986; Cameron and Miller, 2015, eq. 11).

    Args:
        table: (seeds, prompts); NaN where a prompt has no value, in all rows alike.
        clusters: (prompts,) the document of each prompt.

    Returns:
        (seeds, clusters), in the order in which the clusters first stand there. Where every prompt is its own cluster
        and has a value, that is the table itself.

    Raises:
        DataError: there is not one cluster for each prompt, no prompt has a value, or one has in some rows only.
    """
    values = np.asarray(table, dtype=np.float64)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    if values.ndim != 2 or values.shape[1] != len(clusters):
        raise DataError(f"there must be a cluster for each prompt; got {len(clusters)} for values {values.shape}")
    there = np.isfinite(values)
    if not there.any() or (there != there[0]).any():
        raise DataError("clusters need prompts that have a value in every run")
    if len(numbers) == len(clusters) and there.all():
        return values
    kept, place = there[0], np.array([numbers[name] for name in clusters])
    means = values[:, kept].mean(1, keepdims=True)
    totals = [np.bincount(place[kept], row, len(numbers)) for row in values[:, kept] - means]
    return means + len(numbers) / kept.sum() * np.array(totals)


def _kept(clusters: Sequence[Hashable], there: NDArray[np.bool_]) -> list[Hashable]:
    if len(clusters) != len(there):
        raise DataError(f"there must be a cluster for each prompt; got {len(clusters)} for {len(there)} prompts")
    return [name for name, kept in zip(clusters, there, strict=True) if kept]


def mean_contrast(each: Sequence[Contrast], *, confidence: float = 0.95) -> Contrast:
    """Return the mean of independent contrasts, such as those of tasks: variances add, degrees of freedom by
    Satterthwaite (1946).

    Args:
        each: one or more.
        confidence: mass of the interval, which is infinite where the error of one of them is not known.
    """
    value, prompts = float(np.mean([one.value for one in each])), sum(one.prompts for one in each)
    seeds = min(one.seeds for one in each)
    variances = [(one.stderr / len(each)) ** 2 for one in each if one.stderr is not None]
    freedoms = [one.freedom for one in each if one.freedom is not None]
    careful = [one.cautious for one in each if one.cautious is not None]
    if not len(variances) == len(freedoms) == len(careful) == len(each):
        return Contrast(value, None, -np.inf, np.inf, NOTHING, prompts, seeds)
    variance = sum(variances)
    low, high, freedom = _t_interval(value, variance, list(zip(variances, freedoms, strict=True)), confidence)
    *_, cautious = _t_interval(value, variance, list(zip(variances, careful, strict=True)), confidence)
    return Contrast(value, float(np.sqrt(variance)), low, high, BOTH, prompts, seeds, freedom, cautious)


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
    low, high, freedom = _t_interval(value, variance, parts, confidence)
    return Contrast(value, float(np.sqrt(variance)), low, high, SEEDS, 0, seeds, freedom, freedom)


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
    value: float, variance: float, parts: Sequence[tuple[float, float]], confidence: float
) -> tuple[float, float, float]:
    """Return value ± t · √variance, and the degrees of freedom of t.

    They are Satterthwaite's (1946), of a sum of independent variances.

    Args:
        value: the middle.
        variance: of it.
        parts: variance and degrees of freedom of each source.
        confidence: mass of the interval.
    """
    weight = sum(part**2 / freedom for part, freedom in parts)
    if variance == 0 or weight == 0:
        return value, value, np.inf
    freedom = sum(part for part, _ in parts) ** 2 / weight
    half = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance))
    return value - half, value + half, float(freedom)
