"""The original RL4LMs (0.2.2): its YAML files, its classes, the names of its files. Loads no torch."""

from __future__ import annotations

from rl4lms.integrations.legacy.classes import (
    BaseMetric,
    BatchedRewardFunction,
    Observation,
    RewardFunction,
    Sample,
    TextGenPool,
    task,
)
from rl4lms.integrations.legacy.convert import Conversion, convert, is_original
from rl4lms.integrations.legacy.recipe import recipe_of, recipe_text
from rl4lms.integrations.legacy.report import report

__all__ = [
    "BaseMetric",
    "BatchedRewardFunction",
    "Conversion",
    "Observation",
    "RewardFunction",
    "Sample",
    "TextGenPool",
    "convert",
    "is_original",
    "recipe_of",
    "recipe_text",
    "report",
    "task",
]
