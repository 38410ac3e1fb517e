"""AdamW over policy and value function, with learning rates that are a pure function of the iteration."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from transformers import get_scheduler

from rl4lms.config.algorithms import OptimizerConfig
from rl4lms.models.build import policy_parameters, value_parameters
from rl4lms.models.policy import Policy


def build_optimizer(policy: Policy, config: OptimizerConfig) -> torch.optim.AdamW:
    """One AdamW; biases and norm weights are exempt from weight decay."""
    rates = [(policy_parameters(policy), config.learning_rate)]
    rates.append((value_parameters(policy), config.value_learning_rate or config.learning_rate))
    groups = []
    for named, lr in rates:
        for decay, parameters in _by_decay(named):
            if parameters:
                groups.append({"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": config.weight_decay if decay else 0.0})
    device = policy.device.type
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=device in ("cpu", "cuda"))


def _by_decay(named: Iterable[tuple[str, nn.Parameter]]) -> list[tuple[bool, list[nn.Parameter]]]:
    named = list(named)
    return [(True, [p for _, p in named if p.ndim > 1]), (False, [p for _, p in named if p.ndim <= 1])]


class Schedule:
    """The learning rate of each iteration, by HF's schedule names."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimizerConfig, iterations: int) -> None:
        self._optimizer = optimizer
        # HF's warm-up starts at a rate of 0; shifted by one, the first iteration already learns.
        self._shift = 1 if config.warmup_iterations else 0
        dummy = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        scheduler = get_scheduler(config.lr_scheduler_type, dummy, config.warmup_iterations, iterations + self._shift)
        self._factor = scheduler.lr_lambdas[0]

    def set(self, step: int) -> float:
        """Sets the rates of iteration `step`, from 0; returns the policy's."""
        factor = self._factor(step + self._shift)
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        return self._optimizer.param_groups[0]["lr"]
