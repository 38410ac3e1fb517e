"""Assembles the policies of a run from a config: the trained one, its frozen reference, a masking policy, the value
function.
"""

from __future__ import annotations

import copy
import functools
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from rl4lms.config.model import LoraConfig, ModelConfig
from rl4lms.errors import ModelError
from rl4lms.models.adapter_check import check_adapter
from rl4lms.models.family_check import check_family, family_of
from rl4lms.models.flex import use_flex
from rl4lms.models.loading import DTYPES, freeze_computed, load_lm, load_tokenizer, special_tokens
from rl4lms.models.lora import add_adapters, belongs_to, recompute_contexts, renamed
from rl4lms.models.policy import Policy


@dataclass(slots=True)
class Models:
    """The policies of a run. `mask_policy` is a copy of the policy that a lagged mask is taken from, or None."""

    policy: Policy
    ref_policy: Policy
    mask_policy: Policy | None
    tokenizer: PreTrainedTokenizerBase


def build_models(
    config: ModelConfig,
    device: torch.device,
    *,
    value: bool = True,
    mask: bool = False,
    lm: PreTrainedModel | None = None,
) -> Models:
    """Build the policies. Dropout is off everywhere: every module is in eval mode.

    Args:
        config: which model, and how.
        device: where to.
        value: whether the algorithm has a value function.
        mask: whether there is a masking policy, a frozen copy of the policy.
        lm: an already loaded model to use instead of `config.path`.

    Raises:
        ModelError: the model is not supported, or the options contradict each other.
    """
    refuse_contradictions(config, device.type)
    if lm is None:
        lm = load_lm(config, device)
    else:
        freeze_computed(lm.to(device).eval())  # as loading does
    tokenizer = load_tokenizer(config)
    tokens = special_tokens(lm, tokenizer)
    autocast = DTYPES[config.autocast] if config.autocast else None

    def wrap(model: PreTrainedModel, adapter: str | None = None) -> Policy:
        return Policy(model, tokens, adapter, autocast)

    use_flex(lm, config.attention == "flex")
    family_of(lm, tokens.decoder_prefix)  # before adapters: what is refused is the model then
    if config.attention == "flex" and not lm.shares_prompts:
        raise ModelError(
            f"model.attention: flex is for rows that hold a prompt and its completions, which {type(lm).__name__} "
            f"does not run with it ({lm.why_unshared}); leave it out"
        )
    if config.lora is not None:
        names = ["policy", *(["value"] if value and config.value == "separate" else []), *(["mask"] if mask else [])]
        add_adapters(lm, config.lora, names)
        policy, ref, mask_policy = wrap(lm, "policy"), wrap(lm, None), wrap(lm, "mask") if mask else None
        _check_adapters(policy, config.lora)
        check_adapter(policy, config.lora.target_modules)
        if value:
            policy.add_value(None, "value" if config.value == "separate" else None)
        if mask_policy is not None:
            copy_policy_weights(policy, mask_policy)
    else:
        policy, ref = wrap(lm), wrap(_frozen(lm))
        mask_policy = wrap(_frozen(lm)) if mask else None
        if value:
            policy.add_value(copy.deepcopy(lm) if config.value == "separate" else None)
    if config.gradient_checkpointing:
        for trained in (policy.lm, policy.value_lm):
            if trained is not None:
                checkpoint_layers(trained)
    return Models(policy, ref, mask_policy, tokenizer)


def _check_adapters(policy: Policy, config: LoraConfig) -> None:
    """Refuse adapters that the model does not run with; they start as the identity, so it must be what it was."""
    try:
        with policy.running():
            check_family(policy.lm, policy.family)
    except ModelError as error:
        raise ModelError(
            f"model.lora.target_modules: with adapters on {config.target_modules!r}, {error}; name layers that are "
            "plain linear maps, such as [q_proj, v_proj]"
        ) from error


def refuse_contradictions(config: ModelConfig, device: str) -> None:
    """Refuse options of a model that cannot be had together.

    Args:
        config: the options.
        device: its kind, or `auto` where that is not known.

    Raises:
        ModelError: it names them.
    """
    if config.dtype != "float32" and config.lora is None:
        raise ModelError(
            f"model.dtype: {config.dtype} weights lose small updates, most of them at usual learning rates; "
            "use float32 weights with model.autocast: bfloat16, or adapters (model.lora), which are float32"
        )
    if config.autocast and config.dtype != "float32":
        raise ModelError(
            f"model.autocast: {config.autocast} with model.dtype: {config.dtype}; autocast expects float32 weights"
        )
    if config.attention == "flex" and device not in ("auto", "cuda"):
        raise ModelError(f"model.attention: flex has no backward pass on {device}, only on cuda; leave it out")
    if config.autocast == "float16":
        raise ModelError(
            "model.autocast: float16 loses small gradients without loss scaling, which there is none of; use bfloat16"
        )


def _frozen(lm: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(lm).requires_grad_(False)


def checkpoint_layers(lm: nn.Module) -> None:
    """Let the layers of a model keep their inputs alone, and compute their activations again in the backward pass.

    HF's own switch needs `training` to be on, and with it every dropout.
    """
    for layer in lm.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.forward = types.MethodType(_recomputed, layer)


def _recomputed(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = type(layer).forward
    if not torch.is_grad_enabled():
        return forward(layer, *args, **kwargs)
    options: dict[str, Any] = {"context_fn": functools.partial(recompute_contexts, layer), "preserve_rng_state": False}
    return checkpoint(forward, layer, *args, use_reentrant=False, **options, **kwargs)


def policy_parameters(policy: Policy) -> list[tuple[str, nn.Parameter]]:
    """Trainable parameters of the policy proper, by name."""
    return [(n, p) for n, p in policy.lm.named_parameters() if p.requires_grad and not belongs_to(n, "value")]


def value_parameters(policy: Policy) -> list[tuple[str, nn.Parameter]]:
    """Trainable parameters of the value function beyond the policy's own."""
    named = (
        [(f"value_head.{n}", p) for n, p in policy.value_head.named_parameters()]
        if policy.value_head is not None
        else []
    )
    if policy.value_lm is not None:
        # The value LM's output head takes part in nothing; where it is tied to the embeddings it is the embeddings.
        named += [(f"value_lm.{n}", p) for n, p in policy.value_lm.named_parameters() if p.requires_grad]
    return named + [(n, p) for n, p in policy.lm.named_parameters() if p.requires_grad and belongs_to(n, "value")]


def copy_policy_weights(source: Policy, target: Policy) -> None:
    """Copy the language model (or adapter) of one policy into another of the same shape, in place."""
    if source.adapter is None:
        theirs = dict(target.lm.named_parameters()) | dict(target.lm.named_buffers())
        for name, value in [*source.lm.named_parameters(), *source.lm.named_buffers()]:
            theirs[name].data.copy_(value.data)
        return
    named = dict(source.lm.named_parameters())
    for name, value in named.items():
        if belongs_to(name, source.adapter):
            named[renamed(name, source.adapter, str(target.adapter))].data.copy_(value.data)
