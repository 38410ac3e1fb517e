"""Tries an adapter when it is put on a model: what it would learn must reach the log-probs, and the saved model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from rl4lms.errors import ModelError
from rl4lms.models.lora import belongs_to
from rl4lms.models.policy import Policy
from rl4lms.models.probe import LARGEST_ROUNDING, exactly, probe_batch, probe_logprobs

# Small beside the weights, and far above rounding.
_NOISE = 0.02


def check_adapter(policy: Policy, targets: list[str] | str) -> None:
    """Try the adapter of a policy on a few tokens; it is the same afterwards.

    Args:
        policy: has an adapter that is still the identity.
        targets: names of modules that were asked for, or `all-linear`.

    Raises:
        ModelError: a module that is adapted takes no part in the log-probs, so that its adapter would never learn; or
            the model with the adapter is another than the one with the adapter merged into its weights.
    """
    named = {name: p for name, p in policy.lm.named_parameters() if belongs_to(name, str(policy.adapter))}
    with exactly(policy), torch.enable_grad():
        total = policy(*probe_batch(policy), entropy=False).full_logprobs.sum()
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    reached = {_module(name) for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
    # A name stands for several modules. Some may be idle: experts that these tokens do not go to, BERT's pooler.
    for target in targets if isinstance(targets, list) else []:
        if not any(f".{name}".endswith(f".{target}") for name in reached):
            raise ModelError(
                f"model.lora.target_modules: {target} takes no part in the log-probs of {type(policy.lm).__name__}, so "
                "an adapter on it would learn nothing; leave it out"
            )
    error = _merging_error(policy, named)
    if not error <= LARGEST_ROUNDING:
        raise ModelError(
            f"model.lora.target_modules: {type(policy.lm).__name__} with these adapters and the same model with the "
            f"adapters merged into its weights differ by {error:.3g} nats, so the saved model would be another than "
            "the trained one: one of the weights is used in a second place, too; leave it out"
        )


@torch.no_grad()
def _merging_error(policy: Policy, named: dict[str, torch.nn.Parameter]) -> float:
    """Return the largest difference in nats between a filled adapter and the same one merged."""
    generator = torch.Generator().manual_seed(0)
    empty = [p for p in named.values() if not p.any()]
    try:
        for parameter in empty:
            noise = torch.randn(parameter.shape, generator=generator) * _NOISE
            parameter.copy_(noise.to(parameter.device))
        apart = probe_logprobs(policy)
        with exactly(policy), _merged(policy):
            return float((apart - probe_logprobs(policy)).abs().max())
    finally:
        for parameter in empty:
            parameter.zero_()


@contextlib.contextmanager
def _merged(policy: Policy) -> Iterator[None]:
    """Put the adapter into the weights it belongs to for a while, and switch it off."""
    adapter, layers = policy.adapter, [m for m in policy.lm.modules() if hasattr(m, "get_delta_weight")]
    weights: list[Any] = [
        getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight")) for layer in layers
    ]
    before = [weight.data for weight in weights]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            weight.data = weight.data + layer.get_delta_weight(adapter)
        policy.adapter = None
        yield
    finally:
        policy.adapter = adapter
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def _module(name: str) -> str:
    return name.partition(".lora_")[0]
