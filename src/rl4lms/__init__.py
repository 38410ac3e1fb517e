"""Reinforcement learning for language models, with any reward.

Names below are imported on first use, so that `import rl4lms` loads neither torch nor transformers.
`rl4lms/TextGen-v0` is registered with Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rl4lms.integrations.gym_id import register_when_imported

if TYPE_CHECKING:
    from rl4lms import config as config
    from rl4lms import errors as errors
    from rl4lms import metrics as metrics
    from rl4lms import rewards as rewards
    from rl4lms import stats as stats
    from rl4lms import types as types
    from rl4lms.algorithms.base import Algorithm
    from rl4lms.algorithms.learner import Learner
    from rl4lms.algorithms.nlpo import NLPO
    from rl4lms.algorithms.ppo import PPO
    from rl4lms.api.calls import evaluate, generate, train
    from rl4lms.config.algorithms import OptimizerConfig
    from rl4lms.config.data import PromptConfig
    from rl4lms.config.generation import RolloutConfig
    from rl4lms.config.model import ModelConfig
    from rl4lms.core.logprobs import TokenLogprobs
    from rl4lms.models.build import build_models
    from rl4lms.plugins import registry as _registry
    from rl4lms.plugins.options import Option
    from rl4lms.rewards.call import place_scores, score_rollout
    from rl4lms.rollout.engine import LocalEngine, log_prob_pass
    from rl4lms.studies.compare import compare, report
    from rl4lms.training.result import RunResult, load_run
    from rl4lms.types import Experience, MetricResult, Rollout, Sample, Tokens

    reward, metric = _registry.rewards.register, _registry.metrics.register
    task, algorithm = _registry.tasks.register, _registry.algorithms.register

__version__ = "0.1.0"

__all__ = [
    "NLPO",
    "PPO",
    "Algorithm",
    "Experience",
    "Learner",
    "LocalEngine",
    "MetricResult",
    "ModelConfig",
    "OptimizerConfig",
    "Option",
    "PromptConfig",
    "Rollout",
    "RolloutConfig",
    "RunResult",
    "Sample",
    "TokenLogprobs",
    "Tokens",
    "__version__",
    "algorithm",
    "build_models",
    "compare",
    "evaluate",
    "generate",
    "load_run",
    "log_prob_pass",
    "metric",
    "place_scores",
    "report",
    "reward",
    "score_rollout",
    "task",
    "train",
]

_LAZY = {
    "train": "rl4lms.api.calls:train",
    "evaluate": "rl4lms.api.calls:evaluate",
    "generate": "rl4lms.api.calls:generate",
    "load_run": "rl4lms.training.result:load_run",
    "RunResult": "rl4lms.training.result:RunResult",
    "compare": "rl4lms.studies.compare:compare",
    "report": "rl4lms.studies.compare:report",
    "reward": "rl4lms.plugins.registry:rewards.register",
    "metric": "rl4lms.plugins.registry:metrics.register",
    "task": "rl4lms.plugins.registry:tasks.register",
    "algorithm": "rl4lms.plugins.registry:algorithms.register",
    "Sample": "rl4lms.types:Sample",
    "Rollout": "rl4lms.types:Rollout",
    "Experience": "rl4lms.types:Experience",
    "MetricResult": "rl4lms.types:MetricResult",
    # for a training loop of one's own, see examples/own_loop.py
    "ModelConfig": "rl4lms.config.model:ModelConfig",
    "PromptConfig": "rl4lms.config.data:PromptConfig",
    "RolloutConfig": "rl4lms.config.generation:RolloutConfig",
    "OptimizerConfig": "rl4lms.config.algorithms:OptimizerConfig",
    "build_models": "rl4lms.models.build:build_models",
    "LocalEngine": "rl4lms.rollout.engine:LocalEngine",
    "log_prob_pass": "rl4lms.rollout.engine:log_prob_pass",
    "score_rollout": "rl4lms.rewards.call:score_rollout",
    "place_scores": "rl4lms.rewards.call:place_scores",
    # for an algorithm of one's own, see examples/own_algorithm.py
    "Algorithm": "rl4lms.algorithms.base:Algorithm",
    "Tokens": "rl4lms.types:Tokens",
    "TokenLogprobs": "rl4lms.core.logprobs:TokenLogprobs",
    "Option": "rl4lms.plugins.options:Option",
    "PPO": "rl4lms.algorithms.ppo:PPO",
    "NLPO": "rl4lms.algorithms.nlpo:NLPO",
    "Learner": "rl4lms.algorithms.learner:Learner",
}


register_when_imported()

#: Parts that scripts use as `rl4lms.metrics.load`, without importing them first.
_PARTS = ("config", "errors", "metrics", "rewards", "stats", "types")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"rl4lms.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, path = _LAZY[name].partition(":")
    value: Any = importlib.import_module(module)
    for attribute in path.split("."):
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
