"""Scores of systems on a scale: means with intervals, differences, tests of groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rl4lms.errors import DataError
from rl4lms.human_eval.table import Value
from rl4lms.stats.base import Array, Estimate
from rl4lms.stats.clustered import clustered_estimate, mean_of_clusters
from rl4lms.stats.groups import GroupTest, PairTest, anova, dunn, kruskal_wallis, tukey_hsd
from rl4lms.stats.holm import holm
from rl4lms.stats.intervals import bootstrap_ci
from rl4lms.stats.ranks import Rank, rank_intervals


@dataclass(frozen=True, slots=True)
class SystemScore:
    """How people rate a system.

    Attributes:
        system: its name.
        mean: over prompts of the mean rating of each, with an interval over prompts and raters.
        over_prompts: the same with a bootstrap over prompts alone: what these raters would say of other prompts.
        deviation: standard deviation of the ratings.
        ratings: how many there are.
        rank: with the interval of `stats.rank_intervals`.
    """

    system: str
    mean: Estimate
    over_prompts: Estimate
    deviation: float
    ratings: int
    rank: Rank


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one system is rated than another.

    Attributes:
        first, second: the systems.
        estimate: of the difference of their means, over prompts and raters, with the p-value of there being none.
        holm: the p-value adjusted for the number of pairs; None where there is no test.
    """

    first: str
    second: str
    estimate: Estimate
    holm: float | None


@dataclass(frozen=True, slots=True)
class GroupTests:
    """The tests of the paper, which take all ratings as independent, and those by ranks.

    Attributes:
        anova, tukey: one-way analysis of variance, and all pairs after it.
        kruskal, dunn: Kruskal-Wallis, and all pairs after it.
        absent: why there are none.
    """

    anova: GroupTest | None
    tukey: Sequence[PairTest]
    kruskal: GroupTest | None
    dunn: Sequence[PairTest]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class QuestionScores:
    """What people said to one question of a Likert form.

    Attributes:
        key, text: of the question.
        systems: best first.
        differences: of all pairs.
        tests: of all systems being alike.
    """

    key: str
    text: str
    systems: Sequence[SystemScore]
    differences: Sequence[Difference]
    tests: GroupTests


def score_question(
    key: str, text: str, values: Sequence[Value], *, confidence: float = 0.95, seed: int = 0
) -> QuestionScores:
    """Score every system by one question.

    Args:
        key, text: of the question.
        values: to this question.
        confidence: mass of the intervals.
        seed: of the bootstrap.

    Raises:
        DataError: there are no values.
    """
    if not values:
        raise DataError(f"question {key!r}: nobody has answered it yet")
    of_system: dict[str, list[Value]] = defaultdict(list)
    for value in values:
        of_system[value.system].append(value)
    means = {system: mean_estimate(own, confidence=confidence) for system, own in of_system.items()}
    order = sorted(means, key=lambda system: (-means[system].value, system))
    differences = _differences(of_system, order, confidence)
    p_values = {(order.index(one.first), order.index(one.second)): one.estimate.p for one in differences}
    ranks = rank_intervals([means[system].value for system in order], p_values, alpha=1 - confidence)
    systems = []
    for place, system in enumerate(order):
        own = np.array([value.value for value in of_system[system]])
        systems.append(
            SystemScore(
                system,
                means[system],
                bootstrap_ci(_prompt_means(of_system[system]), confidence=confidence, seed=seed),
                float(own.std(ddof=1)) if len(own) > 1 else float("nan"),
                len(own),
                ranks[place],
            )
        )
    groups = {system: [value.value for value in of_system[system]] for system in sorted(order)}
    return QuestionScores(key, text, systems, differences, group_tests(groups, confidence))


def mean_estimate(values: Sequence[Value], *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean over prompts of the mean rating of each, with an interval over prompts and raters."""
    mean, influence = mean_of_clusters([one.value for one in values], [one.prompt for one in values])
    return clustered_estimate(
        mean, influence, [one.prompt for one in values], [one.rater for one in values], confidence=confidence
    )


def difference_estimate(first: Sequence[Value], second: Sequence[Value], *, confidence: float = 0.95) -> Estimate:
    """Estimate the difference of two systems' means. Ratings of one prompt or by one rater are taken as dependent, so
    that what prompts and raters add to both drops out.
    """
    one, own = mean_of_clusters([value.value for value in first], [value.prompt for value in first])
    other, theirs = mean_of_clusters([value.value for value in second], [value.prompt for value in second])
    both = [*first, *second]
    return clustered_estimate(
        one - other,
        np.concatenate([own, -theirs]),
        [value.prompt for value in both],
        [value.rater for value in both],
        confidence=confidence,
        test=True,
    )


def _differences(of_system: Mapping[str, Sequence[Value]], order: Sequence[str], confidence: float) -> list[Difference]:
    pairs = list(combinations(order, 2))
    found = [difference_estimate(of_system[one], of_system[other], confidence=confidence) for one, other in pairs]
    tested = [place for place, estimate in enumerate(found) if estimate.p is not None]
    # what could not be tested counts as a test all the same
    adjusted: Sequence[float] = list(holm([1.0 if e.p is None else e.p for e in found])) if found else []
    return [
        Difference(one, other, found[place], float(adjusted[place]) if place in tested else None)
        for place, (one, other) in enumerate(pairs)
    ]


def group_tests(groups: Mapping[str, Sequence[float]], confidence: float) -> GroupTests:
    """Run the tests of all systems being alike; where the values allow none, say why."""
    if single := [name for name, own in groups.items() if len(own) < 2]:
        return GroupTests(None, (), None, (), f"fewer than two ratings of {', '.join(single)}")
    try:
        return GroupTests(anova(groups), tukey_hsd(groups, confidence=confidence), kruskal_wallis(groups), dunn(groups))
    except DataError as error:
        return GroupTests(None, (), None, (), str(error))


def _prompt_means(values: Sequence[Value]) -> Array:
    of_prompt: dict[str, list[float]] = defaultdict(list)
    for value in values:
        of_prompt[value.prompt].append(value.value)
    return np.array([float(np.mean(own)) for own in of_prompt.values()])
