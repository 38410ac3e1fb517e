"""Write `docs/recipes.md`: the packaged recipes, and what they need with models of known shapes.

Memory and arithmetic are those of `rl4lms train RECIPE --dry-run` (`checks/estimate.py`). The shapes are written down
here, since nothing is downloaded; `tests/unit/checks/test_estimate.py` compares their parameters with the published
counts.
"""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, LlamaConfig, M2M100Config, PretrainedConfig, Qwen2Config, T5Config

from rl4lms import recipes
from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import build_algorithm
from rl4lms.checks.estimate import Estimate, ModelSize, empty, estimate, size_of
from rl4lms.config import read_recipe, recipe_from_dict
from rl4lms.config.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"
GIB = 2**30
PROCESS = 0.5 * GIB  # of Python and torch, as `--dry-run` says

HEAD = """# Recipes for real models

`rl4lms ls recipes` lists the recipes that come with the package; the head of each file says how to start it. The
five below are for data and a reward of your own, which are named on the command line:

```sh
rl4lms train chat-lora data=prompts.jsonl reward=reward.py:score --dry-run   # what it amounts to, memory included
rl4lms doctor chat-lora data=prompts.jsonl reward=reward.py:score            # whether everything is sane
rl4lms train chat-lora data=prompts.jsonl reward=reward.py:score model.path=HuggingFaceTB/SmolLM2-360M-Instruct
```

`reward.py` is a file of yours with a function `score(completions, **columns)` ([rewards](rewards.md),
[chat](chat.md)). Their settings are the defaults but for what each file says; none of the larger models has been
trained with them, since no GPU was at hand.

Written by `python scripts/recipes_page.py`; change it there.

## What they need
"""
ESTIMATE = """
**All of these are estimates** by the formula below, with every text as long as the recipe allows. *GiB* is what
`--dry-run` says and half a GiB for Python and torch. *saving* is main memory, at the end: with LoRA the merged model
in float32 and the same read back, else what is read back. *TFLOP* is the arithmetic of one iteration. *A100* is the
seconds that an iteration would take there at 30 % of its published matrix rate (312 TFLOP/s in bfloat16, 19.5 in
float32) and with the weights read once for every decoded token at half of 2 TB/s; nobody has measured it, and what
Python and kernel launches cost for each token is not in it.

## The formula

- weights: parameters × bytes, for policy and reference, a separate value function, and NLPO's mask; with LoRA once,
  and the adapters in float32
- training state: gradients and two moments of AdamW, 12 bytes for each trained parameter
- cache of a rollout: rows × positions × 2 × layers × key-value heads × size of a head × bytes
- activations of a micro-batch: for every position, the inputs and outputs of all linear layers; with gradient
  checkpointing those of one layer, and the hidden states between layers
- a chunk of logits: at most 2²⁴ numbers, three times, in float32; with `device: cpu` no more than that of 256 tokens
- arithmetic: two operations for each weight of a linear layer and position, the output layer on completions alone;
  a rollout (two inside a mask), two passes, and in each epoch a forward and a backward pass (2, with LoRA 1). A
  separate value function adds a pass and its epochs

The parts are added up, though they are not all there at once: what a rollout took, a process keeps for the update.

## Against what was measured

Peak memory of the processes of [reports/speed.md](../reports/speed.md): random weights of these shapes, one
iteration after a warm-up, on a CPU in float32 but for `bf16`. *TFLOP, counted* is that report's own count.
`tests/unit/checks/test_estimate.py` holds the estimate of memory to 20 % of each. With LoRA it is the furthest off,
and too low.
"""


def llama(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocab: int, *, tied: bool = True) -> Any:
    """Return the shape of a Llama."""
    shape = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocab}
    return LlamaConfig(**shape, num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=tied)


def qwen(hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> Any:
    """Return the shape of a small Qwen2.5."""
    shape = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": 151_936}
    return Qwen2Config(**shape, num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=True)


def flan_t5(width: int, inner: int, layers: int, heads: int) -> Any:
    """Return the shape of a FLAN-T5."""
    shape = {"d_model": width, "d_ff": inner, "num_layers": layers, "num_heads": heads, "vocab_size": 32_128}
    return T5Config(**shape, d_kv=64, feed_forward_proj="gated-gelu")


def nllb(width: int, inner: int, layers: int, heads: int) -> Any:
    """Return the shape of an NLLB."""
    shape: dict[str, Any] = {"d_model": width, "vocab_size": 256_206, "max_position_embeddings": 1024}
    for side in ("encoder", "decoder"):
        shape |= {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": inner}
    return M2M100Config(**shape)


def size(config: PretrainedConfig) -> ModelSize:
    """Return the size of a shape; of FLAN-T5 with its own output layer, which transformers learns from the weights."""
    found = size_of(empty(config))
    own = found.hidden_size * found.vocab_size if isinstance(config, T5Config) else 0
    return replace(found, parameters=found.parameters + own)


# Recipe, model, its shape, and what has to be said besides on the command line.
MODELS: list[tuple[str, str, PretrainedConfig, list[str]]] = [
    ("gpt2-ppo", "openai-community/gpt2", GPT2Config(), []),
    ("flan-t5-ppo", "google/flan-t5-base", flan_t5(768, 2048, 12, 12), []),
    ("flan-t5-ppo", "google/flan-t5-large", flan_t5(1024, 2816, 24, 16), ["optimizer.micro_batch_size=4"]),
    ("nllb-grpo", "facebook/nllb-200-distilled-600M", nllb(1024, 4096, 12, 16), []),
    ("chat-lora", "HuggingFaceTB/SmolLM2-135M-Instruct", llama(576, 1536, 30, 9, 3, 49_152), []),
    ("chat-lora", "HuggingFaceTB/SmolLM2-360M-Instruct", llama(960, 2560, 32, 15, 5, 49_152), []),
    ("chat-lora", "Qwen/Qwen2.5-0.5B-Instruct", qwen(896, 4864, 24, 14, 2), []),
    ("chat-lora", "meta-llama/Llama-3.2-1B-Instruct", llama(2048, 8192, 16, 32, 8, 128_256), []),
    ("chat-lora", "Qwen/Qwen2.5-1.5B-Instruct", qwen(1536, 8960, 28, 12, 2), []),
    ("chat-lora-8b", "meta-llama/Llama-3.1-8B-Instruct", llama(4096, 14_336, 32, 32, 8, 128_256, tied=False), []),
]


def algorithm_of(recipe: Recipe) -> Algorithm:
    """Return the algorithm of a recipe."""
    assert recipe.algorithm is not None
    return build_algorithm(recipe.algorithm)


@cache
def sizes() -> dict[str, ModelSize]:
    """Return the size of every model of the page."""
    return {model: size(config) for _, model, config, _ in MODELS}


def on_a100(recipe: Recipe, e: Estimate) -> float:
    """Return seconds of an iteration, as the page says."""
    rows = recipe.training.prompts_per_iteration * recipe.rollout.completions_per_prompt
    reads = -(-rows // recipe.rollout.batch_size) * recipe.rollout.max_new_tokens
    rate = 19.5e12 if recipe.model.dtype == "float32" and recipe.model.autocast is None else 312e12
    return e.flop / (0.3 * rate) + reads * (e.weights / len(e.copies)) / (0.5 * 2e12)


def needs() -> str:
    """Return the table of models."""
    rows = [
        "| recipe | model | parameters | trained | GiB | saving, GiB | TFLOP | A100, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, model, _, overrides in MODELS:
        recipe = read_recipe(recipes.find(name), [f"model.path={model}", *overrides])
        e = estimate(recipe, sizes()[model], algorithm_of(recipe))
        with_ = "".join(f", `{text}`" for text in overrides)
        cells = [
            f"`{name}`",
            f"`{model}`{with_}",
            f"{sizes()[model].parameters / 1e6:,.0f} M",
            f"{e.trained / 1e6:,.1f} M",
        ]
        cells += [
            f"{(e.memory + PROCESS) / GIB:.1f}",
            f"{e.saving / GIB:.1f}",
            f"{e.flop / 1e12:,.0f}",
            f"{on_a100(recipe, e):,.0f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def measured() -> list[dict[str, Any]]:
    """Return every row of reports/speed.json with the estimate beside it."""
    workloads = runpy.run_path(str(ROOT / "benchmarks" / "workloads.py"))
    found = []
    for row in json.loads((ROOT / "reports" / "speed.json").read_text()):
        workload = workloads["WORKLOADS"][row["workload"]]
        tree = workloads["recipe"](workload, row["variant"], Path("model"), Path("data.jsonl"), Path("run"))
        with torch.device("meta"):
            shape = size_of(workload.build())
        recipe = recipe_from_dict(tree)
        e = estimate(recipe, shape, algorithm_of(recipe))
        found.append({**row, "estimate": e, "gib": row["max_rss_gb"] * 1e9 / GIB})
    return found


def compared() -> str:
    """Return the table of what was measured."""
    rows = [
        "| workload | GiB, measured | GiB, estimated | TFLOP, counted | TFLOP, estimated | CPU s, measured |",
        "|---|---|---|---|---|---|",
    ]
    for row in measured():
        e = row["estimate"]
        cells = [f"{row['workload']} {row['variant']}", f"{row['gib']:.2f}", f"{(e.memory + PROCESS) / GIB:.2f}"]
        cells += [f"{row['tflop']:.2f}", f"{e.flop / 1e12:.2f}", f"{row['iteration_cpu_s']:.3g}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def render() -> str:
    """Return the page."""
    return f"{HEAD}\n{needs()}\n{ESTIMATE}\n{compared()}\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
