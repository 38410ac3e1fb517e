"""How large a study must be, from the noise that was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rl4lms.errors import DataError
from rl4lms.human_eval.table import Comparison, Value
from rl4lms.stats.power import items_for_ratings, power_of_ratings


@dataclass(frozen=True, slots=True)
class Noise:
    """What makes ratings differ, as standard deviations.

    Attributes:
        noise: of a rater's ratings of one text about what the rater gives on average.
        interaction: over prompts of how much better one system is there than on average.
        prompts, per_item: of the study: how many prompts, and how many raters each text has.
        comparisons: pairs of systems that are tested together.
    """

    noise: float
    interaction: float
    prompts: int
    per_item: int
    comparisons: int


@dataclass(frozen=True, slots=True)
class Needed:
    """What finds a difference with a power of 0.8.

    Attributes:
        difference: of two means; of win rates, from one half.
        power: of the study as it is.
        prompts: by raters of each item, how many prompts are needed; None where no study finds it.
    """

    difference: float
    power: float
    prompts: dict[int, int | None]


DIFFERENCES = (0.1, 0.2, 0.3, 0.5)
WIN_RATES = (0.55, 0.6, 0.65, 0.7)
RATERS = (1, 3, 5)


def noise_of_values(values: Sequence[Value]) -> Noise | str:
    """Measure the noise of one question; return why it cannot be.

    Noise is the standard deviation about the additive model of texts and raters. What is left of the variance of two
    systems' differences over prompts, once noise is taken away, is twice the interaction's.
    """
    of_text: dict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in values:
        of_text[value.prompt, value.system].append(value)
    systems, prompts = sorted({value.system for value in values}), sorted({value.prompt for value in values})
    if len(systems) < 2 or len(prompts) < 3:
        return "noise is measured with two systems and three prompts or more"
    several = [own for own in of_text.values() if len(own) > 1]
    if not several:
        return "no text has two ratings, so noise and differences between texts cannot be told apart"
    noise = _residual(several)
    spread = []
    for one, other in combinations(systems, 2):
        both = [p for p in prompts if (p, one) in of_text and (p, other) in of_text]
        if len(both) > 2:
            differences = [_mean(of_text[p, one]) - _mean(of_text[p, other]) for p in both]
            share = float(np.mean([1 / len(of_text[p, one]) + 1 / len(of_text[p, other]) for p in both]))
            spread.append(float(np.var(differences, ddof=1)) - noise**2 * share)
    interaction = float(np.sqrt(max(float(np.mean(spread)), 0.0) / 2)) if spread else 0.0
    per_item = round(float(np.median([len(own) for own in of_text.values()])))
    return Noise(noise, interaction, len(prompts), per_item, len(systems) * (len(systems) - 1) // 2)


def _mean(values: Sequence[Value]) -> float:
    return float(np.mean([value.value for value in values]))


def _residual(several: Sequence[Sequence[Value]]) -> float:
    """Return the standard deviation about text + rater."""
    shared = [value for own in several for value in own]
    raters = sorted({value.rater for value in shared})
    place = {rater: number for number, rater in enumerate(raters)}
    t = np.repeat(np.arange(len(several)), [len(own) for own in several])
    y = np.array([value.value for value in shared])
    design = np.zeros((len(y), len(raters)))
    design[np.arange(len(y)), [place[value.rater] for value in shared]] = 1
    counts = np.bincount(t)

    def within(column: np.ndarray) -> np.ndarray:
        return column - (np.bincount(t, column) / counts)[t]

    centred = np.apply_along_axis(within, 0, design)
    left = within(y)
    fitted, _, rank, _ = np.linalg.lstsq(centred, left, rcond=None)
    residual = left - centred @ fitted
    freedom = len(y) - len(counts) - int(rank)
    return float(np.sqrt((residual**2).sum() / freedom)) if freedom > 0 else float(np.std(left))


def noise_of_comparisons(comparisons: Sequence[Comparison]) -> Noise | str:
    """Measure the noise of wins, 1, 0.5 and 0, within and between items; return why it cannot be."""
    of_item: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in comparisons:
        of_item[one.prompt, one.first, one.second].append(one.outcome)
    several = [own for own in of_item.values() if len(own) > 1]
    if not several or len(of_item) < 3:
        return (
            "no pair of texts was compared by two raters, so noise and differences between texts cannot be told apart"
        )
    noise = float(np.sqrt(np.mean([np.var(own, ddof=1) for own in several])))
    pairs = sorted({key[1:] for key in of_item})
    between = []
    for pair in pairs:
        means = [float(np.mean(own)) for key, own in of_item.items() if key[1:] == pair]
        share = float(np.mean([1 / len(own) for key, own in of_item.items() if key[1:] == pair]))
        if len(means) > 2:
            between.append(float(np.var(means, ddof=1)) - noise**2 * share)
    interaction = float(np.sqrt(max(float(np.mean(between)), 0.0))) if between else 0.0
    prompts = len({key[0] for key in of_item})
    per_item = round(float(np.median([len(own) for own in of_item.values()])))
    # a win rate is one mean and no difference of two: half the variance that a difference has
    return Noise(noise / np.sqrt(2), interaction / np.sqrt(2), prompts, per_item, len(pairs))


def needed(noise: Noise, differences: Sequence[float], raters: Sequence[int] = RATERS) -> list[Needed]:
    """Say how many prompts find each difference with a power of 0.8, p-values of all pairs adjusted.

    Args:
        noise: that was measured.
        differences: of two means.
        raters: of each item.
    """
    about = {"noise": noise.noise, "interaction": noise.interaction, "comparisons": noise.comparisons}
    found = []
    for difference in differences:
        of_raters: dict[int, int | None] = {}
        for count in sorted({*raters, noise.per_item}):
            try:
                of_raters[count] = items_for_ratings(difference, count, **about)  # type: ignore[arg-type]
            except DataError:
                of_raters[count] = None
        try:
            power = power_of_ratings(difference, noise.prompts, noise.per_item, **about)  # type: ignore[arg-type]
        except DataError:
            power = float("nan")
        found.append(Needed(difference, power, of_raters))
    return found
