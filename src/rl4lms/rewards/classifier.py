"""The learned reward: the score of a label by a sequence classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rl4lms.metrics.classifier import ClassifierScorer


class ClassifierReward:
    """`rl4lms.metrics.classifier.ClassifierScorer` as a reward.

    Args:
        options: those of `ClassifierScorer`.
    """

    def __init__(self, **options: Any) -> None:
        self._scorer = ClassifierScorer(**options)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return self._scorer.scores(prompts, completions)
