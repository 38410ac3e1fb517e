"""Group sequence policy optimisation (Zheng et al., 2025, arXiv 2507.18071): GRPO with one ratio per completion, the
geometric mean of those of its tokens, so that what is clipped is what was rewarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from rl4lms.algorithms.group_relative import GroupRelative, check_kl
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import clipped_loss
from rl4lms.plugins.options import Option
from rl4lms.types import Tokens


@dataclass(kw_only=True)
class GSPO(GroupRelative):
    """Advantages among the completions of a prompt, a clipped ratio of completions, KL in the loss."""

    whole_sequences: ClassVar[bool] = True

    n_epochs: Annotated[int, Option("passes over the completions of an iteration", ge=1)] = 2
    clip_range: Annotated[float, Option("how far below 1 the ratio of a completion gains by moving", gt=0)] = 3e-4
    clip_range_high: Annotated[float, Option("how far above 1", gt=0)] = 4e-4

    @staticmethod
    def check_options(kl_in: str, kl_estimator: str) -> None:
        """Refuse an option without an effect."""
        check_kl(kl_in, kl_estimator)

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped surrogate, negated, and the KL term, both averaged over completions."""
        assert old.advantages is not None
        log_ratio = old.mean_by_sequence(new.behaviour - old.logprobs)
        advantages = old.mean_by_sequence(old.advantages)
        low, high = self.clip_range, self.clip_range_high
        loss, stats = clipped_loss(log_ratio, advantages, low, high, old.n_sequences)
        stats = {"policy_loss": loss, **stats}
        if (kl := self.kl_of_tokens(new, old)) is not None:
            stats["kl_in_loss"] = old.mean_by_sequence(kl).sum() / old.n_sequences
            loss = loss + self._kl_coef * stats["kl_in_loss"]
        return loss, stats
