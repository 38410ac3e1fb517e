"""Two systems on the same prompts: which rows belong together, and by how much their metrics differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl4lms import stats
from rl4lms.errors import DataError
from rl4lms.evaluation.text_files import Texts
from rl4lms.types import MetricResult


@dataclass(frozen=True, slots=True)
class Difference:
    """How a metric differs between two systems.

    Attributes:
        first, second: its results.
        value: second less first.
        low, high: ends of the 95 % interval of the difference; None where the metric says nothing of its rows.
        p: two-sided p-value of there being no difference; None likewise.
        n: rows that have a value in both.
        method: how interval and p-value were found; empty where there are none.
    """

    first: MetricResult
    second: MetricResult
    value: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    method: str

    def summary(self) -> dict[str, Any]:
        """Return what result files hold."""
        names = ("value", "low", "high", "p", "n", "method")
        # JSON has no infinity: an end that the data say nothing of is null
        numbers = {
            name: None if isinstance(value := getattr(self, name), float) and not math.isfinite(value) else value
            for name in names
        }
        return {"first": self.first.summary(), "second": self.second.summary(), "difference": numbers}


def pair(first: Texts, second: Texts) -> tuple[Texts, Texts, str]:
    """Bring the rows of two files together: by `id` where every row of both has one, else by prompt where prompts are
    all different, else row by row.

    Returns:
        The two with their rows in the order of the first, and what they were paired by.

    Raises:
        DataError: a row of one has no partner, an id comes twice, or the partners have other references.
    """
    if all(each is not None for texts in (first, second) for each in texts.ids):
        by, keys = "id", (list(map(str, first.ids)), list(map(str, second.ids)))
        for texts, own in zip((first, second), keys, strict=True):
            _refuse_twins(texts, own)
    elif all(texts.has_prompts and len(set(texts.full_prompts)) == len(texts) for texts in (first, second)):
        by, keys = "prompt", (first.full_prompts, second.full_prompts)
    else:
        by, keys = "row", _by_row(first, second)
    places = {key: row for row, key in enumerate(keys[1])}
    for one, other, own, others in ((first, second, keys[0], keys[1]), (second, first, keys[1], keys[0])):
        missing = next((row for row, key in enumerate(own) if key not in set(others)), None) if by != "row" else None
        if missing is not None:
            raise DataError(
                f"{one.places[missing]}: {other.path} has no row with the {by} {own[missing]!r:.60}; two systems are "
                f"compared on the same prompts"
            )
    ordered = second.rows([places[key] for key in keys[0]])
    for row, (one_gold, other_gold) in enumerate(zip(first.references, ordered.references, strict=True)):
        if one_gold != other_gold:
            raise DataError(
                f"{first.places[row]} and {ordered.places[row]}, which belong together by {by}, have different "
                f"references; two systems are compared with the same ones"
            )
    return first, ordered, by


def differences(
    first: Mapping[str, MetricResult], second: Mapping[str, MetricResult], *, seed: int = 0
) -> dict[str, Difference]:
    """Compare the results of two systems whose rows were paired, by key.

    Of values per text: the interval of their mean difference (`stats.bootstrap_ci`) and the paired permutation test. Of
    a value of the whole set that is computed from sums: the paired bootstrap over rows and the randomisation test. Of
    another value of the whole set neither.
    """
    return {key: _difference(first[key], second[key], seed) for key in first if key in second}


def _difference(first: MetricResult, second: MetricResult, seed: int) -> Difference:
    value = second.mean - first.mean
    if first.values is not None and second.values is not None:
        pairs = [
            (a, b) for a, b in zip(first.values, second.values, strict=True) if not (math.isnan(a) or math.isnan(b))
        ]
        if not pairs:
            return Difference(first, second, value, None, None, None, 0, "")
        one, other = zip(*pairs, strict=True)
        found = stats.bootstrap_ci([b - a for a, b in pairs], seed=seed)
        p = stats.paired_permutation_test(other, one, seed=seed)
        method = f"{found.method} of the mean difference; permutation test"
        return Difference(first, second, found.value, found.low, found.high, p, len(pairs), method)
    n = min(first.n, second.n)
    if first.sums is not None and second.sums is not None and first.sums.rows.shape == second.sums.rows.shape:
        rows, of_sums = (first.sums.rows, second.sums.rows), first.sums.value
        if len(rows[0]) > 1:
            found = stats.paired_bootstrap(*rows, of_sums, seed=seed)
            p = stats.paired_randomisation_test(*rows, of_sums, seed=seed)
            method = "paired bootstrap over rows; randomisation test"
            return Difference(first, second, value, found.low, found.high, p, n, method)
    return Difference(first, second, value, None, None, None, n, "")


def _by_row(first: Texts, second: Texts) -> tuple[list[Any], list[Any]]:
    if len(first) != len(second):
        raise DataError(
            f"{first.path} has {len(first)} rows and {second.path} {len(second)}; give rows an `id`, or different "
            f"prompts, to say which belong together"
        )
    for row, (one, other) in enumerate(zip(first.full_prompts, second.full_prompts, strict=True)):
        if one != other and first.has_prompts and second.has_prompts:
            raise DataError(
                f"{first.places[row]} and {second.places[row]} have different prompts; put the rows in one order, or "
                f"give them an `id`"
            )
    return list(range(len(first))), list(range(len(first)))


def _refuse_twins(texts: Texts, keys: Sequence[str]) -> None:
    for key, count in Counter(keys).items():
        if count > 1:
            row = len(keys) - 1 - list(reversed(keys)).index(key)
            raise DataError(
                f"{texts.places[row]}: the id {key!r:.60} comes {count} times; ids name rows, so make them differ"
            )
