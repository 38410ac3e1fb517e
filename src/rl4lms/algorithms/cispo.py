"""Clipped importance sampling policy optimisation (MiniMax-M1, 2025, arXiv 2506.13585, equations 4 and 5): the ratio
only weighs the policy gradient, up to a bound, so that no token loses its gradient to clipping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from rl4lms.algorithms.group_relative import GroupRelative, check_kl
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import truncated_importance
from rl4lms.plugins.options import Option
from rl4lms.types import Tokens


@dataclass(kw_only=True)
class CISPO(GroupRelative):
    """Advantages among the completions of a prompt, a bounded weight of each token, KL in the loss."""

    n_epochs: Annotated[int, Option("passes over the completions of an iteration", ge=1)] = 2
    clip_range_high: Annotated[float, Option("the weight of a token is at most 1 + this", gt=0)] = 4.0

    @staticmethod
    def check_options(kl_in: str, kl_estimator: str) -> None:
        """Refuse an option without an effect."""
        check_kl(kl_in, kl_estimator)

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return -w A log π and the KL term, both averaged over tokens."""
        assert old.advantages is not None
        weight, clipped = truncated_importance(new.behaviour - old.logprobs, 1 + self.clip_range_high)
        loss = -(weight * old.advantages * new.behaviour).sum() / old.n_tokens
        stats = {"policy_loss": loss, "clip_fraction": clipped.float().sum() / old.n_tokens}
        if (kl := self.kl_of_tokens(new, old)) is not None:
            stats["kl_in_loss"] = kl.sum() / old.n_tokens
            loss = loss + self._kl_coef * stats["kl_in_loss"]
        return loss, stats
