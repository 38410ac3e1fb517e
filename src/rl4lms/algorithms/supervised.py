"""The warm start alone: `algorithm: supervised` trains by maximum likelihood and does no reinforcement learning."""

from __future__ import annotations

from typing import ClassVar

from rl4lms.algorithms.base import Learner
from rl4lms.models.generate import MaskRule
from rl4lms.plugins.component import Block
from rl4lms.types import Experience


class Supervised:
    """Stands in the loop of a run with no iterations; `rl4lms.training.supervised` did the work before."""

    needs_value: ClassVar[bool] = False
    needs_mask_policy: ClassVar[bool] = False

    def __init__(self, config: Block, learner: Learner) -> None:
        del config, learner

    def mask_rule(self) -> MaskRule | None:
        """No mask."""
        return None

    def advantages(self, experience: Experience) -> None:
        """Never called: there are no iterations."""
        raise RuntimeError("supervised runs have no iterations")

    def update(self, experience: Experience, step: int) -> dict[str, float]:
        """Never called: there are no iterations."""
        raise RuntimeError("supervised runs have no iterations")
