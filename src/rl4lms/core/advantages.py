"""Advantage estimates over completion tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al., 2016, equation 16) on whole episodes.

    delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lambda A_{t+1},   with V = A = 0 after the last real token: the token
    budget is the horizon of the MDP, so an EOS and an exhausted budget both end the episode without a bootstrap.

    Args:
        rewards, values: float32 (B, T).
        mask: bool (B, T); real tokens come first in each row.
        gamma, lam: in [0, 1].

    Returns:
        advantages and returns (advantages + values), float32 (B, T), zero where `mask` is False.
    """
    rewards, values = rewards * mask, values * mask
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    columns = []
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        next_value = values[:, t]
        columns.append(following)
    advantages = torch.stack(columns[::-1], dim=1)
    return advantages, (advantages + values) * mask


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True, over all dimensions; 0 where nothing is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Shifts and scales to mean 0 and standard deviation 1 over the True entries; zero elsewhere.

    The mean is always removed. The variance is the unbiased one, as in Stable-Baselines3; fewer than two entries are only centred.
    """
    count = mask.sum()
    centred = (values - masked_mean(values, mask)) * mask
    if count < 2:
        return centred
    return centred / ((centred**2).sum() / (count - 1)).sqrt().clamp(min=eps)
