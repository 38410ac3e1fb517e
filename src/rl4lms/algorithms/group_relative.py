"""What GRPO and its kin share: advantages among the completions of a prompt, no value function, and the KL term in the
loss or in the reward (Shao et al., 2024, arXiv 2402.03300, equations 3 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.core.groups import group_relative
from rl4lms.core.kl import ESTIMATORS
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class GroupRelative(Algorithm):
    """Advantages and KL of GRPO; a subclass has the surrogate."""

    min_completions_per_prompt: ClassVar[int] = 2

    scale: Annotated[Literal["group", "batch", "none"], Option("whose deviation divides advantages")] = "group"
    kl_in: Annotated[Literal["loss", "reward"], Option("where the KL term is")] = "loss"
    kl_estimator: Annotated[
        Literal["k1", "k2", "k3", "exact"],
        Option("of the KL term in the loss; exact sums over the vocabulary and costs a pass of the reference"),
    ] = "k3"

    @property
    def needs_full_logprobs(self) -> bool:
        """For the estimators of the KL in the loss."""
        return self.kl_in == "loss" and self.kl_estimator != "exact"

    @property
    def needs_exact_kl(self) -> bool:
        """For the KL itself in the loss."""
        return self.kl_in == "loss" and self.kl_estimator == "exact"

    def credit(self, experience: Experience, kl_coef: float) -> None:
        """Keep the weight of the KL term for the loss, or put the term into the rewards."""
        self._kl_coef = kl_coef
        if self.kl_in == "reward":
            super().credit(experience, kl_coef)

    def advantages(self, experience: Experience) -> None:
        """Give every token how much better its completion is than the others of its prompt."""
        e, totals = experience, (experience.rewards * experience.mask).sum(-1)
        e.advantages = group_relative(totals, e.row_mask, e.rollout.group_size, self.scale)[:, None] * e.mask

    def kl_of_tokens(self, new: TokenLogprobs, old: Tokens) -> Tensor | None:
        """Return the KL (N,) that the loss adds, or None where it adds none."""
        if self.kl_in == "reward":
            return None
        if self.kl_estimator == "exact":
            return new.kl
        assert new.full is not None and old.ref_logprobs is not None
        return ESTIMATORS[self.kl_estimator](new.full - old.ref_logprobs)


def check_kl(kl_in: str, kl_estimator: str) -> None:
    """Refuse an estimator without a use.

    Raises:
        ValueError: the KL term is in the reward, which has one estimator.
    """
    if kl_in == "reward" and kl_estimator != "k3":
        raise ValueError("kl_estimator has no effect with kl_in: reward; it is that of a loss")
