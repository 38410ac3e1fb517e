"""The KL term, the warm start and the optimiser. Defaults are settings that were measured to work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rl4lms.plugins.component import Block

# Learning rates where none is named: reports/learning-rates.md has what others do.
FULL_RATE, LORA_RATE = 1e-5, 1e-4


class KLConfig(Block):
    """The KL term of the reward. With `kl_target` (nats per token) the coefficient adapts, without it stays."""

    kl_coef: float = Field(
        0.1, ge=0, description="weight of the KL term, in units of the reward per nat; the start value where it adapts"
    )
    kl_target: float | None = Field(
        None, gt=0, description="nats per token that the coefficient steers to; null: it stays as it is"
    )

    @model_validator(mode="after")
    def _can_adapt(self) -> KLConfig:
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target has no effect with kl_coef 0: the controller multiplies the coefficient")
        return self


class SupervisedConfig(Block):
    """Warm start by maximum likelihood, through the HF `Trainer`."""

    epochs: float = Field(1.0, gt=0, description="passes over the rows")
    max_steps: int | None = Field(None, ge=1, description="overrides epochs")
    batch_size: int = Field(32, ge=1, description="rows of one forward and backward pass")
    learning_rate: float = Field(1e-4, gt=0, description="the largest of the schedule")
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"] = Field(
        "linear", description="schedule, by the names of transformers"
    )
    warmup_steps: int = Field(0, ge=0, description="steps in which the learning rate rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    gradient_accumulation_steps: int = Field(1, ge=1, description="passes that make one step")
    max_target_tokens: int = Field(128, ge=1, description="targets are cut to so many tokens")


class OptimizerConfig(Block):
    """The optimiser over the policy and the value function, and the size of what goes through the model at once."""

    name: Literal["adamw", "rmsprop", "sgd"] = Field("adamw", description="which optimiser")
    learning_rate: float | None = Field(
        None, gt=0, description="of the policy. null: 1e-5 where all weights are trained, 1e-4 with model.lora"
    )
    value_learning_rate: float | None = Field(None, gt=0, description="of the value function. null: learning_rate")
    weight_decay: float = Field(0.0, ge=0, description="pulls the weights towards 0")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="adamw: decay of the mean and of the square of gradients"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="rmsprop, sgd")
    alpha: float = Field(0.99, ge=0, lt=1, description="rmsprop: decay of the square of gradients")
    eps: float = Field(1e-8, gt=0, description="adamw, rmsprop")
    max_grad_norm: float = Field(0.5, gt=0, description="gradients are cut to this norm")
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine"] = Field(
        "constant", description="schedule over the iterations, by the names of transformers"
    )
    warmup_iterations: int = Field(0, ge=0, description="iterations in which the learning rate rises from 0")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="rows per forward and backward pass; the gradients add up to those of the whole minibatch",
    )

    def with_rates(self, *, lora: bool) -> OptimizerConfig:
        """Return the config with the learning rate that fits what is trained, where none was named."""
        if self.learning_rate is not None:
            return self
        known = self.model_copy(update={"learning_rate": LORA_RATE if lora else FULL_RATE})
        known.model_fields_set.discard("learning_rate")  # whoever changes `model.lora` of a recipe gets the other one
        return known

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> OptimizerConfig:
        of = {"betas": ("adamw",), "momentum": ("rmsprop", "sgd"), "alpha": ("rmsprop",), "eps": ("adamw", "rmsprop")}
        for option, optimizers in of.items():
            if self.name not in optimizers and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(
                    f"{option} has no effect with optimizer.name: {self.name}; it belongs to {' and '.join(optimizers)}"
                )
        return self

    @model_validator(mode="after")
    def _warmup(self) -> OptimizerConfig:
        if self.warmup_iterations and self.lr_scheduler_type == "constant":
            raise ValueError(
                "warmup_iterations has no effect with lr_scheduler_type: constant; use constant_with_warmup"
            )
        return self
