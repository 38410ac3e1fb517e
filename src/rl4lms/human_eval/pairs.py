"""Which systems people prefer: win rates, strengths by Bradley and Terry's model, and an audit of both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

from rl4lms.errors import DataError
from rl4lms.human_eval.table import Comparison
from rl4lms.stats.base import Estimate
from rl4lms.stats.clustered import TWO_WAY, clustered_share, combined
from rl4lms.stats.holm import holm
from rl4lms.stats.preferences import Strengths, bradley_terry


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often one system is preferred to another.

    Attributes:
        first, second: the systems.
        rate: share of comparisons that the first wins, ties counted half, with the p-value of it being one half.
        holm: the p-value adjusted for the number of pairs; None where there is no test.
        wins, ties, losses: of the first, as they were counted.
        identical: how many of the ties are of texts that were the same, which nobody was asked about.
    """

    first: str
    second: str
    rate: Estimate
    holm: float | None
    wins: int
    ties: int
    losses: int
    identical: int


@dataclass(frozen=True, slots=True)
class Strength:
    """A system's strength in log-odds, against the mean of all systems, with an interval over prompts and raters."""

    system: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Audit:
    """What may be wrong with comparisons.

    Attributes:
        left: share of comparisons without ties in which the text that stood first was preferred, with an exact
            binomial interval and the p-value of it being one half; None where all are ties.
        left_by_rater: raters for whom it is not, by the exact test and Holm's correction: (rater, share, p).
        ties: share of comparisons.
        cycles: triples of systems of which each loses to the next by the majority of comparisons.
        prompt_cycles, prompt_triples: of the triples of texts of one prompt in which every pair has a majority, how
            many are cycles. A quarter are where raters choose by chance.
        unstable: raters without whom the order of systems would be another: (rater, order).
    """

    left: Estimate | None
    left_by_rater: Sequence[tuple[int, float, float]]
    ties: float
    cycles: Sequence[tuple[str, str, str]]
    prompt_cycles: int
    prompt_triples: int
    unstable: Sequence[tuple[int, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Preferred:
    """What comparisons say.

    Attributes:
        win_rates: of all pairs that were compared.
        strengths: strongest first; none where the model has no maximum, and `absent` says why.
        audit: see `Audit`.
        comparisons: how many there are, without those of identical texts.
        identical: how many were added as ties for texts that were the same.
    """

    win_rates: Sequence[WinRate]
    strengths: Sequence[Strength]
    absent: str
    audit: Audit
    comparisons: int
    identical: int


def score_pairs(
    asked: Sequence[Comparison], identical: Sequence[Comparison] = (), *, confidence: float = 0.95
) -> Preferred:
    """Score comparisons.

    Args:
        asked: what raters said.
        identical: ties of texts that were the same, see `table.with_identical`.
        confidence: mass of the intervals.

    Raises:
        DataError: there are no comparisons.
    """
    if not asked:
        raise DataError("nobody has compared two systems yet")
    every = [*asked, *identical]
    strengths, absent = _strengths(every, confidence)
    return Preferred(
        _win_rates(every, confidence), strengths, absent, audit(asked, confidence), len(asked), len(identical)
    )


def _win_rates(every: Sequence[Comparison], confidence: float) -> list[WinRate]:
    of_pair: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for one in every:
        of_pair[one.first, one.second].append(one)
    pairs = sorted(of_pair)
    rates = [win_rate(of_pair[pair], confidence=confidence) for pair in pairs]
    adjusted = _holm([rate.p for rate in rates])
    found = []
    for (first, second), rate, p in zip(pairs, rates, adjusted, strict=True):
        own = Counter(one.outcome for one in of_pair[first, second])
        same = sum(one.rater == 0 for one in of_pair[first, second])
        found.append(
            WinRate(first, second, rate, None if rate.p is None else float(p), own[1.0], own[0.5], own[0.0], same)
        )
    return found


def win_rate(comparisons: Sequence[Comparison], *, confidence: float = 0.95) -> Estimate:
    """Estimate how often the first system is preferred, over prompts and raters."""
    return clustered_share(
        [one.outcome for one in comparisons],
        [one.prompt for one in comparisons],
        # ties of identical texts are nobody's: each is a rater of its own, who adds nothing to the others
        [one.rater or one.item for one in comparisons],
        confidence=confidence,
    )


def _strengths(every: Sequence[Comparison], confidence: float) -> tuple[list[Strength], str]:
    try:
        return two_way_strengths(every, confidence=confidence), ""
    except DataError as error:
        return [], str(error)


def two_way_strengths(comparisons: Sequence[Comparison], *, confidence: float = 0.95) -> list[Strength]:
    """Estimate strengths with intervals over prompts and raters.

    Variances are those of `bradley_terry` with clusters of prompts, plus what clusters of raters have more than single
    answers: see `stats.clustered.two_way_variance`.

    Raises:
        DataError: as `bradley_terry`.
    """
    by_prompt = _fitted(comparisons, [one.prompt for one in comparisons], confidence)
    by_rater = _fitted(comparisons, [one.rater or one.item for one in comparisons], confidence)
    by_answer = _fitted(comparisons, [one.answer for one in comparisons], confidence)
    found = []
    for place, (system, own) in enumerate(zip(by_prompt.names, by_prompt.strengths, strict=True)):
        prompts, raters, answers = (float(fit.covariance[place, place]) for fit in (by_prompt, by_rater, by_answer))
        if not np.isfinite(raters) or not np.isfinite(prompts) or by_rater.clusters < 3:
            found.append(Strength(system, own))
            continue
        total, freedom = combined(prompts, by_prompt.clusters - 1, raters, by_rater.clusters - 1, answers)
        half = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2)) * total**0.5
        found.append(Strength(system, Estimate(own.value, own.value - half, own.value + half, own.n, TWO_WAY)))
    return found


def _fitted(comparisons: Sequence[Comparison], clusters: Sequence[Hashable], confidence: float) -> Strengths:
    return bradley_terry(
        [one.first for one in comparisons],
        [one.second for one in comparisons],
        [one.outcome for one in comparisons],
        clusters=clusters,
        confidence=confidence,
    )


def audit(comparisons: Sequence[Comparison], confidence: float = 0.95) -> Audit:
    """Look for what may be wrong with comparisons; see `Audit`."""
    decided = [one for one in comparisons if one.outcome != 0.5]
    left = _left(decided, confidence)
    of_rater: dict[int, list[Comparison]] = defaultdict(list)
    for one in decided:
        of_rater[one.rater].append(one)
    raters = sorted(of_rater)
    shares = [_left(of_rater[rater], confidence) for rater in raters]
    adjusted = _holm([None if share is None else share.p for share in shares])
    biased = [
        (rater, share.value, float(p))
        for rater, share, p in zip(raters, shares, adjusted, strict=True)
        if share is not None and p < 1 - confidence
    ]
    cyclic, triples = _prompt_cycles(comparisons)
    return Audit(
        left, biased, 1 - len(decided) / len(comparisons), _cycles(comparisons), cyclic, triples, _unstable(comparisons)
    )


def _holm(p_values: Sequence[float | None]) -> list[float]:
    """Adjust p-values; what could not be tested counts as a test all the same."""
    return [float(p) for p in holm([1.0 if p is None else p for p in p_values])] if p_values else []


def _left(decided: Sequence[Comparison], confidence: float) -> Estimate | None:
    if not decided:
        return None
    chosen = sum((one.outcome == 1) == one.first_left for one in decided)
    test = scipy.stats.binomtest(chosen, len(decided))
    interval = test.proportion_ci(confidence)
    return Estimate(
        chosen / len(decided),
        float(interval.low),
        float(interval.high),
        len(decided),
        "Clopper-Pearson",
        float(test.pvalue),
    )


def _majorities(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], int]:
    """Return by pair 1 where the first was preferred more often, -1 where the second; nothing where they are equal."""
    sums: Counter[tuple[str, str]] = Counter()
    for one in comparisons:
        sums[one.first, one.second] += int(2 * one.outcome - 1)
    return {pair: 1 if total > 0 else -1 for pair, total in sums.items() if total}


def _cycles(comparisons: Sequence[Comparison]) -> list[tuple[str, str, str]]:
    sign = _majorities(comparisons)
    systems = sorted({name for pair in sign for name in pair})
    found = []
    for a, b, c in combinations(systems, 3):
        if {(a, b), (b, c), (a, c)} <= sign.keys() and sign[a, b] == sign[b, c] != sign[a, c]:
            found.append((a, b, c) if sign[a, b] > 0 else (c, b, a))
    return found


def _prompt_cycles(comparisons: Sequence[Comparison]) -> tuple[int, int]:
    of_prompt: dict[str, list[Comparison]] = defaultdict(list)
    for one in comparisons:
        of_prompt[one.prompt].append(one)
    cyclic = triples = 0
    for own in of_prompt.values():
        sign = _majorities(own)
        systems = sorted({name for pair in sign for name in pair})
        triples += sum({(a, b), (b, c), (a, c)} <= sign.keys() for a, b, c in combinations(systems, 3))
        cyclic += len(_cycles(own))
    return cyclic, triples


def _unstable(comparisons: Sequence[Comparison]) -> list[tuple[int, tuple[str, ...]]]:
    """Return raters without whom the systems would stand in another order by Bradley and Terry's model."""

    def order(of: Sequence[Comparison]) -> tuple[str, ...]:
        try:
            return _fitted(of, [one.prompt for one in of], 0.95).names
        except DataError:
            return ()

    whole = order(comparisons)
    raters = sorted({one.rater for one in comparisons})
    if len(raters) < 2 or not whole:
        return []
    without = {rater: order([one for one in comparisons if one.rater != rater]) for rater in raters}
    return [(rater, names) for rater, names in without.items() if names and names != whole]
