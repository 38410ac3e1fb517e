"""A file of the original RL4LMs, in the words of its schema, for tests to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TREE: dict[str, Any] = {
    "tokenizer": {"model_name": "gpt2", "padding_side": "left", "truncation_side": "left"},
    "reward_fn": {"id": "increasing_numbers", "args": {"min_tokens": 20}},
    "datapool": {"id": "dummy_pool", "args": {"prompt": "1 2", "n_samples": 5}},
    "env": {"n_envs": 2, "args": {"max_prompt_length": 8, "max_episode_length": 6, "terminate_on_eos": True}},
    "alg": {
        "id": "ppo",
        "args": {"n_steps": 12, "batch_size": 12, "learning_rate": 1e-5, "n_epochs": 2},
        "kl_div": {"coeff": 0.1, "target_kl": 0.5},
        "policy": {
            "id": "causal_lm_actor_critic_policy",
            "args": {"model_name": "gpt2", "generation_kwargs": {"do_sample": True, "top_k": 0, "max_new_tokens": 6}},
        },
    },
    "train_evaluation": {
        "eval_batch_size": 4,
        "n_iters": 2,
        "eval_every": 1,
        "metrics": [{"id": "increasing_numbers", "args": {"min_tokens": 20}}],
    },
}


def place(tree: dict[str, Any], path: str) -> tuple[Any, Any]:
    """Return what holds a dotted key, and the key in it."""
    *above, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    node: Any = tree
    for key in above:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    return node, last


def original(folder: Path, without: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write an old file; `changes` are by dotted key with `__` for the dots."""
    tree = yaml.safe_load(yaml.safe_dump(TREE))
    for path in without:
        node, key = place(tree, path)
        del node[key]
    for path, value in changes.items():
        node, key = place(tree, path.replace("__", "."))
        node[key] = value
    file = folder / "old.yml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file
