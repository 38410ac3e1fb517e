"""Writing models as plain HuggingFace folders, and reading them again to see that they are what was trained."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.config.model import ModelConfig
from rl4lms.errors import ModelError
from rl4lms.models.adapter_folders import ADAPTER_WEIGHTS, PEFT_PREFIX
from rl4lms.models.loading import load_lm, load_pretrained, special_tokens
from rl4lms.models.lora import belongs_to
from rl4lms.models.policy import Policy
from rl4lms.models.probe import LARGEST_ROUNDING, probe_logprobs
from rl4lms.plugins.packages import of_extra


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
    """Return the policy's language model without adapters: itself, or a copy on the CPU with the policy's LoRA adapter
    merged into its weights, in float32: weights of lower precision would lose most of what was learnt.
    """
    if policy.adapter is None:
        return policy.lm
    state: dict[str, Tensor] = {}
    for name, tensor in policy.lm.state_dict().items():
        if ".lora_" not in name:
            exact = tensor.float() if tensor.is_floating_point() else tensor
            state[name.replace(".base_layer", "")] = exact.cpu().clone()
    for name, module in policy.lm.named_modules():
        if hasattr(module, "get_delta_weight"):
            # Of experts, whose weights are parameters of one module, each has an adapter around the one before
            weight = f"{name.replace('.base_layer', '')}.{getattr(module, 'parameter_name', 'weight')}"
            state[weight] += module.get_delta_weight(policy.adapter).float().cpu()
    config = copy.deepcopy(policy.lm.config)
    config.dtype = torch.float32
    lm = type(policy.lm)(config)
    lm.load_state_dict(state)
    lm.tie_weights()
    lm.generation_config = copy.deepcopy(policy.lm.generation_config)
    return lm.float().eval()


def save_model(policy: Policy, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str) -> None:
    """Save the language model, its tokenizer and a model card as an HF folder that `AutoModel...from_pretrained` loads.

    Raises:
        ModelError: the folder, loaded again, is not the model of the policy.
    """
    lm = plain_lm(policy)
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_saved(folder, lm, policy, tokenizer)
    (folder / "README.md").write_text(card, encoding="utf-8")


def save_value(policy: Policy, folder: Path) -> None:
    """Save the value function of a policy: `head.safetensors`, and `head.json`, which says what the head reads.

    That is the policy's trunk (`shared`), an adapter of its own on it (`adapter`, in the same file), or a language
    model of its own (`separate`), which is saved as an HF folder `lm` inside.
    """
    assert policy.value_head is not None
    tensors = {n: p.detach().contiguous() for n, p in policy.value_head.named_parameters()}
    if policy.value_adapter != policy.adapter:
        named = policy.lm.named_parameters()
        tensors |= {n: p.detach().contiguous() for n, p in named if belongs_to(n, str(policy.value_adapter))}
    save_file(tensors, folder / "head.safetensors")
    kind = "shared" if policy.shares_trunk else "adapter" if policy.value_lm is None else "separate"
    (folder / "head.json").write_text(json.dumps({"trunk": kind}) + "\n", encoding="utf-8")
    if isinstance(policy.value_lm, PreTrainedModel):
        policy.value_lm.save_pretrained(folder / "lm")


def save_lm(lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a language model that has no policy around it as an HF folder; see `save_model`."""
    lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_saved(folder, lm, Policy(lm, special_tokens(lm, tokenizer)), tokenizer)


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a sequence classifier as an HF folder.

    Raises:
        ModelError: the folder, loaded again, is not the classifier that was trained.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    what = "the classifier that was just saved"
    again, _ = load_pretrained(AutoModelForSequenceClassification, str(folder), what, dtype=model.dtype)
    names = differing(model, again)
    if names:
        raise ModelError(
            f"the classifier that was saved and loaded again is not the one that was trained: {tell(names, '')}. "
            f"{type(model).__name__} keeps something that `save_pretrained` does not write or loading does not read"
        )


def check_saved(folder: Path, lm: PreTrainedModel, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> None:
    """Load a saved folder as its users will, and compare it with what was trained.

    Args:
        folder: has the model and its tokenizer.
        lm: what was written to it.
        policy: what was trained, with its adapter.
        tokenizer: of the policy.

    Raises:
        ModelError: tensors differ, or log-probs of a few tokens by more than rounding, or special tokens.
    """
    architecture: Any = "encoder-decoder" if lm.config.is_encoder_decoder else "causal"
    dtype: Any = str(lm.dtype).removeprefix("torch.")
    again = load_lm(ModelConfig(path=str(folder), architecture=architecture, dtype=dtype), torch.device("cpu"))
    names = differing(lm, again)
    # how it is run is compared below, with the policy itself
    again.runs_in_groups, again.shares_prompts = policy.lm.runs_in_groups, policy.lm.shares_prompts
    tokens = special_tokens(again, tokenizer)
    wrong = f"its special tokens are {tokens}, for {policy.tokens}" if tokens != policy.tokens else ""
    error = float((probe_logprobs(policy).cpu() - probe_logprobs(Policy(again, policy.tokens))).abs().max())
    if not error <= LARGEST_ROUNDING:
        wrong = f"its log-probs differ by {error:.3g} nats"
    if names or wrong:
        raise ModelError(
            f"the model that was saved and loaded again is not the one that was trained: {tell(names, wrong)}. "
            f"{type(lm).__name__} keeps something that `save_pretrained` does not write or loading does not read; the "
            "weights as they were trained are in the checkpoints"
        )


def differing(model: nn.Module, again: nn.Module) -> list[str]:
    """Return the names of the tensors in which two models are not equal to the last bit."""
    ours, theirs = model.state_dict(), again.state_dict()
    same = {
        name
        for name in ours.keys() & theirs.keys()
        if ours[name].shape == theirs[name].shape and torch.equal(ours[name].cpu(), theirs[name].cpu())
    }
    return sorted((ours.keys() | theirs.keys()) - same)


def tell(names: list[str], wrong: str) -> str:
    """Say in words what is not the same: tensors, and what else."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    tensors = f"tensors that differ: {', '.join(names[:3])}{more}" if names else ""
    return "; ".join(part for part in (wrong, tensors) if part)


def save_adapter(policy: Policy, tokenizer: PreTrainedTokenizerBase, folder: Path, base: str) -> None:
    """Save the LoRA adapter of a policy in PEFT's format.

    Args:
        policy: has an adapter.
        tokenizer: goes beside it.
        folder: exists.
        base: what the adapter was trained on, a folder or a Hub id; folders are written as absolute paths.
    """
    peft = of_extra("peft")
    config = copy.deepcopy(policy.lm.peft_config[policy.adapter])
    config.base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
    config.task_type = "SEQ_2_SEQ_LM" if policy.lm.config.is_encoder_decoder else "CAUSAL_LM"
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = peft.get_peft_model_state_dict(policy.lm, adapter_name=str(policy.adapter), save_embedding_layers=False)
    tensors = {f"{PEFT_PREFIX}{name}": tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


def read_adapter(policy: Policy, folder: Path) -> None:
    """Fill the adapter of a policy with what `save_adapter` wrote.

    Raises:
        ModelError: it cannot be read, or is of other layers or sizes.
    """
    peft = of_extra("peft")
    try:
        loaded = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}: the adapter cannot be read: {error}") from error
    tensors = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in loaded.items()}
    try:
        found: Any = peft.set_peft_model_state_dict(policy.lm, tensors, adapter_name=str(policy.adapter))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{folder}: the adapter does not fit the model: {error}") from error
    missing = [name for name in found.missing_keys if ".lora_" in name and belongs_to(name, str(policy.adapter))]
    strange = [*missing, *found.unexpected_keys]
    if strange:
        raise ModelError(f"{folder}: the adapter does not fit the model: see {strange[0]}")
