"""Recipes: typed settings for everything a run does, read strictly from YAML. Loads no torch."""

from __future__ import annotations

from rl4lms.config.algorithms import KLConfig, OptimizerConfig, SupervisedConfig
from rl4lms.config.data import DataConfig, PromptConfig
from rl4lms.config.generation import EvalGenerationConfig, RolloutConfig, SamplingConfig
from rl4lms.config.model import LoraConfig, ModelConfig
from rl4lms.config.recipe import Recipe
from rl4lms.config.resolve import dump_recipe, merge_defaults, read_recipe, recipe_from_dict
from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.config.training import CheckpointConfig, EvaluationConfig, HubConfig, TrackingConfig, TrainingConfig
from rl4lms.plugins.component import Block, Component

__all__ = [
    "Block",
    "CheckpointConfig",
    "Component",
    "DataConfig",
    "EvalGenerationConfig",
    "EvaluationConfig",
    "HubConfig",
    "KLConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PromptConfig",
    "Recipe",
    "RewardFaultsConfig",
    "RolloutConfig",
    "SamplingConfig",
    "SupervisedConfig",
    "TrackingConfig",
    "TrainingConfig",
    "dump_recipe",
    "merge_defaults",
    "read_recipe",
    "recipe_from_dict",
]
