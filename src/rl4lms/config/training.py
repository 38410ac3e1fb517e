"""The loop: how long, how much data, how often to evaluate, save and report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl4lms.config.generation import EvalGenerationConfig
from rl4lms.plugins.component import Block, Component


class TrainingConfig(Block):
    """Length of the run and size of one iteration."""

    iterations: int = Field(50, ge=0, description="rollouts, each with an update")
    prompts_per_iteration: int = Field(64, ge=1, description="prompts of each rollout")
    on_health: Literal["warn", "stop", "off"] = Field(
        "warn",
        description="what happens where the numbers of a run cross a threshold of docs/health.md: one line when it "
        "begins, the end of the run, or nothing",
    )


class EvaluationConfig(Block):
    """Evaluation during and after training. Metrics are registered names with options."""

    every: int = Field(10, ge=0, description="iterations; 0 evaluates before and after training only")
    split: Literal["train", "validation", "test"] = Field("validation", description="which prompts are evaluated")
    prompts: int = Field(128, ge=1, description="drawn from the split where it has more")
    prompt_seed: int = Field(
        0,
        ge=0,
        description="draws the prompts; apart from `seed`, so that runs with different seeds have the same ones",
    )
    on_training_data: bool = Field(
        False,
        description="true: the split may consist of rows that are trained on, and its numbers say nothing about others",
    )
    metrics: list[Component] = Field([], description="registered metrics, or `file.py:function`, with their options")
    generation: EvalGenerationConfig | None = Field(None, description="defaults to the rollout settings")
    samples: int = Field(8, ge=0, description="texts written to samples/ at every evaluation")


class CheckpointConfig(Block):
    """Which checkpoints are kept. `best` names an evaluation key, such as `eval/reward`."""

    every: int = Field(10, ge=0, description="iterations; 0 saves the final model only")
    keep_last: int = Field(2, ge=1, description="so many of the newest are kept, and the best")
    best: str | None = Field(
        None, description="evaluation key, such as eval/reward, by which `best/` is chosen; null: none is"
    )
    best_mode: Literal["max", "min"] = Field("max", description="whether more or less of it is better")
    best_on_test: bool = Field(
        False, description="true: `best` may be chosen on the test split, whose numbers are then too good"
    )


class TrackingConfig(Block):
    """Where metrics go besides `metrics.jsonl`. Nothing is sent anywhere unless named here."""

    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        [], description="trackers that get all numbers beside metrics.jsonl"
    )
    project: str = Field("rl4lms", description="what the run is filed under there")
    progress: bool = Field(True, description="show progress on standard error")


class HubConfig(Block):
    """Upload of the final model; off unless a repository is named."""

    repo_id: str = Field(description="repository that the final model is uploaded to")
    private: bool = Field(True, description="whether it is made private where it is new")
