from __future__ import annotations

import itertools

import numpy as np
import pytest

from rl4lms import stats
from rl4lms.errors import DataError
from rl4lms.stats.agreement import SCALES

_ = np.nan
# Krippendorff (2011), section C and D: four observers and twelve units with missing data
FOUR = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T
# section A: two observers, binary; section B: two observers, five categories
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]).T
LETTERS = np.array([["abcde".index(c) for c in row] for row in ("aabbdcccedda", "babbbccceddd")]).T


@pytest.mark.parametrize(
    ("ratings", "scale", "published"),
    [
        (BINARY, "nominal", 0.095),
        (LETTERS, "nominal", 0.692),
        (FOUR, "nominal", 0.743),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (FOUR, "ratio", 0.797),
    ],
)
def test_worked_tables_as_published(ratings, scale, published):
    assert round(stats.krippendorff_alpha(ratings, scale).value, 3) == published


def slow_alpha(table: np.ndarray, scale: str) -> float:
    """Every pair of ratings, one by one."""
    rows = [row[~np.isnan(row)] for row in table]
    rows = [row for row in rows if len(row) >= 2]
    everything = np.concatenate(rows)

    def distance(a: float, b: float) -> float:
        if scale == "nominal":
            return float(a != b)
        if scale == "interval":
            return (a - b) ** 2
        if scale == "ratio":
            return 0.0 if a == b else ((a - b) / (a + b)) ** 2
        low, high = min(a, b), max(a, b)
        between = np.sum((everything >= low) & (everything <= high))
        return (between - (np.sum(everything == low) + np.sum(everything == high)) / 2) ** 2 if a != b else 0.0

    observed = sum(distance(a, b) / (len(row) - 1) for row in rows for a, b in itertools.permutations(row, 2))
    expected = sum(distance(a, b) for a, b in itertools.permutations(everything, 2))
    return 1 - (observed / len(everything)) / (expected / (len(everything) * (len(everything) - 1)))


@pytest.mark.parametrize("scale", SCALES)
def test_a_slow_version(scale):
    rng = np.random.default_rng(3)
    table = rng.integers(1, 6, (20, 1)) + rng.integers(-1, 2, (20, 4)).astype(float)
    table = np.clip(table, 1, 5)
    table[rng.random(table.shape) < 0.3] = np.nan
    assert stats.krippendorff_alpha(table, scale).value == pytest.approx(slow_alpha(table, scale), abs=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_the_package_krippendorff(scale):
    krippendorff = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(4)
    table = np.clip(rng.integers(1, 6, (50, 1)) + rng.integers(-1, 2, (50, 3)), 1, 5).astype(float)
    table[rng.random(table.shape) < 0.2] = np.nan
    theirs = krippendorff.alpha(reliability_data=table.T, level_of_measurement=scale)
    assert stats.krippendorff_alpha(table, scale).value == pytest.approx(theirs, abs=1e-9)


def test_full_agreement_and_none():
    assert stats.krippendorff_alpha([[1, 1], [2, 2], [5, 5]]).value == 1
    assert stats.krippendorff_alpha([[1, 2], [2, 1]], "nominal").value == pytest.approx(-0.5)
    assert stats.krippendorff_alpha([[1, 2]], "nominal").low == -np.inf


@pytest.mark.parametrize(
    ("ratings", "scale", "message"),
    [
        ([1, 2, 3], "nominal", r"a table \(items, raters\)"),
        ([[1, _], [_, 2]], "nominal", "no item has two ratings"),
        ([[3, 3], [3, 3]], "nominal", "all ratings are the same"),
        ([[3, 3], [3, 3], [_, 1]], "nominal", "all ratings are the same"),
        ([[np.inf, 1], [1, 1]], "interval", "must be finite"),
        ([[-1, 1], [1, 1]], "ratio", "not negative"),
        ([[1, 2], [1, 1]], "likert", "no scale 'likert'"),
    ],
)
def test_bad_ratings(ratings, scale, message):
    with pytest.raises(DataError, match=message):
        stats.krippendorff_alpha(ratings, scale)


def _study(rng: np.random.Generator, items: int, raters: int, agreement: float) -> np.ndarray:
    """Ratings 1 to 5: each is the item's with this probability, and any otherwise."""
    truth = rng.choice(5, size=(items, 1), p=[0.1, 0.2, 0.3, 0.25, 0.15])
    noise = rng.choice(5, size=(items, raters), p=[0.1, 0.2, 0.3, 0.25, 0.15])
    return np.where(rng.random((items, raters)) < agreement, truth, noise) + 1.0


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize(("items", "raters", "agreement"), [(30, 3, 0.5), (60, 3, 0.7), (100, 2, 0.9), (100, 5, 0.3)])
def test_intervals_cover(scale, items, raters, agreement):
    """Two ratings are the same by more than chance with probability agreement², so α is that on every scale."""
    rng = np.random.default_rng(11)
    covered = 0
    for _round in range(1000):
        found = stats.krippendorff_alpha(_study(rng, items, raters, agreement), scale)
        covered += found.low <= agreement**2 <= found.high
    assert 0.93 <= covered / 1000 <= 0.97, covered
