"""Reinforcement learning for language models, with any reward.

Names below are imported on first use, so that `import rl4lms` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl4lms.plugins import registry as _registry
    from rl4lms.training.run import train
    from rl4lms.types import Experience, MetricResult, Rollout, Sample

    reward, metric = _registry.rewards.register, _registry.metrics.register
    task, algorithm = _registry.tasks.register, _registry.algorithms.register

__version__ = "0.1.0"

__all__ = [
    "Experience",
    "MetricResult",
    "Rollout",
    "Sample",
    "__version__",
    "algorithm",
    "metric",
    "reward",
    "task",
    "train",
]

_LAZY = {
    "train": "rl4lms.training.run:train",
    "reward": "rl4lms.plugins.registry:rewards.register",
    "metric": "rl4lms.plugins.registry:metrics.register",
    "task": "rl4lms.plugins.registry:tasks.register",
    "algorithm": "rl4lms.plugins.registry:algorithms.register",
    "Sample": "rl4lms.types:Sample",
    "Rollout": "rl4lms.types:Rollout",
    "Experience": "rl4lms.types:Experience",
    "MetricResult": "rl4lms.types:MetricResult",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, path = _LAZY[name].partition(":")
    value: Any = importlib.import_module(module)
    for attribute in path.split("."):
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
