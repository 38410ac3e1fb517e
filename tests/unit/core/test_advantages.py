"""Advantages: GAE, means and whitening keep small signals on large offsets, and make nothing of rounding."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from rl4lms.core import advantages
from rl4lms.core.advantages import gae, masked_mean, whiten

OFFSETS = (0.0, 0.3, -7.0, 1000.3, 1e6, -1e-9, 3e30)
SHAPES = st.sampled_from([(1, 1), (1, 2), (3, 7), (16, 37), (64, 48)])
GAMMAS, LAMBDAS = st.sampled_from([1.0, 0.97, 0.9]), st.sampled_from([1.0, 0.95, 0.5, 0.0])
SEEDS = st.integers(0, 2**32 - 1)
EPSILON = 2.0**-24  # half a unit in the last place of 1.0: what float32 rounds by


def some(shape: tuple[int, int], seed: int) -> Tensor:
    """A mask of this shape with a few or many True entries, perhaps none."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random(shape) < rng.random())


def episodes(rows: int, columns: int, seed: int) -> Tensor:
    """A mask of rows that begin with real tokens; the first row is full."""
    lengths = torch.from_numpy(np.random.default_rng(seed).integers(1, columns + 1, rows))
    lengths[0] = columns
    return torch.arange(columns) < lengths[:, None]


def exact_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[Fraction]:
    """Equation 16 as a sum over the rest of one episode, in fractions."""
    r, v, g = [Fraction(x) for x in rewards], [*(Fraction(x) for x in values), Fraction(0)], Fraction(gamma)
    delta = [r[t] + g * v[t + 1] - v[t] for t in range(len(r))]
    return [sum((g * Fraction(lam)) ** (k - t) * delta[k] for k in range(t, len(r))) for t in range(len(r))]


class TestNoSignal:
    @given(st.sampled_from(OFFSETS), SHAPES, SEEDS)
    @example(0.3, (16, 37), 0)  # float32 said 0.9986 everywhere
    def test_equal_values_are_whitened_to_zero(self, offset: float, shape: tuple[int, int], seed: int) -> None:
        assert not whiten(torch.full(shape, offset), some(shape, seed)).any()

    @given(st.sampled_from(OFFSETS), SHAPES, SEEDS)
    def test_so_they_are_without_float64(self, offset: float, shape: tuple[int, int], seed: int) -> None:
        with pytest.MonkeyPatch.context() as patch:  # what MPS computes with
            patch.setattr(advantages, "_within", lambda values, mask: torch.where(mask, values, 0.0))
            assert not whiten(torch.full(shape, max(-1e15, min(offset, 1e15))), some(shape, seed)).any()

    @given(st.sampled_from(OFFSETS), SHAPES, SEEDS)
    def test_values_a_few_units_apart_become_zero(self, offset: float, shape: tuple[int, int], seed: int) -> None:
        """Units in the last place, from the offset."""
        units = torch.from_numpy(np.random.default_rng(seed).integers(-4, 5, shape))
        values = (torch.full(shape, offset, dtype=torch.float64) * (1 + 2 * EPSILON * units)).float()
        assert not whiten(values, some(shape, seed)).any()

    @given(st.sampled_from([0.3, -7.0, 1000.3, 1e6]), GAMMAS, LAMBDAS, SEEDS)
    def test_values_equal_to_returns_leave_rounding(self, reward: float, gamma: float, lam: float, seed: int) -> None:
        mask = episodes(8, 60, seed)
        to_go = mask.flip(1).cumsum(1).flip(1) - 1  # tokens that follow
        rewards = torch.where(mask & (to_go == 0), reward, 0.0)
        values = torch.where(mask, reward * gamma ** to_go.double(), 0.0).float()
        estimated, returns = gae(rewards, values, mask, gamma, lam)
        assert estimated.abs().max() <= 8 * EPSILON * abs(reward)
        assert (returns - values).abs().max() <= 8 * EPSILON * abs(reward)
        if gamma == 1:
            assert not estimated.any()
        assert not whiten(estimated, mask, scale=abs(reward)).any()

    @pytest.mark.parametrize("scale", [2.0, torch.tensor(2.0)])
    def test_the_scale_says_what_is_rounding(self, scale: float | Tensor) -> None:
        values, mask = torch.tensor([[1e-7, -1e-7, 2e-7, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
        assert whiten(values, mask).std().item() == pytest.approx(1)  # of numbers as small as these it is a signal
        assert not whiten(values, mask, scale=scale).any()
        assert whiten(values, mask, scale=0.01).std().item() == pytest.approx(1)


class TestSignal:
    @given(
        st.sampled_from([0.0, 0.3, -7.0, 1000.3, -1e4]),
        st.sampled_from([0.05, 1.0, 30.0]),
        st.integers(2, 60),
        st.integers(0, 9),
        SEEDS,
    )
    def test_it_is_that_of_fractions(self, offset: float, step: float, n: int, padding: int, seed: int) -> None:
        """Mean and unbiased deviation by Python's statistics, which computes with fractions."""
        rng = np.random.default_rng(seed)
        numbers = (offset + step * rng.integers(-3, 4, n)).astype(np.float32)
        numbers[:2] = offset + step, offset - step
        mask = torch.from_numpy(rng.permutation(n + padding) < n)
        values = torch.full((n + padding,), math.nan)  # what is masked out is not read
        values[mask] = torch.from_numpy(numbers)
        exact = [Fraction(float(x)) for x in numbers]
        mean, deviation = statistics.mean(exact), float(statistics.variance(exact)) ** 0.5
        expected = [float(x - mean) / deviation for x in exact]
        out = whiten(values, mask)
        assert out.dtype == torch.float32
        assert out[mask].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-7)
        assert not out[~mask].any()

    def test_one_different_value_among_many_is_a_signal(self) -> None:
        """The deviation is 5e-7 of the offset, as rounding might give; the distance of that value is not."""
        values = torch.full((100, 100), 1000.0)
        values[3, 4] += 0.05
        out = whiten(values, torch.ones(100, 100, dtype=torch.bool))
        assert out[3, 4].item() == pytest.approx(99.99, abs=0.01)  # (n - 1) / √n
        assert out.std().item() == pytest.approx(1, abs=1e-5)

    def test_values_whose_squares_float32_does_not_hold(self) -> None:
        for size in (1e-30, 1e30):
            out = whiten(torch.tensor([size, -size, 0.0]), torch.ones(3, dtype=torch.bool))
            assert out.tolist() == pytest.approx([1, -1, 0])

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_is_not_hidden(self, bad: float) -> None:
        assert whiten(torch.tensor([1.0, bad, 1.0]), torch.ones(3, dtype=torch.bool)).isnan().all()

    @given(st.sampled_from([0.0, 1000.3, 1e6]), GAMMAS, LAMBDAS, SEEDS)
    def test_gae_equals_its_definition_in_fractions(self, offset: float, gamma: float, lam: float, seed: int) -> None:
        """To the rounding of its result, whatever the offset of rewards and values."""
        rng = np.random.default_rng(seed)
        mask = episodes(3, 12, seed)
        rewards, values = (torch.from_numpy(offset + rng.normal(size=mask.shape)).float() for _ in range(2))
        rewards[~mask] = values[~mask] = math.nan
        estimated, returns = gae(rewards, values, mask, gamma, lam)
        assert estimated.dtype == returns.dtype == torch.float32
        assert not estimated[~mask].any()
        assert not returns[~mask].any()
        for row, real in enumerate(mask):
            exact = exact_gae(rewards[row][real].tolist(), values[row][real].tolist(), gamma, lam)
            near = {"rel": 1.1 * EPSILON, "abs": 1e-9 * (1 + offset)}
            both = [float(a + Fraction(v)) for a, v in zip(exact, values[row][real].tolist(), strict=True)]
            assert estimated[row][real].tolist() == pytest.approx([float(x) for x in exact], **near)
            assert returns[row][real].tolist() == pytest.approx(both, **near)


class TestMaskedMean:
    @given(st.sampled_from(OFFSETS), SHAPES, SEEDS)
    def test_it_is_the_exact_mean_rounded_once(self, offset: float, shape: tuple[int, int], seed: int) -> None:
        rng, mask = np.random.default_rng(seed), some(shape, seed)
        values = torch.from_numpy(offset + rng.normal(size=shape)).float()
        chosen = [Fraction(x) for x in values[mask].tolist()]
        expected = float(sum(chosen) / len(chosen)) if chosen else 0.0
        values[~mask] = math.nan
        mean = masked_mean(values, mask)
        assert mean.dtype == torch.float32
        assert float(mean) == pytest.approx(expected, rel=1.1 * EPSILON, abs=1e-12 * abs(offset) + 1e-15)

    @given(st.sampled_from(OFFSETS), SHAPES, SEEDS)
    def test_the_mean_of_equal_values_is_that_value(self, offset: float, shape: tuple[int, int], seed: int) -> None:
        mask = some(shape, seed)
        mask[0, 0] = True
        assert masked_mean(torch.full(shape, offset), mask) == torch.tensor(offset)
