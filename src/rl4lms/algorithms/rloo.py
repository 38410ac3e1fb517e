"""REINFORCE leave-one-out (Kool et al., 2019; Ahmadian et al., 2024, arXiv 2402.14740, equation 8): the baseline of a
completion is the mean return of the other ones of its prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from rl4lms.algorithms.base import Algorithm, check_one_pass
from rl4lms.algorithms.lengths import LengthNorm, SumLength, check_length, total
from rl4lms.core.groups import leave_one_out
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class RLOO(Algorithm):
    """The policy gradient with returns compared within a prompt; the KL term is part of the return."""

    min_completions_per_prompt: ClassVar[int] = 2

    minibatch_size: Annotated[int, Option("completions per optimiser step", ge=1)] = 64
    length_norm: LengthNorm = "constant"
    norm_length: SumLength = None

    @staticmethod
    def check_options(n_epochs: int, length_norm: str, norm_length: int | None) -> None:
        """Refuse further passes, and options without an effect."""
        check_one_pass("rloo", n_epochs)
        check_length(length_norm, norm_length, needed=False)

    def advantages(self, experience: Experience) -> None:
        """Give every token the return of its completion less the mean of the others of its prompt."""
        e, totals = experience, (experience.rewards * experience.mask).sum(-1)
        e.advantages = leave_one_out(totals, e.row_mask, e.rollout.group_size)[:, None] * e.mask

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return -A log π, summed as `length_norm` says."""
        assert old.advantages is not None
        loss = total(-old.advantages * new.behaviour, old, self.length_norm, self.norm_length)
        return loss, {"policy_loss": loss}
