"""A recipe: everything a run needs, as one typed tree."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from rl4lms.config.algorithms import KLConfig, OptimizerConfig, SupervisedConfig
from rl4lms.config.data import DataConfig, PromptConfig
from rl4lms.config.generation import EvalGenerationConfig, RolloutConfig, SamplingConfig
from rl4lms.config.masks import MaskConfig
from rl4lms.config.model import ModelConfig
from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.config.training import CheckpointConfig, EvaluationConfig, HubConfig, TrackingConfig, TrainingConfig
from rl4lms.plugins.component import Block, Component


class Recipe(Block):
    """The root block. Either `task` or `data` says where prompts come from."""

    name: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="of the run: in trackers, in the run folder, in the model card",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="draws prompts and tokens; the same seed gives the same run")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto: CUDA where there is a device, else MPS, else CPU"
    )
    output_dir: str | None = Field(None, description="run folder; defaults to runs/<name>-seed<seed>")

    model: ModelConfig
    task: Component | None = Field(
        None, description="a registered task or `file.py:Class`, which brings prompts, models and defaults"
    )
    data: DataConfig | None = None
    prompt: PromptConfig = PromptConfig()
    supervised: SupervisedConfig | None = None
    algorithm: Component | None = Field(
        Component(name="ppo"),
        description="how the policy is updated, such as ppo or nlpo; null: the warm start alone; needs supervised",
    )
    reward: Component | None = Field(
        None, description="a reward or metric by name, `file.py:function`, or a list of them, which is their sum"
    )
    reward_faults: RewardFaultsConfig = RewardFaultsConfig()
    rollout: RolloutConfig = RolloutConfig()
    mask: MaskConfig | None = Field(None, description="of any algorithm")
    kl: KLConfig = KLConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    push_to_hub: HubConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """`model: gpt2` and `data: train.jsonl` are short for `model: {path: gpt2}` and `data: {train:
        train.jsonl}`.
        """
        if isinstance(value, dict):
            value = dict(value)
            if isinstance(value.get("model"), str):
                value["model"] = {"path": value["model"]}
            if isinstance(value.get("data"), str):
                value["data"] = {"train": value["data"]}
            # What an evaluation leaves unsaid about decoding, it takes from the rollout.
            rollout, evaluation = value.get("rollout"), value.get("evaluation")
            if (
                isinstance(rollout, dict)
                and isinstance(evaluation, dict)
                and isinstance(evaluation.get("generation"), dict)
            ):
                shared = {key: rollout[key] for key in SamplingConfig.model_fields if key in rollout}
                value["evaluation"] = {**evaluation, "generation": {**shared, **evaluation["generation"]}}
        return value

    @field_validator("optimizer")
    @classmethod
    def _rates_that_fit(cls, optimizer: OptimizerConfig, info: ValidationInfo) -> OptimizerConfig:
        """Fill in the learning rate now, so that a run's own recipe has the number and no later default moves it."""
        model = info.data.get("model")  # missing where it is wrong itself
        return optimizer if model is None else optimizer.with_rates(lora=model.lora is not None)

    @model_validator(mode="after")
    def _prompts_from_somewhere(self) -> Recipe:
        if (self.task is None) == (self.data is None):
            raise ValueError(
                "name exactly one of `task` and `data`: they say where prompts come from, such as `task: imdb` or "
                "`data: prompts.jsonl` (as options: --task imdb, --data prompts.jsonl)"
            )
        return self

    @property
    def decoding(self) -> EvalGenerationConfig:
        """How evaluations decode: as they say, or as the rollout does."""
        if self.evaluation.generation is not None:
            return self.evaluation.generation
        return EvalGenerationConfig(**{name: getattr(self.rollout, name) for name in SamplingConfig.model_fields})

    @property
    def algorithm_name(self) -> str:
        """What the run is called after: its algorithm, or `supervised` where it has none."""
        return "supervised" if self.algorithm is None else self.algorithm.name
