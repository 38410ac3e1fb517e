"""Natural language policy optimisation (Ramamurthy et al., 2023, section 4): PPO whose action space is cut by a learned
top-p mask.

The masking policy psi is a copy of the policy theta. For every state it allows V_p(s), the smallest set of tokens that
holds probability top_p under psi, and the behaviour policy is theta renormalised over that set, in sampling and in the
ratio alike. Every `mask_update_every` iterations, after the update, psi <- theta, and rollouts use the new mask from
then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from rl4lms.algorithms.ppo import PPO
from rl4lms.core import token_masks
from rl4lms.models.build import copy_policy_weights
from rl4lms.models.generate import MaskRule
from rl4lms.plugins.options import Option
from rl4lms.types import Experience


@dataclass(kw_only=True)
class NLPO(PPO):
    """PPO inside the mask. The update is PPO's: the masks are in the rollout, and log-probs are renormalised over
    them.
    """

    needs_mask_policy: ClassVar[bool] = True

    mask_top_p: Annotated[float, Option("1 allows every token: PPO", gt=0, le=1)] = 0.9
    min_tokens_to_keep: Annotated[int, Option("lower bound of the mask's size", ge=1)] = 1
    mask_update_every: Annotated[int, Option("iterations between copies of the policy into the mask policy", ge=1)] = 10

    def mask_rule(self) -> MaskRule:
        """Return the mask of the next rollout; it reads the masking policy's present weights."""
        return MaskRule(self.learner.mask_policy, self.mask_top_p, self.min_tokens_to_keep)

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Run PPO's update, then psi <- theta in every `mask_update_every`-th iteration."""
        stats = super().update(experience, step)
        packed = experience.rollout.token_mask
        assert packed is not None
        sizes = token_masks.size(packed[experience.mask]).float()
        if len(sizes):
            stats |= {"mask_size": float(sizes.mean()), "mask_size_median": float(sizes.median())}
        refreshed = (step + 1) % self.mask_update_every == 0
        if refreshed:
            with torch.no_grad():
                copy_policy_weights(self.learner.policy, self.learner.mask_policy)
        return stats | {"mask_refreshed": float(refreshed)}
