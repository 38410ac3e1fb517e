"""Group relative policy optimisation (Shao et al., 2024, arXiv 2402.03300): completions of one prompt are each other's
baseline, there is no value function, and the KL term is in the loss, as in the paper, or in the reward.

DAPO is `clip_range_high: 0.28, length_norm: token`, Dr. GRPO `scale: none, length_norm: constant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from rl4lms.algorithms.group_relative import GroupRelative, check_kl
from rl4lms.algorithms.lengths import LengthNorm, NormLength, check_length, total
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import clipped_surrogate
from rl4lms.plugins.options import Option
from rl4lms.types import Tokens


@dataclass(kw_only=True)
class GRPO(GroupRelative):
    """Advantages among the completions of a prompt, a clipped ratio, KL in the loss."""

    clip_range: Annotated[float, Option("how far below 1 a ratio gains by moving", gt=0)] = 0.2
    clip_range_high: Annotated[float | None, Option("how far above 1; null: clip_range", gt=0)] = None
    clip_dual: Annotated[float | None, Option("c of dual clip: a bad token's loss is at most c |A|", gt=1)] = None
    length_norm: LengthNorm = "sequence"
    norm_length: NormLength = None

    @staticmethod
    def check_options(length_norm: str, norm_length: int | None, kl_in: str, kl_estimator: str) -> None:
        """Refuse options without an effect."""
        check_kl(kl_in, kl_estimator)
        check_length(length_norm, norm_length, needed=True)

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped surrogate, negated, and the KL term, both summed as `length_norm` says."""
        assert old.advantages is not None
        high = self.clip_range_high or self.clip_range
        log_ratio = new.behaviour - old.logprobs
        gain, clipped = clipped_surrogate(log_ratio, old.advantages, self.clip_range, high, self.clip_dual)
        loss = total(-gain, old, self.length_norm, self.norm_length)
        stats = {"policy_loss": loss, "clip_fraction": clipped.float().sum() / old.n_tokens}
        if (kl := self.kl_of_tokens(new, old)) is not None:
            stats["kl_in_loss"] = total(kl, old, self.length_norm, self.norm_length)
            loss = loss + self._kl_coef * stats["kl_in_loss"]
        return loss, stats
