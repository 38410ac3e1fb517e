"""How well raters work: checks of attention, repeats, speed, habits, and models of what they add to their answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median
from typing import Any

import numpy as np

from rl4lms.human_eval.records import Rating
from rl4lms.human_eval.table import Comparison, Value, checks_of

#: Seconds below this share of the study's median are called fast.
FAST = 1 / 3
_STEPS = 500
# Of a Beta prior on a rater's accuracy: as if 4 answers had been right and 2 wrong.
_RIGHT, _WRONG = 4.0, 2.0


@dataclass(frozen=True, slots=True)
class RaterQuality:
    """One rater.

    Attributes:
        rater: its number.
        ratings: answers of items.
        checks, checks_right: answered checks of attention, and how many as expected.
        repeats, repeats_same: items that were shown again, and how many were answered as before.
        repeat_difference: mean absolute difference of the two answers on scales; None where there is none.
        seconds: median of an answer.
        fast: share of answers in less than a third of the median of all raters.
        same_answer: share of the answer that they gave most often.
        longest_run: how many answers in a row were the same.
    """

    rater: int
    ratings: int
    checks: int
    checks_right: int
    repeats: int
    repeats_same: int
    repeat_difference: float | None
    seconds: float
    fast: float
    same_answer: float
    longest_run: int


@dataclass(frozen=True, slots=True)
class RaterScale:
    """How a rater uses the scale of a question.

    Attributes:
        rater: its number.
        bias: by how much they rate higher than others rate the same texts.
        scale: slope of their ratings on the mean of the others' for the same texts; 1 is as far apart as the others',
            None where it is not known.
        noise: standard deviation of their ratings about text and bias.
        ratings: how many texts others rated as well.
    """

    rater: int
    bias: float
    scale: float | None
    noise: float
    ratings: int


@dataclass(frozen=True, slots=True)
class RaterAccuracy:
    """How reliable a rater's choices are.

    Attributes:
        rater: its number.
        accuracy: probability of choosing what the model holds to be right.
        with_others: share of items in which they chose as most of the others; None where there is no such item.
        items: comparisons without ties that others made as well.
    """

    rater: int
    accuracy: float
    with_others: float | None
    items: int


def quality_of(ratings: Sequence[Rating]) -> list[RaterQuality]:
    """Describe the work of every rater who answered an item."""
    of_rater: dict[int, list[Rating]] = defaultdict(list)
    for rating in ratings:
        of_rater[rating.rater].append(rating)
    checks = checks_of(ratings)
    timed = [rating.seconds for rating in ratings if rating.purpose == "rate" and rating.seconds > 0]
    usual = median(timed) if timed else 0.0
    found = []
    for rater, own in sorted(of_rater.items()):
        rated = [rating for rating in own if rating.purpose == "rate"]
        if not rated:
            continue
        right, checked = checks.get(rater, (0, 0))
        same, differences, repeats = _repeats(own)
        said = [_said(rating) for rating in rated]
        found.append(
            RaterQuality(
                rater,
                len(rated),
                checked,
                right,
                repeats,
                same,
                fmean(differences) if differences else None,
                float(median(rating.seconds for rating in rated)),
                fmean(rating.seconds < FAST * usual for rating in rated),
                max(Counter(said).values()) / len(said),
                max(len(list(run)) for _, run in groupby(said)),
            )
        )
    return found


def _repeats(own: Sequence[Rating]) -> tuple[int, list[float], int]:
    """Return how many repeats were answered as before, by how much scales differ, and how many there are."""
    first = {rating.item: rating for rating in own if rating.purpose == "rate"}
    same, differences, repeats = 0, [], 0
    for rating in own:
        before = first.get(rating.repeat_of) if rating.purpose == "repeat" and rating.repeat_of is not None else None
        if before is None:
            continue
        repeats += 1
        same += _judged(rating) == _judged(before)
        differences += [
            abs(value - before.answers[key])
            for key, value in rating.answers.items()
            if _is_number(value) and _is_number(before.answers.get(key)) and key not in ("choice", "best", "worst")
        ]
    return same, differences, repeats


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _judged(rating: Rating) -> dict[str, Any]:
    """Return the answers without free texts and marked words."""
    return {key: value for key, value in rating.answers.items() if _is_number(value) or value == "tie"}


def _said(rating: Rating) -> tuple[Any, ...]:
    """Return what a rater chose, by places of the page: always the left one is a habit, always one system is none."""
    places = {output: place for place, output in enumerate(rating.order)}
    return tuple(
        places.get(value, value) if key in ("choice", "best", "worst") else value
        for key, value in sorted(_judged(rating).items())
    )


def scales_of(values: Sequence[Value]) -> list[RaterScale]:
    """Describe how raters use the scale of one question, by an additive model: value = text + rater + noise, by least
    squares over texts with two ratings or more.

    A rater's noise has as many degrees of freedom as they have ratings, less one for their bias and their share of the
    texts' means. The slope is of ratings without bias on the mean of the others' (so noise in that mean makes it
    smaller).
    """
    of_text: dict[int, list[Value]] = defaultdict(list)
    for value in values:
        of_text[value.item].append(value)
    shared = [value for own in of_text.values() if len(own) > 1 for value in own]
    raters, items = sorted({one.rater for one in shared}), sorted({one.item for one in shared})
    if len(raters) < 2:
        return []
    r, t, y, bias, text = _additive(shared, raters, items)
    residual = y - text[t] - bias[r]
    sums, counts = np.bincount(t, y - bias[r]), np.bincount(t)
    others = (sums[t] - (y - bias[r])) / (counts[t] - 1)
    found = []
    for number, rater in enumerate(raters):
        own = r == number
        freedom = float((1 - 1 / counts[t[own]]).sum()) - 1
        noise = float(np.sqrt((residual[own] ** 2).sum() / freedom)) if freedom > 0 else float("nan")
        spread = others[own] - others[own].mean()
        slope = float(spread @ y[own] / (spread @ spread)) if float(spread @ spread) > 1e-12 else None
        found.append(RaterScale(rater, float(bias[number]), slope, noise, int(own.sum())))
    return found


def _additive(shared: Sequence[Value], raters: Sequence[int], items: Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
    """Fit text + rater by turns; biases have mean 0."""
    r = np.array([raters.index(one.rater) for one in shared])
    place = {item: number for number, item in enumerate(items)}
    t = np.array([place[one.item] for one in shared])
    y = np.array([one.value for one in shared])
    bias, text = np.zeros(len(raters)), np.zeros(len(items))
    of_rater, of_text = np.bincount(r), np.bincount(t)
    for _ in range(_STEPS):
        text = np.bincount(t, y - bias[r]) / of_text
        new = np.bincount(r, y - text[t]) / of_rater
        new -= new.mean()
        moved, bias = float(np.abs(new - bias).max()), new
        if moved < 1e-10:
            break
    return r, t, y, bias, np.bincount(t, y - bias[r]) / of_text


def accuracies_of(comparisons: Sequence[Comparison]) -> list[RaterAccuracy]:
    """Estimate how reliable the choices of each rater are, without knowing what is right: the model of Dawid and Skene
    (1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm"), with one accuracy for each
    rater and both answers of an item equally likely beforehand.

    Ties are left out. A Beta(4, 2) prior keeps raters with few answers from accuracies of 0 and 1; of items that one
    rater alone has judged nothing is learnt.
    """
    of_item: dict[tuple[int, str, str], list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if one.outcome != 0.5:
            of_item[one.item, one.first, one.second].append(one)
    shared = [(number, one) for number, own in enumerate(o for o in of_item.values() if len(o) > 1) for one in own]
    raters = sorted({one.rater for _, one in shared})
    if len(raters) < 2:
        return []
    item = np.array([number for number, _ in shared])
    rater = np.array([raters.index(one.rater) for _, one in shared])
    won = np.array([one.outcome for _, one in shared])
    accuracy = np.full(len(raters), _RIGHT / (_RIGHT + _WRONG))
    for _ in range(_STEPS):
        evidence = np.log(accuracy / (1 - accuracy))[rater] * (2 * won - 1)
        first_better = 1 / (1 + np.exp(-np.bincount(item, evidence)))[item]
        right = np.bincount(rater, np.where(won == 1, first_better, 1 - first_better))
        new = (right + _RIGHT) / (np.bincount(rater) + _RIGHT + _WRONG)
        moved, accuracy = float(np.abs(new - accuracy).max()), new
        if moved < 1e-9:
            break
    votes = np.bincount(item, 2 * won - 1)
    others = votes[item] - (2 * won - 1)
    found = []
    for number, name in enumerate(raters):
        own = rater == number
        told = own & (others != 0)
        agrees = float((np.sign(others[told]) == 2 * won[told] - 1).mean()) if told.any() else None
        found.append(RaterAccuracy(name, float(accuracy[number]), agrees, int(own.sum())))
    return found
