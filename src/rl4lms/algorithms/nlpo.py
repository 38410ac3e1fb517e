"""Natural language policy optimisation (Ramamurthy et al., 2023, section 4): PPO whose action space is cut by a learned
top-p mask.

The masking policy psi is a copy of the policy theta. For every state it allows V_p(s), the smallest set of tokens that
holds probability top_p under psi, and the behaviour policy is theta renormalised over that set, in sampling and in the
ratio alike. Every `mask_update_every` iterations, after the update, psi <- theta, and rollouts use the new mask from
then on (`rollout/masking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rl4lms.algorithms.ppo import PPO
from rl4lms.config.masks import MaskConfig
from rl4lms.plugins.options import Option


@dataclass(kw_only=True)
class NLPO(PPO):
    """PPO inside the mask. The update is PPO's: the masks are in the rollout, and log-probs are renormalised over
    them.
    """

    mask_top_p: Annotated[float, Option("1 allows every token: PPO", gt=0, le=1)] = 0.9
    min_tokens_to_keep: Annotated[int, Option("lower bound of the mask's size", ge=1)] = 1
    mask_update_every: Annotated[int, Option("iterations between copies of the policy into the mask policy", ge=1)] = 10

    def own_mask(self) -> MaskConfig:
        """Return the mask of the paper, in this algorithm's words."""
        kept, every = self.min_tokens_to_keep, self.mask_update_every
        return MaskConfig(source="lagged", top_p=self.mask_top_p, min_tokens_to_keep=kept, refresh_every=every)
