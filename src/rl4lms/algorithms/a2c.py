"""Advantage actor-critic (Mnih et al., 2016, arXiv 1602.01783): the policy gradient itself, with a value function.

The gradient is PPO's where the ratio is 1: one pass over the completions, and nothing to clip. With the default of
`minibatch_size` it is one optimiser step per iteration, as in Stable-Baselines3; a smaller one takes later steps with
completions that an older policy drew, which nothing corrects. `optimizer: {name: rmsprop}` is the optimiser of the
paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from rl4lms.algorithms.base import ActorCritic, check_one_pass
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.plugins.options import Option
from rl4lms.types import Tokens


@dataclass(kw_only=True)
class A2C(ActorCritic):
    """The plain policy gradient with generalised advantages."""

    minibatch_size: Annotated[int, Option("completions per optimiser step", ge=1)] = 64
    gae_lambda: Annotated[float, Option("λ of the advantages: 0 trusts the values, 1 the returns", ge=0, le=1)] = 1.0

    @staticmethod
    def check_options(n_epochs: int) -> None:
        """Refuse further passes."""
        check_one_pass("a2c", n_epochs)

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return -A log π minus the entropy bonus, averaged over tokens."""
        assert old.advantages is not None
        loss = -(old.advantages * new.behaviour).sum() / old.n_tokens
        return self.with_entropy(loss, {}, new, old)
