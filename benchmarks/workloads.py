"""The workloads of the benchmark: random models, prompts, and the floating-point work that an iteration of each
needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

NEW_TOKENS, MINIBATCH, EPOCHS = 48, 16, 4


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload.

    Attributes:
        build: makes the model, with random weights.
        completions: of one iteration, each with a prompt of its own unless the variant has groups.
        prompt_tokens: length of every prompt, or None: geometric with mean 40, at most 160, and completions geometric
            with mean 24.
        summary: for the table.
    """

    build: Callable[[], PreTrainedModel]
    completions: int
    prompt_tokens: int | None
    summary: str


def _gpt2(width: int, layers: int, heads: int, vocab_size: int, eos: int | None = None) -> PreTrainedModel:
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "vocab_size": vocab_size}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=eos, pad_token_id=0))


def _t5() -> PreTrainedModel:
    sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, pad_token_id=0, eos_token_id=None))


WORKLOADS = {
    "A": Workload(lambda: _gpt2(768, 12, 12, 50257), 64, 64, "GPT-2-small's shape, 64 prompts of 64 tokens"),
    "B": Workload(
        lambda: _gpt2(256, 4, 4, 4096), 64, 64, "4 layers of width 256, vocabulary 4,096, 64 prompts of 64 tokens"
    ),
    "C": Workload(_t5, 64, 256, "T5-small's shape, 64 prompts of 256 tokens"),
    "D": Workload(
        lambda: _gpt2(256, 4, 4, 4096, eos=1), 256, None, "B with 256 prompts and completions of geometric length"
    ),
}

# What a variant changes in the recipe (None takes a setting out of it), and forward-equivalents of the blocks that one
# iteration has beyond PPO's 15.
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "ppo": ({}, 0),
    "separate": ({"model": {"value": "separate"}}, 13),  # one pass, and three in each of four epochs
    "nlpo": ({"algorithm": {"name": "nlpo", "mask_top_p": 0.9, "min_tokens_to_keep": 1}}, 0),
    "bf16": ({"model": {"autocast": "bfloat16"}}, 0),
    "lora": ({"model": {"lora": {"r": 8}}}, 0),
    "grpo": ({"algorithm": {"name": "grpo"}, "model": {"value": None}, "rollout": {"completions_per_prompt": 4}}, 0),
}


def geometric(n: int, mean: float, longest: int, seed: int) -> list[int]:
    """N lengths from 1 to `longest`."""
    return np.random.default_rng(seed).geometric(1 / mean, n).clip(1, longest).tolist()


def write_inputs(workload: Workload, folder: Path) -> tuple[Path, Path]:
    """Write the model's folder and the prompts; return both paths."""
    torch.manual_seed(0)
    lm = workload.build()
    vocab_size = lm.config.vocab_size
    words = {f"w{i}": i for i in range(vocab_size)}
    plain = Tokenizer(models.WordLevel(words, unk_token="w2"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "w0"} | ({"eos_token": "w1"} if lm.config.eos_token_id is not None else {})
    lm.save_pretrained(folder / "model")
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder / "model")
    fixed = workload.prompt_tokens
    lengths = [fixed] * workload.completions if fixed is not None else geometric(workload.completions, 40, 160, seed=0)
    ids = np.random.default_rng(1).integers(3, vocab_size, (len(lengths), max(lengths)))
    rows = [{"prompt": " ".join(f"w{i}" for i in row[:n])} for row, n in zip(ids, lengths, strict=True)]
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "model", data


def recipe(workload: Workload, variant: str, model: Path, data: Path, output: Path) -> dict[str, Any]:
    """Return the recipe of a variant, as a tree."""
    tree: dict[str, Any] = {
        "output_dir": str(output),
        "device": "cpu",
        "model": {"path": str(model), "value": "shared"},
        "data": {"train": str(data), "validation": str(data)},  # without, rows of `train` would be set aside
        "prompt": {"max_tokens": workload.prompt_tokens or 160},
        "algorithm": {"name": "ppo", "n_epochs": EPOCHS, "minibatch_size": MINIBATCH},
        "reward": {"name": f"{__file__}:reward"},
        "rollout": {"max_new_tokens": NEW_TOKENS, "batch_size": 64},
        "optimizer": {"learning_rate": 1e-6},
        "training": {"iterations": 1, "prompts_per_iteration": workload.completions},
        "evaluation": {"every": 0, "prompts": 1, "metrics": [{"name": "diversity"}], "on_training_data": True},
        "tracking": {"progress": False},
    }
    for block, settings in VARIANTS[variant][0].items():
        tree[block] = {key: value for key, value in {**tree[block], **settings}.items() if value is not None}
    tree["training"]["prompts_per_iteration"] //= tree["rollout"].get("completions_per_prompt", 1)
    return tree


def reward(completions: list[str], **columns: Any) -> list[float]:
    """Something that costs nothing and differs between texts."""
    return [len(set(text.split())) / NEW_TOKENS for text in completions]


def forced_lengths(draw: Callable[[Tensor, Tensor, int], Tensor], eos: int) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Return the sampler's `draw` with completions of geometric length, mean 24: an EOS where a row is at its end and
    nowhere else.
    """
    lengths: dict[int, int] = {}

    def forced(logits: Tensor, keys: Tensor, position: int) -> Tensor:
        if position == 0:
            lengths.update(zip(keys.tolist(), geometric(len(keys), 24, NEW_TOKENS, seed=len(lengths)), strict=True))
        token = draw(logits, keys, position)
        ends = torch.tensor([lengths[key] == position + 1 for key in keys.tolist()])
        return torch.where(ends, eos, torch.where(token == eos, eos + 1, token))

    return forced


def forward_flop(lm: PreTrainedModel, prompt_tokens: int, completion_tokens: int) -> tuple[float, float]:
    """Return works of one forward pass: (transformer blocks on all tokens, output layer on completion tokens)."""
    head = 2.0 * lm.config.hidden_size * lm.config.vocab_size * completion_tokens

    def size(module: Any, wanted: Callable[[str], bool] = lambda name: True) -> int:
        return sum(math.prod(p.shape) for name, p in module.named_parameters() if wanted(name) and "lora_" not in name)

    if not lm.config.is_encoder_decoder:
        return 2.0 * size(lm.transformer.h) * (prompt_tokens + completion_tokens), head
    cross = size(lm.decoder.block, lambda name: "EncDecAttention.k" in name or "EncDecAttention.v" in name)
    encoder, decoder = size(lm.encoder.block), size(lm.decoder.block) - cross
    return 2.0 * (encoder + cross) * prompt_tokens + 2.0 * decoder * completion_tokens, head
