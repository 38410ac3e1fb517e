"""REINFORCE with a leave-one-out baseline (Kool et al., 2019; RLOO, arXiv 2402.14740), from a recipe by file:

algorithm: {name: examples/own_algorithm.py:Reinforce}
rollout: {completions_per_prompt: 4}
"""

from dataclasses import dataclass

import rl4lms


@dataclass(kw_only=True)
class Reinforce(rl4lms.Algorithm):
    """Raise the log-prob of completions that score better than the others of their prompt."""

    def advantages(self, experience):
        """Compare every score, KL term included, with the mean of the other completions of its prompt that have one."""
        groups = (-1, experience.rollout.group_size)
        scored = experience.row_mask.view(groups)
        totals = experience.rewards.sum(-1).view(groups) * scored
        others = (totals.sum(-1, keepdim=True) - totals) / (scored.sum(-1, keepdim=True) - 1).clamp(min=1)
        experience.advantages = (totals - others).view(-1, 1) * experience.mask

    def loss(self, new, old):
        """Return the policy gradient's loss: the mean over tokens of -advantage times log-prob."""
        return -(old.advantages * new.behaviour).sum() / old.n_tokens, {}
