"""Ranks as intervals, with Holm's correction and the probability of improvement, against slow versions of themselves
from their definitions; and what they promise, on boards with known truth.
"""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.stats import norm

from rl4lms.errors import DataError
from rl4lms.stats.holm import holm
from rl4lms.stats.improvement import probability_of_improvement
from rl4lms.stats.paired import contrast
from rl4lms.stats.ranks import Rank, rank_intervals
from tests.unit.stats.boards import draw_board


def closed(p: list[float]) -> list[float]:
    """Adjusted p-values by the closure principle: of all sets that a test is in, the largest Bonferroni p-value."""
    tests = range(len(p))
    sets = [chosen for size in range(1, len(p) + 1) for chosen in combinations(tests, size)]
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in tests]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closure_of_bonferroni(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 2, 7).tolist()
    assert holm(p) == pytest.approx(closed(p), rel=1e-12)


def test_holm_of_the_published_example_and_of_none() -> None:
    # by hand: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04, which is no less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert len(holm([])) == 0
    with pytest.raises(DataError, match="from 0 to 1"):
        holm([0.2, float("nan")])


def brute_force(m: int, better: set[tuple[int, int]], system: int) -> tuple[int, int]:
    """Lowest and highest rank over all orders in which (i, j) of `better` has i before j alone of the pairs with
    `system`: the interval looks at what is known of a system itself.
    """
    of_it = {pair for pair in better if system in pair}
    ranks = [
        order.index(system) + 1
        for order in permutations(range(m))
        if all(order.index(i) < order.index(j) for i, j in of_it)
    ]
    return min(ranks), max(ranks)


@pytest.mark.parametrize("higher", [True, False])
def test_intervals_are_the_ranks_that_significant_pairs_leave(higher: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = rng.normal(0, 1, 5).tolist()
        p = {pair: float(rng.choice([0.001, 0.9])) for pair in combinations(range(5), 2)}
        found = rank_intervals(values, p, higher_is_better=higher)
        better = set()
        for (i, j), one in p.items():
            if one < 0.5:
                better.add((i, j) if (values[i] > values[j]) == higher else (j, i))
        assert [(rank.low, rank.high) for rank in found] == [brute_force(5, better, i) for i in range(5)]
        order = sorted(values, reverse=higher)
        assert [rank.rank for rank in found] == [order.index(value) + 1 for value in values]


def test_ties_share_a_rank_and_what_was_not_tested_is_open() -> None:
    pairs = list(combinations(range(3), 2))
    tied = rank_intervals([0.5, 0.5, 0.1], dict(zip(pairs, (0.0, 0.001, 0.001), strict=True)))
    assert tied == [Rank(1, 1, 2), Rank(1, 1, 2), Rank(3, 3, 3)]  # whatever p-value equal values have
    untested = rank_intervals([0.5, 0.4, 0.1], dict.fromkeys(pairs))
    assert [str(rank) for rank in untested] == ["1-3"] * 3
    # a pair that was not tested counts in the correction: 0.02 * 3 is above 0.05
    assert str(rank_intervals([0.5, 0.4, 0.1], dict(zip(pairs, (0.02, None, None), strict=True)))[0]) == "1-3"
    with pytest.raises(DataError, match=r"none of \(0, 2\)"):
        rank_intervals([0.5, 0.4, 0.1], {(0, 1): 0.1})
    with pytest.raises(DataError, match="finite"):
        rank_intervals([0.5, float("nan")], {(0, 1): 0.1})


def test_the_probability_of_improvement_is_counted() -> None:
    ours, theirs = [[1.0, 2.0, 3.0], [0.0, 0.0]], [[2.0, 2.5], [0.0, -1.0, 5.0]]
    by_task = [
        sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in product(a, b)) / (len(a) * len(b))
        for a, b in zip(ours, theirs, strict=True)
    ]
    found = probability_of_improvement(ours, theirs)
    assert found.value == pytest.approx(sum(by_task) / 2)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert probability_of_improvement([[2.0, 3.0]], [[1.0, 0.0]]).low == 1.0
    with pytest.raises(DataError, match="got 1 and 2 tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])


def test_its_interval_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.5, 1, (4, 5)), rng.normal(0, 1, (4, 5))
    found = probability_of_improvement(list(ours), list(theirs), resamples=8000)
    loop = []
    for _ in range(600):
        a, b = (np.stack([rng.choice(task, 5) for task in side]) for side in (ours, theirs))
        loop.append(np.mean([[x > y for x in task for y in other] for task, other in zip(a, b, strict=True)]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(loop, [0.025, 0.975])), abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "stated"), [(3, (0.924, 0.921, 0.911)), (5, (0.938, 0.932, 0.940)), (10, (0.943, 0.943, 0.944))]
)
def test_its_coverage_that_the_docstring_states(runs: int, stated: tuple[float, ...]) -> None:
    for shift, wanted in zip((0.0, 0.5, 1.0), stated, strict=True):
        rng, hits = np.random.default_rng(11), 0
        for number in range(1000):
            sides = rng.normal(shift, 1, (7, runs)), rng.normal(0, 1, (7, runs))
            found = probability_of_improvement(*map(list, sides), resamples=500, seed=number)
            hits += found.low <= norm.cdf(shift / np.sqrt(2)) <= found.high
        assert hits / 1000 == pytest.approx(wanted, abs=0.025)
        assert f"{wanted:.3f}" in str(probability_of_improvement.__doc__)


SHAPES = {
    "six equal": (0.0,) * 6,
    "two equal of six": (0.0, 0.0, 0.3, 0.6, 0.9, 1.2),
    "all apart": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
}
# three systems whose training runs differ, and three whose do not, or hardly
UNEVEN = ((0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.1, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.3, 0.3, 0.3))


def promise(
    means: tuple[float, ...], boards: int, seed: int = 0, **shape: float | bool | tuple[float, ...]
) -> tuple[float, float, float]:
    """Return what share of systems, and of boards in all systems, have intervals that hold all the ranks that are true
    of them; and what share of boards call two equal systems different.
    """
    rng, of_systems, of_boards, called = np.random.default_rng(seed), 0.0, 0, 0
    true = [(1 + sum(other > mean for other in means), sum(other >= mean for other in means)) for mean in means]
    pairs = list(combinations(range(len(means)), 2))
    for _ in range(boards):
        tables, documents = draw_board(rng, means, prompts=100, **shape)
        p = {(i, j): contrast(tables[i], tables[j], clusters=documents).cautious_p_value for i, j in pairs}
        found = rank_intervals([float(table.mean()) for table in tables], p)
        right = [rank.low <= low and high <= rank.high for rank, (low, high) in zip(found, true, strict=True)]
        of_systems += sum(right) / len(right) / boards
        of_boards += all(right)
        adjusted = holm([one if one is not None else 1.0 for one in p.values()])
        called += any(one <= 0.05 and means[i] == means[j] for (i, j), one in zip(p, adjusted, strict=True))
    return of_systems, of_boards / boards, called / boards


def test_ranks_of_a_few_boards() -> None:
    assert promise(SHAPES["six equal"], 30, seeds=3, spread=0.3)[1] >= 0.9
    # and they are no intervals of everything: far systems are told apart
    (tables, _) = draw_board(np.random.default_rng(0), (0.0, 2.0, 4.0), seeds=5, prompts=100, spread=0.1)
    p = {(i, j): contrast(tables[i], tables[j]).cautious_p_value for i, j in combinations(range(3), 2)}
    assert [str(rank) for rank in rank_intervals([float(t.mean()) for t in tables], p)] == ["3", "2", "1"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("means", "per_document", "spread", "skewed"),
    [
        *((means, 1, spread, False) for means in SHAPES.values() for spread in (0.05, 0.15, 0.3, 1.0)),
        *((SHAPES["six equal"], 4, spread, True) for spread in (0.05, 0.3)),
        (SHAPES["two equal of six"], 4, 0.3, False),
        *((SHAPES["six equal"], 1, spread, False) for spread in UNEVEN),
    ],
)
def test_the_promise_on_a_thousand_boards(means, per_document, spread, skewed, seeds) -> None:
    shape = {"seeds": seeds, "spread": spread, "per_document": per_document, "skewed": skewed}
    of_systems, of_boards, called = promise(means, 1000, **shape)
    print(f"{means} {shape}: {of_systems:.3f} of ranks, {of_boards:.3f} of boards, {called:.3f} called different")
    assert of_systems >= 0.93
    assert of_boards >= 0.93
    assert called <= 0.05
