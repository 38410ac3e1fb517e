"""The estimate of memory and arithmetic, held to what was measured and to counts that others publish."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rl4lms.algorithms.build import build_algorithm
from rl4lms.checks.estimate import Estimate, size_of
from rl4lms.checks.estimate import estimate as estimate_of
from rl4lms.config import recipe_from_dict
from tests.docs.pages import ROOT


def script() -> Any:
    spec = importlib.util.spec_from_file_location("recipes_page", ROOT / "scripts" / "recipes_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = script()
ROWS = PAGE.measured()
PUBLISHED = {  # millions of parameters, by the model cards
    "openai-community/gpt2": 124,
    "google/flan-t5-base": 248,
    "google/flan-t5-large": 783,
    "facebook/nllb-200-distilled-600M": 615,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 135,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 362,
    "Qwen/Qwen2.5-0.5B-Instruct": 494,
    "meta-llama/Llama-3.2-1B-Instruct": 1236,
    "Qwen/Qwen2.5-1.5B-Instruct": 1544,
    "meta-llama/Llama-3.1-8B-Instruct": 8030,
}


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['workload']} {row['variant']}" for row in ROWS])
def test_memory_is_what_was_measured_to_a_fifth(row):
    estimate = (row["estimate"].memory + PAGE.PROCESS) / PAGE.GIB
    assert estimate == pytest.approx(row["gib"], rel=0.2)


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r["variant"] in ("ppo", "separate", "bf16") and r["workload"] != "D"]
)
def test_arithmetic_is_what_the_benchmark_counts_by_another_way(row):
    assert row["estimate"].flop / 1e12 == pytest.approx(row["tflop"], rel=0.02)


def test_the_shapes_of_the_page_have_the_published_parameters():
    found = {model: size.parameters / 1e6 for model, size in PAGE.sizes().items()}
    assert found == {model: pytest.approx(count, rel=0.005) for model, count in PUBLISHED.items()}


def test_the_page_is_what_the_code_says():
    assert PAGE.PAGE.read_text(encoding="utf-8") == PAGE.render(), "run python scripts/recipes_page.py"


def estimated(model: dict[str, object], **settings: object) -> Estimate:
    recipe = recipe_from_dict({"model": {"path": "m", **model}, "data": "d.jsonl", **settings})
    assert recipe.algorithm is not None
    with torch.device("meta"):
        lm = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=4, n_head=4, vocab_size=100))
    return estimate_of(recipe, size_of(lm), build_algorithm(recipe.algorithm))


def test_what_each_setting_saves():
    full = estimated({"value": "shared"})
    lora = estimated({"value": "shared", "lora": {"r": 2}})
    # GPT-2's four linear layers of a block, 64 → 192, 64 → 64, 64 → 256, 256 → 64: rank × (in + out) each
    assert lora.trained == 4 * 2 * ((64 + 192) + (64 + 64) + 2 * (64 + 256))
    assert estimated({"value": "shared", "lora": {"r": 2, "target_modules": ["c_attn"]}}).trained == 4 * 2 * (64 + 192)
    assert lora.memory < full.memory
    assert lora.flop < full.flop
    assert estimated({"value": "shared", "gradient_checkpointing": True}).activations < full.activations / 2
    assert estimated({"value": "shared"}, optimizer={"micro_batch_size": 4}).activations * 4 == full.activations
    assert estimated({"value": "separate"}).training_state == 2 * full.training_state
    assert estimated({"value": "shared"}, algorithm="nlpo").cache == 2 * full.cache
