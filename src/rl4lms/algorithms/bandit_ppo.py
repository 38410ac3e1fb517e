"""PPO on a contextual bandit: the whole completion is one action, as in the comparison of Ramamurthy et al. (2023,
section 5.2) with the token-level MDP.

The return is the sum of all rewards, the baseline is the value of the prompt, and the ratio is the product of those of
the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from rl4lms.algorithms.ppo import PPO
from rl4lms.core.advantages import magnitude, place_last, whiten
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import clipped_loss, explained_variance, value_loss
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens

_ONE = Option("one action has no later ones: 1 is its only value", ge=1, le=1)


@dataclass(kw_only=True)
class BanditPPO(PPO):
    """PPO with one action per completion."""

    whole_sequences: ClassVar[bool] = True

    gamma: Annotated[float, _ONE] = 1.0
    gae_lambda: Annotated[float, _ONE] = 1.0

    def credit(self, experience: Experience, kl_coef: float) -> None:
        """Put the sum of the rewards, the KL term included, on the last token."""
        super().credit(experience, kl_coef)
        e = experience
        e.rewards = place_last((e.rewards * e.mask).sum(-1), e.mask)

    def advantages(self, experience: Experience) -> None:
        """Subtract the value of the prompt from the return, for all tokens alike; whitened over completions."""
        e, rows = experience, experience.mask.any(-1)
        values, returns = self.learner.started_values(e)[:, 0], e.rewards.sum(-1)
        advantages = returns - values
        if self.whiten_advantages:
            advantages = whiten(advantages, rows, magnitude(rows, returns, values))
        e.advantages, e.returns = advantages[:, None] * e.mask, returns[:, None] * e.mask

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Run PPO's update; only the values of prompts are fitted, and explain anything."""
        e, stats = experience, super().update(experience, step)
        if "explained_variance" in stats:
            assert e.values is not None and e.returns is not None
            stats["explained_variance"] = explained_variance(e.values[:, :1], e.returns[:, :1], e.mask[:, :1])
        return stats

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped surrogate of completions, negated, minus the entropy bonus of tokens."""
        assert old.advantages is not None
        log_ratio = old.sum_by_sequence(new.behaviour - old.logprobs)
        advantages = old.mean_by_sequence(old.advantages)
        loss, stats = clipped_loss(log_ratio, advantages, self.clip_range, self.clip_range, old.n_sequences)
        return self.with_entropy(loss, stats, new, old)

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted squared error of the values of prompts, those before the first tokens."""
        assert old.returns is not None and old.values is not None
        first = old.row.diff(prepend=torch.full_like(old.row[:1], -1)) != 0
        known = (old.returns[first], old.n_sequences, old.values[first], self.clip_range_vf)
        loss = value_loss(values[first], *known)
        return self.vf_coef * loss, {"value_loss": loss}
