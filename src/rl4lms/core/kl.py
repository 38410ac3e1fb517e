"""KL estimators on sampled tokens, and the adaptive coefficient."""

from __future__ import annotations

import torch
from torch import Tensor


def k1(log_ratio: Tensor) -> Tensor:
    """Single-sample estimate of KL(p || q) from log p - log q on samples of p: unbiased, may be negative (Schulman,
    2020).
    """
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """Estimate KL(p || q) from log p - log q on samples of p as x^2 / 2: biased, and its gradient in a loss is that of
    the KL itself, which the gradient of `k1` is not (Schulman, 2020).
    """
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """Low-variance estimate of KL(p || q) from log p - log q on samples of p: exp(-x) - 1 + x >= 0, unbiased (Schulman,
    2020).
    """
    return torch.expm1(-log_ratio) + log_ratio


def exact_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) in closed form over the last dimension, (..., V) to (...)."""
    p, q = p_logits.float().log_softmax(-1), q_logits.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def next_kl_coef(kl_coef: float, kl_target: float | None, kl: float) -> float:
    """Return the weight of the KL term after an iteration whose mean KL per token was `kl` (Ziegler et al., 2019,
    section 2.2), with the target in nats per token.

    e = clip(KL / target - 1, -0.2, 0.2);  kl_coef <- kl_coef (1 + 0.1 e). Without a target the coefficient is constant.
    """
    if kl_target is None:
        return kl_coef
    return kl_coef * (1 + 0.1 * max(-0.2, min(0.2, kl / kl_target - 1)))


#: By name, what a loss may add; see Shao et al., 2024 (arXiv 2402.03300, equation 4), which takes k3.
ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}
