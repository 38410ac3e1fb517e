"""Proximal policy optimisation (Schulman et al., 2017) on whole completions, with the ratio of the behaviour policy.

Sampling truncation is part of the policy: old and new log-probs are renormalised over the token mask that the rollout
recorded, so the first ratio is 1 whatever the sampling settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from rl4lms.algorithms.base import ActorCritic
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import ppo_policy_loss, value_loss
from rl4lms.plugins.options import Option
from rl4lms.types import Tokens


@dataclass(kw_only=True)
class PPO(ActorCritic):
    """Clipped surrogate, optionally clipped value loss, entropy bonus."""

    n_epochs: Annotated[int, Option("passes over the completions of an iteration", ge=1)] = 4
    clip_range: Annotated[
        float, Option("ε of the clipped surrogate: moving a ratio beyond 1 ± ε gains nothing", gt=0)
    ] = 0.2
    clip_range_vf: Annotated[float | None, Option("how far a value may move in one iteration; null: any", gt=0)] = None

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped surrogate minus the entropy bonus."""
        assert old.advantages is not None
        loss, stats = ppo_policy_loss(new.behaviour, old.logprobs, old.advantages, self.clip_range, old.n_tokens)
        return self.with_entropy(loss, stats, new, old)

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted squared error of the values."""
        assert old.returns is not None
        loss = value_loss(values, old.returns, old.n_tokens, old.values, self.clip_range_vf)
        return self.vf_coef * loss, {"value_loss": loss}
