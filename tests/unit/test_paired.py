"""Errors of differences, against sums of squares that are spelt out, and against simulations."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rl4lms.errors import DataError
from rl4lms.stats import mean_ci
from rl4lms.stats.paired import BOTH, NOTHING, PROMPTS, SEEDS, contrast, contrast_of_sets, methods


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
