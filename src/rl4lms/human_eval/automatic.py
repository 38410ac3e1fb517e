"""How well automatic metrics agree with people: text by text, and system by system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, get_args

import numpy as np

from rl4lms.errors import DataError
from rl4lms.human_eval.table import Answered, Comparison, Value
from rl4lms.stats.base import Estimate, Kind
from rl4lms.stats.clustered import clustered_correlation
from rl4lms.stats.correlations import correlation_of, williams_test
from rl4lms.stats.holm import holm
from rl4lms.stats.ranking import system_level_correlation

#: Systems from which on a correlation of their means says something: of four, one order in twelve has |τ| = 1.
FEWEST_SYSTEMS = 5
KINDS: tuple[Kind, ...] = get_args(Kind)
#: What is compared, by (prompt, system), or by (prompt, first, second) for pairs.
Scores = Mapping[Any, float]


@dataclass(frozen=True, slots=True)
class MetricAgreement:
    """How well a metric agrees with people on one question.

    Attributes:
        metric, question: which.
        items: by kind the correlation over texts, or over pairs of texts of the differences; intervals take texts of
            one prompt as dependent.
        systems: by kind the correlation of the systems' means over prompts; nothing where `systems_absent` says why.
        accuracy: of pairs, the share in which the metric prefers the text that most raters prefer, ties of the metric
            counted half; None for ratings.
        texts, n_systems: how many there are.
    """

    metric: str
    question: str
    items: Mapping[Kind, Estimate]
    systems: Mapping[Kind, Estimate]
    systems_absent: str
    accuracy: float | None
    texts: int
    n_systems: int


@dataclass(frozen=True, slots=True)
class MetricContrast:
    """Williams's test of two metrics agreeing equally well with people, of Pearson's r over texts, both metrics turned
    so that r is not negative; p is adjusted by Holm's method over the pairs of a question.
    """

    question: str
    first: str
    second: str
    r_first: float
    r_second: float
    t: float
    p: float
    texts: int


def metrics_of(answered: Answered) -> dict[str, dict[tuple[str, str], float]]:
    """Return by metric the value of every text that was judged, by (prompt, system), where it is known."""
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for rating in answered.rated:
        for system, values in zip(rating.systems, rating.values, strict=True):
            if system is not None:
                for metric, value in values.items():
                    found[metric][rating.prompt_id, system] = float(value)
    return dict(found)


def of_values(
    metrics: Mapping[str, Mapping[tuple[str, str], float]],
    values: Sequence[Value],
    question: str,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[list[MetricAgreement], list[MetricContrast], list[str]]:
    """Compare metrics with the mean ratings of texts.

    Args:
        metrics: by name, by (prompt, system).
        values: of one question.
        question: its key.
        confidence, seed: of the intervals.

    Returns:
        The agreement of each metric, tests of every two, and which metrics could not be compared, and why.
    """
    ratings: dict[tuple[str, str], list[float]] = defaultdict(list)
    for value in values:
        ratings[value.prompt, value.system].append(value.value)
    people = {place: fmean(own) for place, own in ratings.items()}
    found, used, absent_ones = [], {}, list[str]()
    for metric, scores in sorted(metrics.items()):
        places = [place for place in people if np.isfinite(scores.get(place, np.nan))]
        items = _items([scores[p] for p in places], [people[p] for p in places], [p[0] for p in places], confidence)
        if isinstance(items, str):
            absent_ones.append(f"{metric} is not compared with people: {items}")
            continue
        used[metric] = scores
        systems, absent = _systems(scores, people, confidence, seed)
        n_systems = len({place[1] for place in places})
        found.append(MetricAgreement(metric, question, items, systems, absent, None, len(places), n_systems))
    return found, _contrasts(used, people, question), absent_ones


def of_comparisons(
    metrics: Mapping[str, Mapping[tuple[str, str], float]],
    comparisons: Sequence[Comparison],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[list[MetricAgreement], list[MetricContrast], list[str]]:
    """Compare differences of metrics with how many raters prefer the first of two texts.

    Args:
        metrics: by name, by (prompt, system).
        comparisons: what raters said.
        confidence, seed: of the intervals.

    Returns:
        The agreement of each metric, tests of every two, and which metrics could not be compared, and why.
    """
    won: dict[tuple[str, ...], list[float]] = defaultdict(list)
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in comparisons:
        won[one.prompt, one.first, one.second].append(one.outcome - 0.5)
        shares[one.prompt, one.first].append(one.outcome)
        shares[one.prompt, one.second].append(1 - one.outcome)
    people = {place: fmean(own) for place, own in won.items()}
    of_text = {place: fmean(own) for place, own in shares.items()}
    found, used, absent_ones = [], {}, list[str]()
    for metric, scores in sorted(metrics.items()):
        gaps = {
            place: scores[place[0], place[1]] - scores[place[0], place[2]]
            for place in people
            if all(np.isfinite(scores.get((place[0], system), np.nan)) for system in place[1:])
        }
        items = _items(list(gaps.values()), [people[p] for p in gaps], [p[0] for p in gaps], confidence)
        if isinstance(items, str):
            absent_ones.append(f"{metric} is not compared with people: {items}")
            continue
        used[metric] = gaps
        judged = [place for place in gaps if people[place] != 0]
        right = [(np.sign(gaps[p]) * np.sign(people[p]) + 1) / 2 for p in judged]
        systems, absent = _systems(scores, of_text, confidence, seed)
        n_systems = len({system for place in gaps for system in place[1:]})
        accuracy = float(np.mean(right)) if right else None
        found.append(MetricAgreement(metric, "choice", items, systems, absent, accuracy, len(gaps), n_systems))
    return found, _contrasts(used, people, "choice"), absent_ones


def _items(
    x: Sequence[float], y: Sequence[float], prompts: Sequence[str], confidence: float
) -> dict[Kind, Estimate] | str:
    """Return the correlations over texts, or why there are none."""
    try:
        return {kind: clustered_correlation(x, y, prompts, kind, confidence=confidence) for kind in KINDS}
    except DataError as error:
        return str(error)


def _systems(
    scores: Mapping[tuple[str, str], float], people: Mapping[tuple[str, str], float], confidence: float, seed: int
) -> tuple[dict[Kind, Estimate], str]:
    """Return the correlations of the systems' means over the prompts for which all have both, or why there are none."""
    systems = sorted({place[1] for place in people})
    if len(systems) < FEWEST_SYSTEMS:
        return {}, (
            f"{len(systems)} systems are too few for a correlation of systems ({FEWEST_SYSTEMS} at least): chance "
            "orders so few as people do too often"
        )
    prompts = [
        prompt
        for prompt in sorted({place[0] for place in people})
        if all((prompt, s) in people and np.isfinite(scores.get((prompt, s), np.nan)) for s in systems)
    ]
    if not prompts:
        return {}, "no prompt has a rating and a value of the metric for every system"
    x, y = ([[of[prompt, s] for s in systems] for prompt in prompts] for of in (scores, people))
    try:
        return {k: system_level_correlation(x, y, k, confidence=confidence, seed=seed) for k in KINDS}, ""
    except DataError as error:
        return {}, str(error)


def _contrasts(used: Mapping[str, Scores], people: Scores, question: str) -> list[MetricContrast]:
    found = []
    for one, other in combinations(sorted(used), 2):
        places = [p for p in people if all(np.isfinite(used[m].get(p, np.nan)) for m in (one, other))]
        human = np.array([people[p] for p in places])
        x, y = (np.array([used[m][p] for p in places]) for m in (one, other))
        if len(places) < 4:
            continue
        first, second = (correlation_of(side, human, "pearson") for side in (x, y))
        between = correlation_of(x, y, "pearson")
        if not np.isfinite([first, second, between]).all():
            continue
        between *= float(np.sign(first) or 1) * float(np.sign(second) or 1)
        t, p = williams_test(abs(first), abs(second), between, len(places))
        found.append(MetricContrast(question, one, other, abs(first), abs(second), t, p, len(places)))
    adjusted: Sequence[float] = list(holm([one.p for one in found])) if found else []
    return [
        MetricContrast(c.question, c.first, c.second, c.r_first, c.r_second, c.t, float(p), c.texts)
        for c, p in zip(found, adjusted, strict=True)
    ]
