"""Every algorithm learns a toy reward, on a decoder-only model and on an encoder-decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rl4lms
from tests.tiny import number_tokenizer, tiny_lm


def number_model(folder: Path, family: str) -> Path:
    tokenizer = number_tokenizer()
    tiny_lm(family, vocab_size=len(tokenizer), width=64).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def number_prompts(path: Path) -> Path:
    rows = [{"prompt": f"{i % 20} {(i * 7) % 20}"} for i in range(64)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(tmp_path: Path, family: str, algorithm: dict[str, Any]) -> dict[str, Any]:
    data = str(number_prompts(tmp_path / "numbers.jsonl"))
    return {
        "model": str(number_model(tmp_path / "lm", family)),
        "output_dir": str(tmp_path / "run"),
        "data": {"train": data, "validation": data},
        "prompt": {"max_tokens": 16},
        "reward": {"name": "increasing_numbers", "min_tokens": 8},
        "algorithm": algorithm,
        "rollout": {"max_new_tokens": 8, "min_new_tokens": 8},
        "optimizer": {"learning_rate": 4e-3},
        "kl": {"kl_coef": 0.01},
        "training": {"iterations": 12, "prompts_per_iteration": 64},
        "evaluation": {"every": 0, "prompts": 64, "on_training_data": True},
        "checkpoint": {"every": 0},
        "progress": False,
    }


# the sizes with which twelve iterations are enough, and 36 of a single pass
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "nlpo": {"mask_top_p": 0.95, "mask_update_every": 5, "min_tokens_to_keep": 3},
    "a2c": {"minibatch_size": 16, "gae_lambda": 0.95},
    "reinforce": {"minibatch_size": 16, "length_norm": "token"},
    "rloo": {"minibatch_size": 16},
    "grpo": {"minibatch_size": 16, "n_epochs": 2},
    "trpo": {"target_kl": 0.1, "cg_steps": 5, "minibatch_size": 64},
    "bandit_ppo": {},
    "gspo": {"minibatch_size": 16},
    "cispo": {"minibatch_size": 16},
    "expert_iteration": {"minibatch_size": 16},
}
GROUPED = ("rloo", "grpo", "gspo", "cispo", "expert_iteration")


@pytest.mark.parametrize("family", ["gpt2", pytest.param("t5-untied", marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learns_increasing_numbers(tmp_path: Path, family: str, algorithm: str) -> None:
    options = {"name": algorithm, "minibatch_size": 32 if family == "gpt2" else 16} | ALGORITHMS[algorithm]
    asked = settings(tmp_path, family, options)
    if algorithm not in ("ppo", "nlpo"):
        asked["training"] |= {"iterations": 36}
    if algorithm == "a2c":  # nothing clips a step
        asked["optimizer"] |= {"learning_rate": 2e-3}
    if algorithm in GROUPED:
        asked["rollout"] |= {"completions_per_prompt": 4}
        asked["training"] |= {"prompts_per_iteration": 16}
    result = rl4lms.train(**asked)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    before, after = lines[0]["eval/reward"], lines[-1]["eval/reward"]
    print(family, algorithm, before, after, [round(x.get("rollout/score", 0), 2) for x in lines])
    assert before < 0.4
    assert after > before + 0.3
    assert result.metrics["eval/reward"] == after
    assert lines[1]["rollout/sampler_error"] < 1e-4
    assert abs(lines[1]["rollout/kl_per_token"]) < 1e-6
