"""Proximal policy optimisation (Schulman et al., 2017) on whole completions, with the ratio of the behaviour policy.

Sampling truncation is part of the policy: old and new log-probs are renormalised over the token mask that the rollout
recorded, so the first ratio is 1 whatever the sampling settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.core.advantages import gae, magnitude, whiten
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import ppo_policy_loss, value_loss
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class ActorCritic(Algorithm):
    """What algorithms with a value function share: generalised advantages, the loss of the values, an entropy bonus."""

    needs_value: ClassVar[bool] = True

    vf_coef: Annotated[float, Option("weight of the value loss", ge=0)] = 0.5
    ent_coef: Annotated[float, Option("weight of the entropy bonus; 0 saves the passes that it costs", ge=0)] = 0.0
    gamma: Annotated[float, Option("discount γ of rewards, per token", gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Option("λ of the advantages: 0 trusts the values, 1 the returns", ge=0, le=1)] = 0.95
    whiten_advantages: Annotated[bool, Option("bring them to mean 0 and deviation 1 over the iteration")] = True

    @property
    def needs_entropy(self) -> bool:
        """Only for the entropy bonus."""
        return self.ent_coef != 0

    def advantages(self, experience: Experience) -> None:
        """Compute GAE, whitened over the iteration's completion tokens."""
        e = experience
        values = self.learner.started_values(e)
        e.advantages, e.returns = gae(e.rewards, values, e.mask, self.gamma, self.gae_lambda)
        if self.whiten_advantages:
            e.advantages = whiten(e.advantages, e.mask, magnitude(e.mask, e.rewards, values, e.returns))

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted squared error of the values."""
        assert old.returns is not None
        loss = value_loss(values, old.returns, old.n_tokens)
        return self.vf_coef * loss, {"value_loss": loss}


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
        stats = {"policy_loss": loss, **stats}
        if new.entropy is not None:
            entropy = new.entropy.sum() / old.n_tokens
            loss, stats = loss - self.ent_coef * entropy, {**stats, "entropy": entropy}
        return loss, stats

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted squared error of the values."""
        assert old.returns is not None
        loss = value_loss(values, old.returns, old.n_tokens, old.values, self.clip_range_vf)
        return self.vf_coef * loss, {"value_loss": loss}
