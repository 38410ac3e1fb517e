"""Small runs for tests: a tiny random model, prompts of numbers, a toy reward."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from rl4lms.config import merge_defaults, recipe_from_dict
from rl4lms.config.recipe import Recipe
from rl4lms.training.loop import Loop
from rl4lms.training.run import assemble
from rl4lms.types import Experience
from tests.tiny import number_tokenizer, tiny_lm


def save_tiny(folder: Path, family: str, **options: Any) -> Path:
    """A tiny model with a tokenizer of numbers, as an HF folder."""
    tokenizer = number_tokenizer()
    tiny_lm(family, vocab_size=len(tokenizer), **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def number_prompts(path: Path, rows: int = 64) -> Path:
    """Prompts of one to three numbers."""
    lines = [
        {"prompt": " ".join(str((i * k) % 20) for k in range(1, 2 + i % 3)), "references": ["1 2 3"]}
        for i in range(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def small_recipe(tmp_path: Path, family: str = "gpt2", **settings: Any) -> Recipe:
    """A recipe of a few fast iterations; `settings` override its blocks."""
    model, data = tmp_path / f"lm-{family}", tmp_path / "numbers.jsonl"
    if not model.exists():
        save_tiny(model, family)
    if not data.exists():
        number_prompts(data)
    defaults = {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "model": {"path": str(model)},
        "data": {"train": str(data), "validation": str(data)},
        "prompt": {"max_tokens": 8},
        "reward": {"name": "increasing_numbers", "min_tokens": 6},
        "rollout": {"max_new_tokens": 6},
        "optimizer": {"learning_rate": 1e-3},
        "training": {"iterations": 3, "prompts_per_iteration": 16},
        "evaluation": {"every": 0, "prompts": 8, "metrics": [{"name": "diversity"}], "on_training_data": True},
        "checkpoint": {"every": 1},
        "tracking": {"progress": False},
    }
    return recipe_from_dict(merge_defaults(settings, defaults))


def small_loop(tmp_path: Path, family: str = "gpt2", **settings: Any) -> Loop:
    """A loop that is ready to step."""
    recipe = small_recipe(tmp_path, family, **settings)
    folder = Path(recipe.output_dir or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return assemble(recipe, folder)


def weights_hash(folder: Path) -> str:
    """SHA-256 of the saved weights of a model folder."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def metric_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without what the clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


def run_steps(loop: Loop, n: int) -> list[dict[str, float]]:
    """Steps without evaluation or files."""
    numbers = []
    for step in range(n):
        numbers.append(loop.step(step))
        loop.state.step = step + 1
    return numbers


def recorded(loop: Loop) -> list[Experience]:
    """The experiences that updates of a loop will get, filled as it steps."""
    seen: list[Experience] = []
    update = loop.algorithm.update

    def record(experience: Experience, step: int) -> dict[str, float]:
        seen.append(experience)
        return update(experience, step)

    loop.algorithm.update = record  # type: ignore[method-assign]
    return seen


def fork_server() -> ForkServerContext:
    """What starts processes that have imported everything: they are forked by a server that has done nothing else,
    which starts with the first of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.runs", "rl4lms.cli.main"])
    return context
