"""Group relative policy optimisation (Shao et al., 2024, arXiv 2402.03300): completions of one prompt are each other's
baseline, there is no value function, and the KL term is in the loss, as in the paper, or in the reward.

DAPO is `clip_range_high: 0.28, length_norm: token`, Dr. GRPO `scale: none, length_norm: constant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.lengths import LengthNorm, NormLength, check_length, total
from rl4lms.core.groups import group_relative
from rl4lms.core.kl import ESTIMATORS
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import clipped_surrogate
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class GRPO(Algorithm):
    """Advantages among the completions of a prompt, a clipped ratio, KL in the loss."""

    min_completions_per_prompt: ClassVar[int] = 2

    clip_range: Annotated[float, Option("how far below 1 a ratio gains by moving", gt=0)] = 0.2
    clip_range_high: Annotated[float | None, Option("how far above 1; null: clip_range", gt=0)] = None
    clip_dual: Annotated[float | None, Option("c of dual clip: a bad token's loss is at most c |A|", gt=1)] = None
    scale: Annotated[Literal["group", "batch", "none"], Option("whose deviation divides advantages")] = "group"
    length_norm: LengthNorm = "sequence"
    norm_length: NormLength = None
    kl_in: Annotated[Literal["loss", "reward"], Option("where the KL term is")] = "loss"
    kl_estimator: Annotated[Literal["k1", "k2", "k3"], Option("of the KL term in the loss")] = "k3"

    @staticmethod
    def check_options(length_norm: str, norm_length: int | None, kl_in: str, kl_estimator: str) -> None:
        """Refuse options without an effect."""
        check_length(length_norm, norm_length)
        if kl_in == "reward" and kl_estimator != "k3":
            raise ValueError("kl_estimator has no effect with kl_in: reward; it is that of a loss")

    @property
    def needs_full_logprobs(self) -> bool:
        """For the KL term in the loss."""
        return self.kl_in == "loss"

    def credit(self, experience: Experience, kl_coef: float) -> None:
        """Keep the weight of the KL term for the loss, or put the term into the rewards."""
        self._kl_coef = kl_coef
        if self.kl_in == "reward":
            super().credit(experience, kl_coef)

    def advantages(self, experience: Experience) -> None:
        """Give every token how much better its completion is than the others of its prompt."""
        e, totals = experience, (experience.rewards * experience.mask).sum(-1)
        e.advantages = group_relative(totals, e.row_mask, e.rollout.group_size, self.scale)[:, None] * e.mask

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped surrogate, negated, and the KL term, both summed as `length_norm` says."""
        assert old.advantages is not None
        high = self.clip_range_high or self.clip_range
        log_ratio = new.behaviour - old.logprobs
        gain, clipped = clipped_surrogate(log_ratio, old.advantages, self.clip_range, high, self.clip_dual)
        loss = total(-gain, old, self.length_norm, self.norm_length)
        stats = {"policy_loss": loss, "clip_fraction": clipped.float().sum() / old.n_tokens}
        if self.kl_in == "loss":
            assert new.full is not None and old.ref_logprobs is not None
            kl = ESTIMATORS[self.kl_estimator](new.full - old.ref_logprobs)
            stats["kl_in_loss"] = total(kl, old, self.length_norm, self.norm_length)
            loss = loss + self._kl_coef * stats["kl_in_loss"]
        return loss, stats
