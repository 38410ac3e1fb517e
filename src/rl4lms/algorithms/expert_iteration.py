"""Expert iteration (Anthony et al., 2017; RAFT, Dong et al., 2023, arXiv 2304.06767): sample several completions of a
prompt, and learn the best of them like a reference. With one epoch it is the cheapest thing that a reward can be used
for, and what RL has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.core.groups import best_of_group
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class ExpertIteration(Algorithm):
    """Maximum likelihood of the best completions; the KL term is part of what makes one best."""

    keep: Annotated[int, Option("completions of a prompt that are learned; fewer than there are", ge=1)] = 1

    @property
    def min_completions_per_prompt(self) -> int:  # type: ignore[override]
        """One more than are kept: of all of them none is better."""
        return self.keep + 1

    @property
    def needs_full_logprobs(self) -> bool:
        """For the likelihood, which is that of the model and not of how it was sampled."""
        return True

    def advantages(self, experience: Experience) -> None:
        """Give the tokens of what is learned the weight 1, those of all others 0."""
        e, totals = experience, (experience.rewards * experience.mask).sum(-1)
        e.advantages = best_of_group(totals, e.row_mask, e.rollout.group_size, self.keep)[:, None] * e.mask.float()

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the negative log-likelihood, averaged over tokens."""
        assert new.full is not None
        loss = -new.full.sum() / old.n_tokens
        return loss, {"policy_loss": loss}

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Train on the chosen completions alone."""
        assert experience.advantages is not None
        chosen = experience.advantages.any(-1)
        rest = replace(experience, row_mask=chosen)
        return super().update(rest, step) | {"kept_completions": float(chosen.float().mean())}
