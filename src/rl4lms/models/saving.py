"""Writing models as plain HuggingFace folders."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.models.lora import belongs_to
from rl4lms.models.policy import Policy


def named_tensors(policy: Policy) -> dict[str, Tensor]:
    """Return what a checkpoint of the policy holds, without a copy: its parameters, tied ones once; with LoRA, its
    adapters and value head.
    """
    if policy.adapter is None:
        return {name: p.data for name, p in policy.named_parameters()}
    named = policy.named_parameters()
    return {
        n: p.data
        for n, p in named
        if belongs_to(n, policy.adapter) or (p.requires_grad and policy.value_head is not None)
    }


@torch.no_grad()
def plain_lm(policy: Policy) -> PreTrainedModel:
    """Return the policy's language model without adapters: itself, or a copy with the policy's LoRA adapter merged into
    its weights.
    """
    if policy.adapter is None:
        return policy.lm
    state: dict[str, Tensor] = {}
    for name, tensor in policy.lm.state_dict().items():
        if ".lora_" not in name:
            state[name.replace(".base_layer", "")] = tensor.clone()
    for name, module in policy.lm.named_modules():
        if hasattr(module, "get_delta_weight"):
            # Of experts, whose weights are parameters of one module, each has an adapter around the one before
            weight = f"{name.replace('.base_layer', '')}.{getattr(module, 'parameter_name', 'weight')}"
            state[weight] += module.get_delta_weight(policy.adapter)
    lm = type(policy.lm)(copy.deepcopy(policy.lm.config))
    lm.load_state_dict(state)
    lm.tie_weights()
    lm.generation_config = copy.deepcopy(policy.lm.generation_config)
    return lm.eval()


def save_model(policy: Policy, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str) -> None:
    """Save the language model, its tokenizer and a model card as an HF folder that `AutoModel...from_pretrained` loads.

    The value head lies beside the weights as `value_head.safetensors` with a JSON file that says what it reads: the
    policy's trunk, an adapter of its own (in the same file), or a separate value LM, saved as an HF folder `value_lm`
    inside.
    """
    lm = plain_lm(policy)
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    if policy.value_head is not None:
        tensors = {n: p.detach().contiguous() for n, p in policy.value_head.named_parameters()}
        if policy.value_adapter != policy.adapter:
            tensors |= {
                n: p.detach().contiguous()
                for n, p in policy.lm.named_parameters()
                if belongs_to(n, str(policy.value_adapter))
            }
        save_file(tensors, folder / "value_head.safetensors")
        kind = "shared" if policy.shares_trunk else "adapter" if policy.value_lm is None else "separate"
        (folder / "value_head.json").write_text(json.dumps({"trunk": kind}) + "\n", encoding="utf-8")
        if isinstance(policy.value_lm, PreTrainedModel):
            policy.value_lm.save_pretrained(folder / "value_lm")
