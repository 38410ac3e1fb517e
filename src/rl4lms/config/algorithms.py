"""Hyper-parameters of the algorithms. Defaults are settings that were measured to work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block


class KLConfig(Block):
    """The KL term of the reward. With `kl_target` (nats per token) the coefficient adapts, without it stays."""

    kl_coef: float = Field(0.1, ge=0)
    kl_target: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _can_adapt(self) -> KLConfig:
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target has no effect with kl_coef 0: the controller multiplies the coefficient")
        return self


class PPOConfig(Block):
    """Proximal policy optimisation (Schulman et al., 2017)."""

    n_epochs: int = Field(4, ge=1)
    minibatch_size: int = Field(16, ge=1, description="completions per optimiser step")
    clip_range: float = Field(0.2, gt=0)
    clip_range_vf: float | None = Field(None, gt=0)
    vf_coef: float = Field(0.5, ge=0)
    ent_coef: float = Field(0.0, ge=0)
    gamma: float = Field(1.0, gt=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    target_kl: float | None = Field(None, gt=0, description="stop the update above 1.5 x this k3 estimate")
    whiten_advantages: bool = True


class NLPOConfig(PPOConfig):
    """Natural language policy optimisation (Ramamurthy et al., 2023): PPO inside a learned top-p mask."""

    mask_top_p: float = Field(0.9, gt=0, le=1, description="1 allows every token: PPO")
    min_tokens_to_keep: int = Field(1, ge=1)
    mask_update_every: int = Field(10, ge=1, description="iterations between copies of the policy into the mask policy")


class SupervisedConfig(Block):
    """Warm start by maximum likelihood, through the HF `Trainer`."""

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1, description="overrides epochs")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    gradient_accumulation_steps: int = Field(1, ge=1)
    max_target_tokens: int = Field(128, ge=1)


class OptimizerConfig(Block):
    """AdamW over the policy and the value function."""

    learning_rate: float = Field(1e-5, gt=0)
    value_learning_rate: float | None = Field(None, gt=0, description="defaults to learning_rate")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(0.5, gt=0)
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    warmup_iterations: int = Field(0, ge=0)
    micro_batch_size: int | None = Field(
        None, ge=1, description="rows per forward and backward pass; the gradients add up to those of the whole minibatch"
    )

    @model_validator(mode="after")
    def _warmup(self) -> OptimizerConfig:
        if self.warmup_iterations and self.lr_scheduler_type == "constant":
            raise ValueError("warmup_iterations has no effect with lr_scheduler_type: constant; use constant_with_warmup")
        return self
