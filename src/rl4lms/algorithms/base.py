"""What an algorithm is: its options, its credit and advantages, its loss. What all of them share is the `Learner`'s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from torch import Tensor

from rl4lms.algorithms.learner import Learner
from rl4lms.config.masks import MaskConfig
from rl4lms.core.advantages import gae, magnitude, whiten
from rl4lms.core.logprobs import TokenLogprobs
from rl4lms.core.losses import value_loss
from rl4lms.plugins.options import Option
from rl4lms.types import Experience, Tokens

Stats = Mapping[str, Tensor]


@dataclass(kw_only=True)
class Algorithm(ABC):
    """Base of every algorithm. Its fields are its options in a recipe; a subclass adds its own as fields with defaults.

    The experience is that of the whole iteration on every process, so that means over it need no communication.

    Attributes:
        needs_value: whether it has a value function.
        needs_reference: whether the log-probs of the reference policy are computed; without, `experience.kl` is None.
        whole_sequences: whether `loss` needs all tokens of its rows at once, because it is no sum over tokens.
        own_step: whether it steps the policy itself, and the optimiser only the value function, which needs weights of
            its own.
        second_derivatives: whether it differentiates a log-prob pass twice.
        min_completions_per_prompt: how many completions of a prompt it compares; a recipe with fewer is refused.
        learner: what it trains; there from `bind` on.
    """

    needs_value: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True
    whole_sequences: ClassVar[bool] = False
    own_step: ClassVar[bool] = False
    second_derivatives: ClassVar[bool] = False
    min_completions_per_prompt: ClassVar[int] = 1

    n_epochs: Annotated[int, Option("passes over the completions of an iteration", ge=1)] = 1
    minibatch_size: Annotated[int, Option("completions per optimiser step", ge=1)] = 16
    target_kl: Annotated[float | None, Option("stop the update above 1.5 x this k3 estimate", gt=0)] = None
    learner: Learner = field(init=False, repr=False)

    def bind(self, learner: Learner) -> None:
        """Take what is trained, before the first iteration."""
        self.learner = learner

    @property
    def needs_entropy(self) -> bool:
        """Whether `loss` reads `TokenLogprobs.entropy`, which costs passes over the vocabulary."""
        return False

    @property
    def needs_full_logprobs(self) -> bool:
        """Whether `loss` reads `TokenLogprobs.full`, the log-probs that a KL term in the loss compares with the
        reference's.
        """
        return False

    @property
    def needs_exact_kl(self) -> bool:
        """Whether `loss` reads `TokenLogprobs.kl`, the KL from the reference over the vocabulary, full softmax at
        temperature 1; it costs a pass of the reference in every pass of the update.
        """
        return False

    def own_mask(self) -> MaskConfig | None:
        """Return the mask that is part of the algorithm, or None: the recipe's block `mask` has the say then."""
        return None

    def credit(self, experience: Experience, kl_coef: float) -> None:
        """Fill `experience.rewards`: the scores minus `kl_coef` times the KL of every token, where there is a
        reference.
        """
        e = experience
        e.rewards = e.scores if e.kl is None else e.scores - kl_coef * e.kl

    @abstractmethod
    def advantages(self, experience: Experience) -> None:
        """Fill `experience.advantages`, and `returns` where there is a value function."""

    @abstractmethod
    def loss(self, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of some tokens, a scalar that is a sum divided by `old.n_tokens` or `old.n_sequences`; and
        statistics.

        Args:
            new: log-probs with a graph under the policy as it is now.
            old: what the iteration knows of the same tokens: those of whole rows with `whole_sequences`, else any part
                of them.

        Returns:
            The loss, and numbers for the log, summed and divided in the same way.
        """

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted loss of the values (N,) of some rows, and statistics; see `loss`."""
        raise NotImplementedError(f"{type(self).__name__} needs a value function and has no loss for it")

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Train on one iteration's experience; return statistics for the log, without prefix."""
        return self.learner.update(self, experience, step)

    def state_dict(self) -> dict[str, Any]:
        """Return what the algorithm remembers beside weights, as JSON; part of checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: the algorithm keeps no state, and there is one.
        """
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state; the checkpoint has one: {', '.join(state)}")


@dataclass(kw_only=True)
class ActorCritic(Algorithm):
    """What algorithms with a value function share: generalised advantages, the loss of the values, an entropy bonus."""

    needs_value: ClassVar[bool] = True

    vf_coef: Annotated[float, Option("weight of the value loss", ge=0)] = 0.5
    ent_coef: Annotated[float, Option("weight of the entropy bonus; 0 saves the passes that it costs", ge=0)] = 0.0
    gamma: Annotated[float, Option("discount γ of rewards, per token", gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Option("λ of the advantages: 0 trusts the values, 1 the returns", ge=0, le=1)] = 0.95
    whiten_advantages: Annotated[bool, Option("bring them to mean 0 and deviation 1 over the iteration")] = True

    @property
    def needs_entropy(self) -> bool:
        """Only for the entropy bonus."""
        return self.ent_coef != 0

    def advantages(self, experience: Experience) -> None:
        """Compute GAE, whitened over the iteration's completion tokens."""
        e = experience
        values = self.learner.started_values(e)
        e.advantages, e.returns = gae(e.rewards, values, e.mask, self.gamma, self.gae_lambda)
        if self.whiten_advantages:
            e.advantages = whiten(e.advantages, e.mask, magnitude(e.mask, e.rewards, values, e.returns))

    def with_entropy(self, loss: Tensor, stats: Stats, new: TokenLogprobs, old: Tokens) -> tuple[Tensor, Stats]:
        """Return the loss of the policy minus the entropy bonus, where there is one, and the statistics of both."""
        if new.entropy is None:
            return loss, {"policy_loss": loss, **stats}
        entropy = new.entropy.sum() / old.n_tokens
        return loss - self.ent_coef * entropy, {"policy_loss": loss, **stats, "entropy": entropy}

    def value_loss(self, values: Tensor, old: Tokens) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted squared error of the values."""
        assert old.returns is not None
        loss = value_loss(values, old.returns, old.n_tokens)
        return self.vf_coef * loss, {"value_loss": loss}


def check_one_pass(name: str, n_epochs: int) -> None:
    """Refuse further passes over completions in an algorithm without a ratio, which would not know that they are old.

    Raises:
        ValueError: there are more than one.
    """
    if n_epochs != 1:
        raise ValueError(
            f"n_epochs: {name} takes one pass, since no ratio says how far the policy has moved; leave it out"
        )
