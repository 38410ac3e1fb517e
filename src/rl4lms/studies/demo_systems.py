"""The systems that the demo compares, and what is known of each when they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Metrics that are compared prompt by prompt with the system's starting point.
GAIN_KEYS = ("sentiment", "gold_sentiment", "derivable")


@dataclass(frozen=True, slots=True)
class System:
    """One row of the comparison.

    Attributes:
        key: name of its run folder.
        label: as the paper calls it.
        start: key of the system that it starts from, None for the base model itself.
        recipe: packaged recipe, None where nothing is trained.
    """

    key: str
    label: str
    start: str | None = None
    recipe: str | None = None

    @property
    def is_rl(self) -> bool:
        return self.recipe is not None and self.key != "supervised"


SYSTEMS = (
    System("zero-shot", "Zero-shot"),
    System("supervised", "Supervised", "zero-shot", "imdb-mini-supervised"),
    System("ppo", "PPO", "zero-shot", "imdb-mini-ppo"),
    System("nlpo", "NLPO", "zero-shot", "imdb-mini-nlpo"),
    System("supervised-ppo", "Supervised+PPO", "supervised", "imdb-mini-supervised-ppo"),
    System("supervised-nlpo", "Supervised+NLPO", "supervised", "imdb-mini-supervised-nlpo"),
)


@dataclass(slots=True)
class Outcome:
    """What one system left behind.

    Attributes:
        system: which.
        results: `mean`, `stderr` and `n` by metric.
        masked: the same, decoded inside the mask; empty where there is none. A starting point is decoded inside the
            mask that NLPO starts from it with, and has no standard errors.
        samples: one record per test prompt, in their order.
        curve: what `metrics.jsonl` says about each iteration; empty without RL.
        gains: for `GAIN_KEYS`, mean and standard error of the difference to the starting point, prompt by prompt.
    """

    system: System
    results: Mapping[str, Mapping[str, Any]]
    masked: Mapping[str, Mapping[str, Any]]
    samples: Sequence[Mapping[str, Any]]
    curve: Sequence[Mapping[str, Any]]
    gains: dict[str, tuple[float, float]] = field(default_factory=dict)
