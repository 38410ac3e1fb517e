"""Group relative policy optimisation (Shao et al., 2024, arXiv 2402.03300) and what became of it.

Completions of one prompt are each other's baseline; there is no value function. The KL term is in the loss, as in the
paper, or in the reward. Options make it DAPO (`clip_range_high: 0.28`, `length_norm: token`), Dr. GRPO
(`scale: none`, `length_norm: constant`), GSPO (`ratio: sequence`) or CISPO (`ratio: cispo`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.lengths import LengthNorm, NormLength, check_length, total
from rl4lms.core.groups import group_relative
from rl4lms.core.kl import ESTIMATORS
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import cispo_surrogate, clipped_surrogate
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class GRPO(Algorithm):
    """Advantages among the completions of a prompt, a clipped ratio, KL in the loss."""

    clip_range: Annotated[float, Option("how far below 1 a ratio gains by moving", gt=0)] = 0.2
    clip_range_high: Annotated[float | None, Option("how far above 1; null: clip_range", gt=0)] = None
    clip_dual: Annotated[float | None, Option("c of dual clip: a bad token's loss is at most c |A|", gt=1)] = None
    ratio: Annotated[
        Literal["token", "sequence", "cispo"],
        Option("token: of each token; sequence: their geometric mean (GSPO); cispo: a weight without gradient"),
    ] = "token"
    scale: Annotated[
        Literal["group", "batch", "none"], Option("whose standard deviation advantages are divided by")
    ] = "group"
    length_norm: LengthNorm = "sequence"
    norm_length: NormLength = None
    kl_in: Annotated[
        Literal["loss", "reward"], Option("where the KL term is; in the reward the means of the group are without it")
    ] = "loss"
    kl_estimator: Annotated[Literal["k1", "k2", "k3"], Option("of the KL term in the loss")] = "k3"

    @staticmethod
    def check_options(
        length_norm: str, norm_length: int | None, ratio: str, clip_dual: float | None, kl_in: str, kl_estimator: str
    ) -> None:
        """Refuse options without an effect."""
        check_length(length_norm, norm_length)
        if ratio == "cispo" and clip_dual is not None:
            raise ValueError("clip_dual has no effect with ratio: cispo, whose weights are cut above alone")
        if ratio == "sequence" and length_norm != "sequence":
            raise ValueError("length_norm has no effect with ratio: sequence, which has one term per completion")
        if kl_in == "reward" and kl_estimator != "k3":
            raise ValueError("kl_estimator has no effect with kl_in: reward; it is that of a loss")

    @property
    def min_completions_per_prompt(self) -> int:
        """Two: they are compared."""
        return 2

    @property
    def whole_sequences(self) -> bool:  # type: ignore[override]  # an option decides
        """Where the ratio is one of sequences."""
        return self.ratio == "sequence"

    @property
    def needs_full_logprobs(self) -> bool:
        """For the KL term in the loss."""
        return self.kl_in == "loss"

    def credit(self, experience: Experience, kl_coef: float) -> None:
        """Keep the weight of the KL term for the loss, or put the term into the rewards."""
        self._kl_coef = kl_coef
        if self.kl_in == "reward":
            super().credit(experience, kl_coef)
        else:
            experience.rewards = experience.scores

    def advantages(self, experience: Experience) -> None:
        """Give every token how much better its completion is than the others of its prompt."""
        e = experience
        totals = (e.rewards * e.mask).sum(-1)
        e.advantages = group_relative(totals, e.row_mask, e.rollout.group_size, self.scale)[:, None] * e.mask

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the surrogate, negated, and the KL term, both summed as `length_norm` says."""
        assert old.advantages is not None
        log_ratio, advantages = new.behaviour - old.logprobs, old.advantages
        low, high = self.clip_range, self.clip_range_high or self.clip_range
        if self.ratio == "sequence":
            log_ratio, advantages = old.mean_by_sequence(log_ratio), old.mean_by_sequence(advantages)
        if self.ratio == "cispo":
            gain, clipped = cispo_surrogate(log_ratio, new.behaviour, advantages, high)
        else:
            gain, clipped = clipped_surrogate(log_ratio, advantages, low, high, self.clip_dual)
        if self.ratio == "sequence":
            policy_loss, fraction = -gain.sum() / old.n_sequences, clipped.float().sum() / old.n_sequences
        else:
            policy_loss = total(-gain, old, self.length_norm, self.norm_length)
            fraction = clipped.float().sum() / old.n_tokens
        stats = {"policy_loss": policy_loss, "clip_fraction": fraction}
        if self.kl_in == "reward":
            return policy_loss, stats
        assert new.full is not None and old.ref_logprobs is not None
        kl = ESTIMATORS[self.kl_estimator](new.full - old.ref_logprobs)
        kl = total(kl, old, self.length_norm, self.norm_length)
        return policy_loss + self._kl_coef * kl, {**stats, "kl_in_loss": kl}
