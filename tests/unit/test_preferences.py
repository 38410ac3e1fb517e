from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from rl4lms import stats
from rl4lms.errors import DataError

NAMES = ("a", "b", "c", "d")
TRUE = np.array([0.8, 0.2, -0.3, -0.7])


def comparisons(rng: np.random.Generator, n: int, copies: int = 1, ties: float = 0.0):
    """Comparisons by the model, each of them `copies` times over: one item, and raters who all say the same."""
    one = rng.integers(0, 4, n)
    other = (one + rng.integers(1, 4, n)) % 4
    won = (rng.random(n) < 1 / (1 + np.exp(TRUE[other] - TRUE[one]))).astype(float)
    won[rng.random(n) < ties] = 0.5
    rows = np.repeat(np.arange(n), copies)
    return [NAMES[i] for i in one[rows]], [NAMES[i] for i in other[rows]], won[rows], rows.tolist()


def of_names(found: stats.Strengths) -> np.ndarray:
    values = dict(zip(found.names, (one.value for one in found.strengths), strict=True))
    return np.array([values[name] for name in NAMES])


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_the_maximum_is_that_of_a_search(ties):
    first, second, won, _ = comparisons(np.random.default_rng(0), 300, ties=ties)

    def loss(three: np.ndarray) -> float:
        strength = dict(zip(NAMES, [*three, -three.sum()], strict=True))
        total = 0.0
        for one, other, outcome in zip(first, second, won, strict=True):
            p = 1 / (1 + np.exp(strength[other] - strength[one]))
            total -= outcome * np.log(p) + (1 - outcome) * np.log(1 - p)
        return total

    best = scipy.optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    found = stats.bradley_terry(first, second, won)
    assert of_names(found) == pytest.approx([*best.x, -best.x.sum()], abs=1e-6)
    assert list(found.names) == [name for _, name in sorted(zip(-of_names(found), NAMES, strict=True))]
    assert sum(one.value for one in found.strengths) == pytest.approx(0)


def test_the_package_choix():
    choix = pytest.importorskip("choix")
    first, second, won, _ = comparisons(np.random.default_rng(1), 200)
    pairs = [
        (NAMES.index(one), NAMES.index(other)) if outcome else (NAMES.index(other), NAMES.index(one))
        for one, other, outcome in zip(first, second, won, strict=True)
    ]
    theirs = choix.opt_pairwise(4, pairs, tol=1e-10)
    assert of_names(stats.bradley_terry(first, second, won)) == pytest.approx(theirs - theirs.mean(), abs=1e-4)


def test_the_package_evalica():
    evalica = pytest.importorskip("evalica")
    first, second, won, _ = comparisons(np.random.default_rng(2), 200, ties=0.2)
    winners = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    found = evalica.bradley_terry(first, second, [winners[outcome] for outcome in won], tolerance=1e-10, limit=10_000)
    theirs = np.log([found.scores[name] for name in NAMES])
    assert of_names(stats.bradley_terry(first, second, won)) == pytest.approx(theirs - theirs.mean(), abs=1e-4)


def test_two_systems_by_hand():
    found = stats.bradley_terry(["a"] * 4, ["b"] * 4, [1, 1, 1, 0])
    assert found.win_rate("a", "b") == pytest.approx(0.75)
    assert found.difference("b", "a").value == pytest.approx(-np.log(3))
    # without one of four comparisons: a step of (w - p) / (3 p (1 - p)) in log-odds; their squares, times (G - 1) / G
    error = np.sqrt(3 / 4 * (3 * 0.25**2 + 0.75**2)) / (3 * 0.75 * 0.25)
    difference = found.difference("a", "b")
    half = scipy.stats.t(3).ppf(0.975) * error
    assert (difference.low, difference.high) == pytest.approx((np.log(3) - half, np.log(3) + half))
    assert difference.p == pytest.approx(2 * scipy.stats.t(3).sf(np.log(3) / error))


def test_comparisons_of_one_item_are_one_draw():
    first, second, won, items = comparisons(np.random.default_rng(3), 150, copies=3)
    once = stats.bradley_terry(first[::3], second[::3], won[::3])
    wide = stats.bradley_terry(first, second, won, clusters=items)
    narrow = stats.bradley_terry(first, second, won)
    for name in range(4):
        ends = [(each.strengths[name].low, each.strengths[name].high) for each in (once, wide, narrow)]
        assert ends[1] == pytest.approx(ends[0])
        assert ends[2][1] - ends[2][0] == pytest.approx((ends[0][1] - ends[0][0]) / np.sqrt(3), rel=0.05)


def test_where_one_item_alone_ties_a_system_to_the_others_its_error_is_unknown():
    first, second = [*"abab", "c", "c"], [*"baba", "a", "a"]
    found = stats.bradley_terry(first, second, [1, 1, 0, 1, 1, 0], clusters=[1, 2, 3, 4, 5, 5])
    assert found.difference("c", "a").low == -np.inf
    assert found.difference("c", "a").p == 1


@pytest.mark.parametrize(
    ("first", "second", "outcome", "message"),
    [
        ("ab", "b", [1, 0], "2 first, 1 second"),
        ("aa", "ab", [1, 0], "compared with itself: a"),
        ("ab", "ba", [1, 0.3], "0.5 \\(a tie\\)"),
        ("abcd", "badc", [1, 1, 1, 1], "a, b: never compared with the other systems"),
        ("abc", "bca", [1, 1, 0], "a: never lost to the other systems"),
        ("abab", "babc", [1, 1, 0.5, 1], "a, b: never lost"),
        ("", "", [], "non-empty"),
    ],
)
def test_bad_comparisons(first, second, outcome, message):
    with pytest.raises(DataError, match=message):
        stats.bradley_terry(list(first), list(second), outcome)


def test_a_system_that_nobody_knows():
    found = stats.bradley_terry(["a", "b"], ["b", "a"], [1, 1])
    with pytest.raises(DataError, match="no system 'z' was compared; there are a, b"):
        found.difference("a", "z")


@pytest.mark.slow
@pytest.mark.parametrize(("items", "copies"), [(100, 1), (100, 3), (300, 2)])
def test_intervals_cover_and_tests_hold(items, copies):
    rng = np.random.default_rng(5)
    covered = rejected = 0
    gap = TRUE[0] - TRUE[3]
    for _round in range(1000):
        first, second, won, groups = comparisons(rng, items, copies)
        found = stats.bradley_terry(first, second, won, clusters=groups)
        between = found.difference("a", "d")
        covered += between.low <= gap <= between.high
        flipped = np.repeat(rng.integers(0, 2, items).astype(float), copies)
        rejected += stats.bradley_terry(first, second, flipped, clusters=groups).difference("a", "d").p < 0.05
    assert 0.93 <= covered / 1000 <= 0.97, covered
    assert rejected / 1000 <= 0.07, rejected


def test_williams_as_published():
    """r.test(103, .4, .5, .1) of the R package psych, its case A of Steiger: t -0.89, p 0.37."""
    t, p = stats.williams_test(0.4, 0.5, 0.1, 103)
    assert round(t, 2) == -0.89
    assert round(p, 2) == 0.37


def test_williams_by_hand_and_at_its_ends():
    n, r12, r13, r23 = 40, 0.7, 0.5, 0.6
    k = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    below = 2 * k * (n - 1) / (n - 3) + (r12 + r13) ** 2 / 4 * (1 - r23) ** 3
    t, p = stats.williams_test(r12, r13, r23, n)
    assert t == pytest.approx((r12 - r13) * np.sqrt((n - 1) * (1 + r23) / below))
    assert p == pytest.approx(2 * scipy.stats.t(37).sf(t))
    assert stats.williams_test(r13, r12, r23, n) == pytest.approx((-t, p))
    assert stats.williams_test(0.5, 0.5, 1.0, 10) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.1, 0.2, 0.3, 3), "four rows"),
        ((1.1, 0, 0, 9), "between -1 and 1"),
        ((0.9, -0.9, 0.9, 9), "no three variables"),
    ],
)
def test_williams_refuses(values, message):
    with pytest.raises(DataError, match=message):
        stats.williams_test(*values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alike", "different"])
def test_williams_holds_its_level(kind):
    rng = np.random.default_rng(6)
    own = 0.4 if kind == "alike" else 1.5
    rejected = 0
    for _round in range(2000):
        people = rng.normal(size=60)
        shared = rng.normal(size=60)
        one, other = (people + 0.7 * shared + own * rng.normal(size=60) for _ in range(2))
        r = np.corrcoef([people, one, other])
        rejected += stats.williams_test(r[0, 1], r[0, 2], r[1, 2], 60)[1] < 0.05
    assert 0.035 <= rejected / 2000 <= 0.065, rejected
