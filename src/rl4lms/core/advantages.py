"""Scores on tokens, and advantage estimates of them."""

from __future__ import annotations

import torch
from torch import Tensor

# Differences below this share of the numbers they are taken between are rounding: float32 rounds by 6e-8, and GAE adds
# up a few such errors.
_ROUNDING = 1e-6


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Estimate generalised advantages (Schulman et al., 2016, equation 16) on whole episodes.

    delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lambda A_{t+1},   with V = A = 0 after the last token:
    the token budget is the horizon of the MDP, so an EOS and an exhausted budget both end the episode without a
    bootstrap. Computed in float64 (float32 on MPS): where the values are the returns, advantages are no larger than the
    rounding of the inputs.

    Args:
        rewards, values: float32 (B, T); what they hold where `mask` is False is not read.
        mask: bool (B, T); real tokens come first in each row.
        gamma, lam: in [0, 1].

    Returns:
        advantages and returns (advantages + values), float32 (B, T), zero where `mask` is False.
    """
    kind = rewards.dtype
    rewards, values = _within(rewards, mask), _within(values, mask)
    following = next_value = torch.zeros_like(rewards[:, 0])
    columns = []
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        next_value = values[:, t]
        columns.append(following)
    advantages = torch.stack(columns[::-1], dim=1)
    return advantages.to(kind), (advantages + values).to(kind)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average `values` over the True entries of `mask`, of the same shape; 0 where there are none.

    Returns:
        () in the type of `values`. The sum is taken in float64 (float32 on MPS): the mean of equal values is that one.
    """
    return _mean(_within(values, mask), mask).to(values.dtype)


def whiten(values: Tensor, mask: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1 over the True entries of `mask`; zero elsewhere.

    The variance is the unbiased one, as in Stable-Baselines3. Where no entry is further from the mean than 1e-6 `scale`
    there is rounding but no signal, and the result is zero everywhere. One entry that is not finite makes all NaN.

    Args:
        values: float (...).
        mask: bool, of the same shape.
        scale: the largest magnitude of the numbers whose differences `values` are; for advantages that is the largest
            reward, value or return. Default: the largest magnitude of a real entry.

    Returns:
        (...) in the type of `values`; computed in float64 (float32 on MPS).
    """
    within = _within(values, mask)
    centred = torch.where(mask, within - _mean(within, mask), 0.0)
    deviation = ((centred**2).sum() / (mask.sum() - 1).clamp(min=1)).sqrt()
    if scale is None:
        scale = _peak(within)
    # A comparison with NaN is False: what is not finite is passed on, not taken for the absence of a signal.
    silent = _peak(centred) <= _ROUNDING * scale
    return torch.where(silent | ~mask, 0.0, centred / deviation).to(values.dtype)


def magnitude(mask: Tensor, *numbers: Tensor) -> Tensor:
    """Return the largest magnitude () of some numbers, each of the shape of `mask`, where it is True; 0 of none."""
    return torch.stack([_peak(_within(values, mask)) for values in numbers]).max()


def place_last(values: Tensor, mask: Tensor) -> Tensor:
    """Put one value per row (B,) on the row's last real token; float32 (B, T), zero elsewhere. Rows of `mask` are
    padded on the right.
    """
    last = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    placed = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    return placed.scatter(1, last, values[:, None].to(placed.dtype)) * mask


def last_values(values: Tensor, mask: Tensor) -> Tensor:
    """Take the value at each row's last real token: (B, T) to (B,), 0 for a row without any. Rows of `mask` are padded
    on the right.
    """
    last = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    return values.gather(1, last)[:, 0] * mask.any(-1)


def _within(values: Tensor, mask: Tensor) -> Tensor:
    """Widen `values` to float64, which MPS has not, with zeros where `mask` is False whatever stands there."""
    return torch.where(mask, values.float() if values.device.type == "mps" else values.double(), 0.0)


def _mean(within: Tensor, mask: Tensor) -> Tensor:
    return within.sum() / mask.sum().clamp(min=1)


def _peak(values: Tensor) -> Tensor:
    """Find the largest magnitude, 0 of nothing."""
    return torch.cat([values.flatten().abs(), values.new_zeros(1)]).max()
