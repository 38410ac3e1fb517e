"""The optimiser over policy and value function, with learning rates that are a pure function of the iteration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.models.build import policy_parameters, value_parameters
from rl4lms.models.policy import Policy


def build_optimizer(policy: Policy, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build one optimiser over policy and value function; biases and norm weights are exempt from weight decay.

    Every parameter group is labelled: `name` is `policy` or `value`, and `base_lr` its learning rate before the
    schedule.
    """
    config = config.with_rates(lora=policy.adapter is not None)
    parts = {
        "policy": (policy_parameters(policy), config.learning_rate),
        "value": (value_parameters(policy), config.value_learning_rate or config.learning_rate),
    }
    groups: list[dict[str, Any]] = []
    for name, (named, lr) in parts.items():
        for decay, parameters in _by_decay(named):
            if parameters:
                rates = {"lr": lr, "base_lr": lr, "weight_decay": config.weight_decay if decay else 0.0}
                groups.append({"params": parameters, "name": name, **rates})
    if config.name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=config.alpha, eps=config.eps, momentum=config.momentum)
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum)
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=policy.device.type in ("cpu", "cuda"))


def _by_decay(named: Iterable[tuple[str, nn.Parameter]]) -> list[tuple[bool, list[nn.Parameter]]]:
    named = list(named)
    return [(True, [p for _, p in named if p.ndim > 1]), (False, [p for _, p in named if p.ndim <= 1])]


class Schedule:
    """The learning rate of each iteration, by HF's schedule names and formulas.

    Written out, because `transformers.get_scheduler` imports peft, which takes seconds, and gives its formulas to
    optimisers only.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimizerConfig, iterations: int) -> None:
        self._optimizer, self._kind, self._warmup = optimizer, config.lr_scheduler_type, config.warmup_iterations
        # HF's warm-up starts at a rate of 0; shifted by one, the first iteration already learns.
        self._shift = 1 if config.warmup_iterations else 0
        self._total = iterations + self._shift

    def set(self, step: int) -> float:
        """Set the rates of iteration `step`, from 0; return the policy's."""
        factor = self._factor(step + self._shift)
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        return self._optimizer.param_groups[0]["lr"]

    def _factor(self, step: int) -> float:
        if step < self._warmup:
            return step / self._warmup
        left = max(1, self._total - self._warmup)
        if self._kind == "linear":
            return max(0.0, (self._total - step) / left)
        if self._kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * ((step - self._warmup) / left)))
        return 1.0
