"""Options of the rewards."""

from __future__ import annotations

from pydantic import Field

from rl4lms.config.base import Block, Component
from rl4lms.config.metrics import ClassifierOptions, DatesConfig, IncreasingNumbersConfig

__all__ = ["ClassifierConfig", "DatesConfig", "IncreasingNumbersConfig", "SumConfig", "SumPart"]


class ClassifierConfig(ClassifierOptions):
    """Score of a label by a classifier."""


class SumPart(Block):
    """One term of a sum."""

    reward: Component
    weight: float = Field(1.0, description="may be negative")
    key: str | None = Field(None, min_length=1, description="name in logs; defaults to the name of the reward")


class SumConfig(Block):
    """Weighted sum of rewards. Every part is logged, unweighted."""

    parts: list[SumPart] = Field(min_length=1)
