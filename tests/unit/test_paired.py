"""Errors of differences, against sums of squares that are spelt out, and against simulations."""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rl4lms.errors import DataError
from rl4lms.stats import mean_ci
from rl4lms.stats.paired import (
    BOTH,
    NOTHING,
    PROMPTS,
    SEEDS,
    cluster_values,
    contrast,
    contrast_of_sets,
    mean_contrast,
    methods,
)


def sums_of_squares(table: list[list[float]]) -> tuple[float, float, float]:
    """Mean squares of prompts, seeds and the rest, as a table of an analysis of variance has them."""
    seeds, prompts = len(table), len(table[0])
    grand = sum(map(sum, table)) / (seeds * prompts)
    of_seed = [sum(row) / prompts for row in table]
    of_prompt = [sum(row[p] for row in table) / seeds for p in range(prompts)]
    total = sum((x - grand) ** 2 for row in table for x in row)
    between_seeds = prompts * sum((m - grand) ** 2 for m in of_seed)
    between_prompts = seeds * sum((m - grand) ** 2 for m in of_prompt)
    left = total - between_seeds - between_prompts
    return (
        between_prompts / (prompts - 1),
        between_seeds / (seeds - 1),
        left / ((prompts - 1) * (seeds - 1)),
    )


def test_the_error_of_one_system_is_that_of_a_two_way_layout() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0, 1, (4, 30)) + rng.normal(0, 1, (1, 30)) + rng.normal(0, 0.5, (4, 1))
    prompts, seeds, rest = sums_of_squares(table.tolist())
    found = contrast(table)
    assert found.stderr == pytest.approx(math.sqrt((prompts + seeds - rest) / 120), rel=1e-12)
    assert found.value == pytest.approx(statistics.fmean(table.ravel()))
    assert (found.over, found.prompts, found.seeds) == (BOTH, 30, (4,))


def test_one_seed_is_the_paired_t_of_differences() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    found = contrast([ours], [theirs])
    expected = scipy_stats.ttest_rel(ours, theirs)
    assert found.value / found.stderr == pytest.approx(expected.statistic, rel=1e-12)
    interval = mean_ci(ours - theirs)
    assert (found.low, found.high, found.over) == (interval.low, interval.high, PROMPTS)
    several = contrast([ours, ours + 0.1], [theirs])  # the error over seeds of one run is not known
    assert (several.over, several.seeds) == (PROMPTS, (2, 1))


def test_prompts_without_a_value_are_left_out_of_all() -> None:
    ours, theirs = [[1.0, 2.0, math.nan, 4.0]], [[0.0, math.nan, 0.0, 0.0]]
    found = contrast(ours, theirs)
    assert (found.value, found.prompts) == (2.5, 2)
    with pytest.raises(DataError, match="no prompt has a value"):
        contrast([[math.nan]], [[1.0]])
    with pytest.raises(DataError, match=r"\(1, 2\), \(1, 1\)"):
        contrast([[1.0, 2.0]], [[1.0]])


def test_a_single_prompt_and_a_constant_difference() -> None:
    alone = contrast([[1.0]], [[0.0]])
    assert (alone.stderr, alone.low, alone.high, alone.over) == (None, -math.inf, math.inf, NOTHING)
    same = contrast([[1.0, 2.0]] * 2, [[0.0, 1.0]] * 2)
    assert (same.value, same.stderr, same.low, same.high) == (1.0, 0.0, 1.0, 1.0)


def test_numbers_of_a_set_are_compared_by_welch() -> None:
    ours, theirs = [3.0, 4.0, 6.0], [1.0, 2.5]
    found = contrast_of_sets(ours, theirs)
    expected = scipy_stats.ttest_ind(ours, theirs, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.value / found.stderr == pytest.approx(expected.statistic, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.over == SEEDS
    assert contrast_of_sets([3.0], theirs).over == NOTHING


def simulate(samples: int, spread: float, seed: int = 0) -> tuple[float, float, float, float]:
    """Share of intervals that cover 0, with three seeds and with one; mean variance; variance of the means."""
    rng = np.random.default_rng(seed)
    hits, hits_of_one, variances, values = 0, 0, [], []
    for _ in range(samples):
        tables = [
            rng.normal(0, spread, (3, 1)) + rng.normal(0, 1 / math.sqrt(2), (1, 64)) + rng.normal(0, 1, (3, 64))
            for _ in range(2)
        ]
        several, one = contrast(*tables), contrast(*(table[:1] for table in tables))
        assert several.stderr is not None
        hits += several.low <= 0 <= several.high
        hits_of_one += one.low <= 0 <= one.high
        variances.append(several.stderr**2)
        values.append(several.value)
    return hits / samples, hits_of_one / samples, statistics.fmean(variances), statistics.pvariance(values, 0.0)


def test_intervals_cover_and_those_of_one_seed_do_not_cover_other_runs() -> None:
    covered, covered_by_one, told, true = simulate(600, 0.3)
    assert 0.92 <= covered <= 0.975
    assert covered_by_one < 0.7
    assert told == pytest.approx(true, rel=0.15)


@pytest.mark.slow
def test_the_coverage_that_the_docstring_states() -> None:
    for spread, several, one in ((0, 0.962, 0.949), (0.1, 0.951, 0.918), (0.3, 0.945, 0.631), (1, 0.953, 0.239)):
        covered, covered_by_one, _, _ = simulate(4000, spread, seed=int(10 * spread))
        assert covered == pytest.approx(several, abs=0.015)
        assert covered_by_one == pytest.approx(one, abs=0.03)
        assert f"{several:.3f}" in str(contrast.__doc__)
        assert f"{one:.3f}" in str(contrast.__doc__)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("skewed", "spread", "stated"),
    [(False, 0, 0.960), (False, 0.3, 0.938), (False, 1, 0.917), (True, 0.3, 0.927), (True, 1, 0.846)],
)
def test_the_coverage_of_one_system_that_the_docstring_states(skewed: bool, spread: float, stated: float) -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(2000):
        runs = rng.exponential(1, (3, 1)) - 1 if skewed else rng.normal(0, 1, (3, 1))
        found = contrast(spread * runs + rng.normal(0, 1, (1, 64)) + rng.normal(0, 1, (3, 64)))
        hits += found.low <= 0 <= found.high
    assert hits / 2000 == pytest.approx(stated, abs=0.025)
    assert f"{stated:.3f}" in str(contrast.__doc__)


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ([], ""),
        ([(NOTHING, 0, (1, 1))], ""),
        ([(PROMPTS, 1, (1, 1))], "t after Hall's transformation, over n = 1 prompt"),
        (
            [(BOTH, 64, (3, 2)), (BOTH, 60, (3,)), (SEEDS, 0, (3, 3)), (NOTHING, 0, (1,))],
            "t with Satterthwaite's degrees of freedom, over n = 60 to 64 prompts and 2 to 3 seeds; Welch's t, over 3 seeds",
        ),
    ],
)
def test_the_method_and_n_are_named(each: list[tuple[str, int, tuple[int, ...]]], said: str) -> None:
    assert methods(each) == said


def by_hand(table: np.ndarray, documents: list[str]) -> float:
    """Variance of the mean of one system: cluster totals of what a two-way layout leaves, in plain loops."""
    seeds, prompts = table.shape
    names, grand = sorted(set(documents)), table.mean()

    def total(values: list[float]) -> float:
        return sum(sum(v for v, d in zip(values, documents, strict=True) if d == name) ** 2 for name in names)

    correction = len(names) / (len(names) - 1)
    of_prompts = correction * total([table[:, p].mean() - grand for p in range(prompts)]) / prompts**2
    of_seeds = sum((row.mean() - grand) ** 2 for row in table) / (seeds - 1) / seeds
    left = [[table[s, p] - table[s].mean() - table[:, p].mean() + grand for p in range(prompts)] for s in range(seeds)]
    rest = correction * sum(total(row) for row in left) / (prompts**2 * seeds * (seeds - 1))
    return float(max(of_prompts, of_seeds, of_prompts + of_seeds - rest))


def test_clusters_are_the_sandwich_of_their_totals() -> None:
    rng = np.random.default_rng(4)
    documents = ["a"] * 5 + ["b"] * 2 + ["c"] + ["d"] * 4 + ["e"] * 3
    table = rng.normal(0, 1, (3, 15)) + np.repeat(rng.normal(0, 2, 5), (5, 2, 1, 4, 3)) + rng.normal(0, 1, (3, 1))
    found = contrast(table, clusters=documents)
    assert found.stderr == pytest.approx(math.sqrt(by_hand(table, documents)), rel=1e-12)
    assert found.value == pytest.approx(table.mean(), rel=1e-12)
    assert (found.prompts, found.over) == (15, BOTH)
    one = contrast(table[:1], clusters=documents)
    assert one.stderr == pytest.approx(statistics.stdev(cluster_values(table[:1], documents)[0]) / math.sqrt(5))


def test_documents_of_one_prompt_change_nothing_and_missing_values_are_left_out() -> None:
    rng = np.random.default_rng(5)
    ours, theirs = rng.normal(0, 1, (3, 20)), rng.normal(0, 1, (4, 20))
    assert contrast(ours, theirs, clusters=range(20)) == contrast(ours, theirs)
    documents = [n // 4 for n in range(20)]
    ours[1, 4:8] = math.nan
    kept = [n for n in range(20) if n // 4 != 1]
    assert contrast(ours, theirs, clusters=documents) == contrast(
        ours[:, kept], theirs[:, kept], clusters=[documents[n] for n in kept]
    )
    with pytest.raises(DataError, match="got 3 for 20 prompts"):
        contrast(ours, theirs, clusters=[1, 2, 3])


def test_values_of_clusters_keep_the_mean_also_where_prompts_have_none() -> None:
    table = np.array([[1.0, 2.0, math.nan, 6.0, 8.0], [0.0, 1.0, math.nan, 2.0, 3.0]])
    found = cluster_values(table, ["x", "x", "x", "y", "z"])
    assert found.shape == (2, 3)
    assert found.mean(1) == pytest.approx(np.nanmean(table, 1))
    with pytest.raises(DataError, match="in every run"):
        cluster_values([[1.0, math.nan], [1.0, 2.0]], ["x", "y"])


def test_p_values_are_those_of_the_interval() -> None:
    rng = np.random.default_rng(6)
    ours, theirs = rng.normal(0.5, 1, (4, 30)), rng.normal(0, 1, (3, 30))
    p = contrast(ours, theirs).p_value
    assert p is not None
    edge = contrast(ours, theirs, confidence=1 - p)
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-9)
    sets = contrast_of_sets([3.0, 4.0, 6.0], [1.0, 2.5])
    welch = scipy_stats.ttest_ind([3.0, 4.0, 6.0], [1.0, 2.5], equal_var=False).pvalue
    assert sets.p_value == sets.cautious_p_value == pytest.approx(welch, rel=1e-9)
    assert contrast(ours[:1], theirs).p_value is None  # the error of training runs is not known
    assert contrast([[1.0, 2.0]] * 2, [[1.0, 2.0]] * 2).p_value == 1.0
    assert contrast([[1.0, 2.0]] * 2, [[0.0, 1.0]] * 2).p_value == 0.0
    runs = contrast(ours + 5 * np.arange(4)[:, None], theirs)
    by_seed = (ours + 5 * np.arange(4)[:, None]).mean(1), theirs.mean(1)
    welch = scipy_stats.ttest_ind(*by_seed, equal_var=False)
    assert runs.cautious == pytest.approx(min(welch.df, runs.freedom))
    assert runs.cautious_p_value >= runs.p_value
    assert contrast(np.repeat(ours[:1], 3, 0), np.repeat(theirs[:1], 3, 0)).cautious == 29  # runs that are all the same


def test_the_mean_of_contrasts_adds_their_variances() -> None:
    rng = np.random.default_rng(7)
    each = [contrast(rng.normal(k, 1, (3, 20)), rng.normal(0, 1, (3, 20))) for k in range(3)]
    found = mean_contrast(each)
    assert found.value == pytest.approx(statistics.fmean(one.value for one in each))
    assert found.stderr == pytest.approx(math.sqrt(sum(one.stderr**2 for one in each)) / 3)
    assert mean_contrast(each[:1]) == dataclasses.replace(
        each[0],
        low=pytest.approx(each[0].low),
        high=pytest.approx(each[0].high),
        stderr=pytest.approx(each[0].stderr),
        freedom=pytest.approx(each[0].freedom),
        cautious=pytest.approx(each[0].cautious),
    )
    unknown = mean_contrast([*each, contrast([[1.0, 2.0]])])
    assert (unknown.stderr, unknown.p_value, unknown.low) == (None, None, -math.inf)
