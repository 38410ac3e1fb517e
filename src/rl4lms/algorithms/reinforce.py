"""REINFORCE (Williams, 1992) on whole completions, with a baseline instead of a value function.

Every token of a completion has the same advantage, its return less a baseline: the completion is one action. The KL
term is in the reward, so that its sum over the tokens is part of the return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from torch import Tensor

from rl4lms.algorithms.base import Algorithm, check_one_pass
from rl4lms.algorithms.lengths import LengthNorm, SumLength, check_length, total
from rl4lms.core.advantages import masked_mean
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens


@dataclass(kw_only=True)
class Reinforce(Algorithm):
    """The policy gradient with the return of the completion."""

    minibatch_size: Annotated[int, Option("completions per optimiser step", ge=1)] = 64
    baseline: Annotated[
        Literal["none", "running", "batch"],
        Option("what is subtracted from a return: nothing; the mean of earlier iterations; the mean of this one"),
    ] = "batch"
    decay: Annotated[float, Option("of running: how much of the mean stays in an iteration", ge=0, lt=1)] = 0.9
    length_norm: LengthNorm = "constant"
    norm_length: SumLength = None

    def __post_init__(self) -> None:
        self._mean: float | None = None

    @staticmethod
    def check_options(n_epochs: int, length_norm: str, norm_length: int | None, baseline: str, decay: float) -> None:
        """Refuse further passes, and options without an effect."""
        check_one_pass("reinforce", n_epochs)
        check_length(length_norm, norm_length, needed=False)
        if baseline != "running" and decay != 0.9:
            raise ValueError("decay belongs to baseline: running")

    def advantages(self, experience: Experience) -> None:
        """Give every token the return of its completion less the baseline."""
        e = experience
        totals, scored = (e.rewards * e.mask).sum(-1), e.row_mask
        if self.baseline == "running":
            mean = float(masked_mean(totals, scored))
            advantage = totals - (mean if self._mean is None else self._mean)
            if bool(scored.any()):
                self._mean = mean if self._mean is None else self.decay * self._mean + (1 - self.decay) * mean
        else:
            advantage = totals - masked_mean(totals, scored) if self.baseline == "batch" else totals
        e.advantages = advantage[:, None] * e.mask

    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return -A log π, summed as `length_norm` says."""
        assert old.advantages is not None
        loss = total(-old.advantages * new.behaviour, old, self.length_norm, self.norm_length)
        return loss, {"policy_loss": loss}

    def state_dict(self) -> dict[str, Any]:
        """Return the running mean."""
        return {} if self._mean is None else {"mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the running mean."""
        self._mean = state.get("mean")
