"""A loss of whole sequences, from a recipe by file: the clipped ratio of sequences of GSPO (Zheng et al., 2025, arXiv
2507.18071).

algorithm: {name: examples/own_sequence_loss.py:Gspo, clip_range: 0.2}
rollout: {completions_per_prompt: 4}
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import rl4lms


@dataclass(kw_only=True)
class Gspo(rl4lms.Algorithm):
    """Clip the ratio of whole completions, the geometric mean of their tokens' ratios, with advantages within
    groups.
    """

    whole_sequences: ClassVar[bool] = True
    clip_range: Annotated[float, rl4lms.Option("largest change of a sequence's ratio", gt=0)] = 0.2

    def advantages(self, experience):
        """Standardise the scores of every prompt's completions, those without a score left out."""
        groups = (-1, experience.rollout.group_size)
        scored = experience.row_mask.view(groups)
        totals, n = experience.rewards.sum(-1).view(groups) * scored, scored.sum(-1, keepdim=True).clamp(min=1)
        centred = (totals - totals.sum(-1, keepdim=True) / n) * scored
        deviation = (centred.square().sum(-1, keepdim=True) / n).sqrt()
        experience.advantages = (centred / (deviation + 1e-4)).view(-1, 1) * experience.mask

    def loss(self, new, old):
        """Return the clipped surrogate of sequences, averaged over the sequences of the minibatch."""
        ratio = old.mean_by_sequence(new.behaviour - old.logprobs).exp()
        advantage = old.mean_by_sequence(old.advantages)
        surrogate = (ratio * advantage).minimum(ratio.clamp(1 - self.clip_range, 1 + self.clip_range) * advantage)
        return -surrogate.sum() / old.n_sequences, {"sequence_ratio": ratio.detach().sum() / old.n_sequences}
