"""Strengths from pairwise preferences: the model of Bradley and Terry."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rl4lms.errors import DataError
from rl4lms.stats.base import Array, Estimate, check_confidence, finite

Places = NDArray[np.intp]
JACKKNIFE_T = "t, jackknife over clusters"
_STEPS, _CLOSE, _SINGULAR = 100, 1e-10, 1e-9


@dataclass(frozen=True, slots=True)
class Strengths:
    """What Bradley and Terry's model makes of comparisons.

    Attributes:
        names: of the systems, strongest first.
        strengths: of each, on the scale of log-odds, with an interval; they sum to 0.
        covariance: (systems, systems) of the strengths, in the order of `names`.
        clusters: how many independent groups of comparisons there were.
    """

    names: tuple[str, ...]
    strengths: tuple[Estimate, ...]
    covariance: Array
    clusters: int

    def difference(self, one: str, other: str, *, confidence: float = 0.95) -> Estimate:
        """Estimate by how much one system is stronger than another, in log-odds, with a test of there being no
        difference.

        Raises:
            DataError: there is no such system.
        """
        for name in (one, other):
            if name not in self.names:
                raise DataError(f"no system {name!r} was compared; there are {', '.join(self.names)}")
        i, j = self.names.index(one), self.names.index(other)
        value = self.strengths[i].value - self.strengths[j].value
        if np.isinf(self.covariance[i, j]):
            return Estimate(value, -np.inf, np.inf, self.strengths[0].n, JACKKNIFE_T, 1.0)
        variance = self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j]
        return _estimate(value, float(np.sqrt(max(variance, 0.0))), self.strengths[0].n, self.clusters, confidence)

    def win_rate(self, one: str, other: str) -> float:
        """Return the probability that a text of one system is preferred to one of another."""
        return float(1 / (1 + np.exp(-self.difference(one, other).value)))


def bradley_terry(
    first: Sequence[str],
    second: Sequence[str],
    outcome: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Strengths:
    """Estimate the strengths of systems from comparisons of two, by maximum likelihood.

    P(one is preferred to another) = σ(strength - strength of the other) (Bradley and Terry, 1952, "Rank analysis of
    incomplete block designs"); a tie is half a win of both. The likelihood is concave and is maximised by Newton's
    steps. Errors allow for comparisons of one item or rater being alike: they are those of a jackknife over
    clusters, with t of as many degrees of freedom as there are clusters less one. Coverage of nominal 95 % intervals is
    in `tests/unit/test_preferences.py`.

    Args:
        first, second: the systems of each comparison.
        outcome: 1 where the first was preferred, 0 the second, 0.5 for a tie.
        clusters: of each comparison, such as its item; None: all are independent.
        confidence: mass of the intervals.

    Raises:
        DataError: lengths differ, a system is compared with itself, an outcome is none of the three, or there is no
            maximum: some systems were never compared with the others, or never lost to (or won against) any of them.
    """
    check_confidence(confidence)
    won = finite(outcome)
    groups = list(range(len(won))) if clusters is None else list(clusters)
    if not len(first) == len(second) == len(won) == len(groups):
        raise DataError(
            f"comparisons need as many of each: {len(first)} first, {len(second)} second, {len(won)} outcomes, "
            f"{len(groups)} clusters"
        )
    names = sorted({*first, *second})
    place = {name: number for number, name in enumerate(names)}
    one, other = (np.array([place[name] for name in side], dtype=np.intp) for side in (first, second))
    if bool((one == other).any()):
        raise DataError(f"a system cannot be compared with itself: {names[one[one == other][0]]}")
    if not np.isin(won, (0, 0.5, 1)).all():
        raise DataError("an outcome is 1 (the first was preferred), 0 (the second) or 0.5 (a tie)")
    _check_maximum(names, one, other, won)
    strengths = _maximum(one, other, won, len(names))
    covariance, n_clusters = _jackknife(strengths, one, other, won, groups)
    order = np.argsort(-strengths, kind="stable")
    errors = np.sqrt(np.diag(covariance))
    estimates = [
        _estimate(float(strengths[i]), float(errors[i]), len(won), n_clusters, confidence, test=False) for i in order
    ]
    return Strengths(tuple(names[i] for i in order), tuple(estimates), covariance[np.ix_(order, order)], n_clusters)


def _check_maximum(names: Sequence[str], one: Places, other: Places, won: Array) -> None:
    """Refuse comparisons whose likelihood has no maximum: the graph of who won against whom must be one piece, and
    strongly so (Ford, 1957, "Solution of a ranking problem from binary comparisons").
    """
    n = len(names)
    beat = np.zeros((n, n))
    np.add.at(beat, (one, other), won > 0)
    np.add.at(beat, (other, one), won < 1)
    pieces, of = sparse.csgraph.connected_components(beat > 0, directed=False)
    if pieces > 1:
        apart = [name for name, piece in zip(names, of, strict=True) if piece == of[0]]
        raise DataError(
            f"{', '.join(apart)}: never compared with the other systems; their strengths have no common scale"
        )
    pieces, of = sparse.csgraph.connected_components(beat > 0, directed=True, connection="strong")
    if pieces == 1:
        return
    for piece in range(pieces):
        inside = of == piece
        if not beat[np.ix_(~inside, inside)].any():  # nobody outside ever won against them
            who = [name for name, is_in in zip(names, inside, strict=True) if is_in]
            raise DataError(
                f"{', '.join(who)}: never lost to the other systems, nor tied: their strength is infinite; leave them "
                "out, or collect more comparisons"
            )


def _maximum(one: Places, other: Places, won: Array, n: int) -> Array:
    strengths = np.zeros(n)
    for _ in range(_STEPS):
        score, information = _derivatives(strengths, one, other, won)
        step = np.linalg.solve(information + 1 / n, score)  # adding a constant fixes the sum, which the data leave open
        scale = min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        strengths += scale * step
        if float(np.abs(step).max()) < _CLOSE:
            break
    return np.asarray(strengths - strengths.mean())


def _derivatives(strengths: Array, one: Places, other: Places, won: Array) -> tuple[Array, Array]:
    """Return the gradient of the log-likelihood, and its negative Hessian."""
    n = len(strengths)
    score, information = np.zeros((1, n)), np.zeros((1, n, n))
    _add_derivatives(score, information, np.zeros_like(one), strengths, one, other, won)
    return score[0], information[0]


def _add_derivatives(
    score: Array, information: Array, of: Places, strengths: Array, one: Places, other: Places, won: Array
) -> None:
    """Add what each comparison contributes to the gradient (groups, systems) and the negative Hessian (groups, systems,
    systems) of its group.
    """
    p = 1 / (1 + np.exp(strengths[other] - strengths[one]))
    np.add.at(score, (of, one), won - p)
    np.add.at(score, (of, other), p - won)
    for rows, columns, sign in ((one, one, 1), (other, other, 1), (one, other, -1), (other, one, -1)):
        np.add.at(information, (of, rows, columns), sign * p * (1 - p))


def _jackknife(
    strengths: Array, one: Places, other: Places, won: Array, groups: Sequence[Hashable]
) -> tuple[Array, int]:
    """Return the covariance of the strengths: by how much each cluster moves them, by one of Newton's steps.

    Infinite where a cluster alone ties a system to the others, so that nothing is known of their error.
    """
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    of, n = np.array([number[group] for group in groups]), len(strengths)
    score = np.zeros((len(number), n))
    information = np.zeros((len(number), n, n))
    _add_derivatives(score, information, of, strengths, one, other, won)
    left = information.sum(0) - information + 1 / n
    if len(number) < 2 or float(np.linalg.eigvalsh(left).min()) < _SINGULAR:
        return np.full((n, n), np.inf), len(number)
    moved = np.linalg.solve(left, score[:, :, None])[:, :, 0]
    return np.asarray((len(number) - 1) / len(number) * moved.T @ moved), len(number)


def _estimate(value: float, error: float, n: int, clusters: int, confidence: float, *, test: bool = True) -> Estimate:
    if np.isinf(error):
        return Estimate(value, -np.inf, np.inf, n, JACKKNIFE_T)
    t = scipy.stats.t(clusters - 1)
    half = float(t.ppf((1 + confidence) / 2)) * error
    p = (2 * float(t.sf(abs(value) / error)) if error > 0 else float(value == 0)) if test else None
    return Estimate(value, value - half, value + half, n, JACKKNIFE_T, p)
