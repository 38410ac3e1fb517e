"""What the training loop asks of an algorithm, and what an algorithm is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.models.generate import MaskRule
from rl4lms.models.policy import Policy
from rl4lms.types import Experience


@dataclass(slots=True)
class Learner:
    """What an algorithm trains, handed to its constructor beside its own config.

    Attributes:
        policy: trained in place.
        optimizer: over the policy's trainable parameters.
        settings: gradient clipping and micro-batches.
        temperature: of the behaviour policy.
        seed: of the minibatch order.
        mask_policy: a frozen copy of the policy for algorithms with `needs_mask_policy`, else None.
    """

    policy: Policy
    optimizer: torch.optim.Optimizer
    settings: OptimizerConfig
    temperature: float = 1.0
    seed: int = 0
    mask_policy: Policy | None = None


class Algorithm(Protocol):
    """One algorithm. Its constructor takes `(config, learner)`; its state beyond the weights must be a function of the step."""

    needs_value: ClassVar[bool]
    needs_mask_policy: ClassVar[bool]

    def __init__(self, config: Any, learner: Learner) -> None: ...

    def mask_rule(self) -> MaskRule | None:
        """The mask that rollouts are sampled in, or None."""
        ...

    def advantages(self, experience: Experience) -> None:
        """Fills `experience.advantages`, and `returns` where there is a value function."""
        ...

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Trains on one iteration's experience; returns statistics for the log, without prefix."""
        ...
