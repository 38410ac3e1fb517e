"""Losses over N completion tokens of a minibatch, each a sum divided by `count`, the token count of the whole
minibatch.

Dividing by a given count rather than by N makes gradient accumulation exact: the losses of the pieces of a minibatch
add up to the loss of the minibatch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rl4lms.core.advantages import whiten


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, negated (Schulman et al., 2017, equation 7), over tensors (N,).

    L = -mean_t min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t),   r_t = exp(logprobs - old_logprobs).

    Args:
        logprobs: under the policy being trained.
        old_logprobs: under the policy that sampled.
        advantages: constants.
        clip_range: eps.
        count: number of tokens that the sum is divided by.

    Returns:
        The loss, and `clip_fraction`, a sum divided by `count` as well.
    """
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = -torch.minimum(ratio * advantages, clipped * advantages).sum() / count
    return loss, {"clip_fraction": ((ratio - 1).abs() > clip_range).sum().float() / count}


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, low: float, high: float, dual: float | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the clipped surrogate of each token or sequence, to be maximised, with a bound of its own on either side.

    min(r A, clip(r, 1 - low, 1 + high) A),  r = exp(log_ratio)   (PPO; with high > low "clip-higher", DAPO, Yu et al.,
    2025, arXiv 2503.14476, equation 8). With `dual` c > 1, where A < 0, not below c A (dual-clip PPO, Ye et al., 2020,
    arXiv 1912.09729, equation 9): a token that became much likelier and is bad has a bounded loss.

    Args:
        log_ratio: (N,), log-probs under the policy being trained minus those under the one that sampled.
        advantages: (N,), constants.
        low, high, dual: the bounds.

    Returns:
        The surrogate (N,), and (N,) bool: where a bound holds, so that no gradient flows.
    """
    ratio = log_ratio.exp()
    plain, clipped = ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages
    out = torch.minimum(plain, clipped)
    if dual is not None:
        out = torch.where(advantages < 0, torch.maximum(out, dual * advantages), out)
    return out, out != plain


def clipped_loss(
    log_ratio: Tensor, advantages: Tensor, low: float, high: float, count: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return `clipped_surrogate` of some sequences, negated, and the share of those that are clipped, both sums divided
    by `count`.
    """
    gain, clipped = clipped_surrogate(log_ratio, advantages, low, high)
    return -gain.sum() / count, {"clip_fraction": clipped.float().sum() / count}


def truncated_importance(log_ratio: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """Return importance weights min(r, most), r = exp(log_ratio), as constants (Ionides, 2008; CISPO, arXiv 2506.13585,
    equation 5).

    They correct for tokens that another policy drew, at the price of a bias where they are cut, and never more than
    `most` times. With tokens of a foreign engine, log_ratio is log-probs of the pass minus those of the engine.

    Args:
        log_ratio: (N,).
        most: the bound.

    Returns:
        The weights (N,), and (N,) bool: where they are cut.
    """
    ratio = log_ratio.detach().exp()
    return ratio.clamp(max=most), ratio > most


def value_loss(
    values: Tensor, returns: Tensor, count: int, old_values: Tensor | None = None, clip_range_vf: float | None = None
) -> Tensor:
    """Return mean squared error of the value function, over tensors (N,).

    With `clip_range_vf` values move at most that far from `old_values` (Stable-Baselines3).
    """
    if clip_range_vf is not None and old_values is not None:
        values = old_values + (values - old_values).clamp(-clip_range_vf, clip_range_vf)
    return ((values - returns) ** 2).sum() / count


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 - Var(returns - values) / Var(returns) over real tokens; NaN where the returns do not vary beyond
    rounding.
    """
    if not bool(whiten(returns, mask).any()):
        return float("nan")
    kind = torch.float32 if returns.device.type == "mps" else torch.float64  # MPS has no float64
    target, error = returns[mask].to(kind), (returns[mask].to(kind) - values[mask].to(kind))
    return 1 - float(error.var()) / float(target.var())
