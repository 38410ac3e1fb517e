"""What must be true for every task on a published data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rl4lms import train
from rl4lms.config import recipe_from_dict
from rl4lms.plugins import registry
from rl4lms.tasks import build
from rl4lms.tasks.dataset import SPLITS, DatasetTask
from tests.tiny import tiny_lm

PRESETS = ("ppo", "nlpo", "supervised-ppo", "supervised-nlpo")


def check_splits(task: Any, counts: tuple[int, ...]) -> None:
    """Sizes, ids, texts; no document in two splits, no prompt twice in one."""
    samples = {split: task.samples(split) for split in SPLITS}
    assert tuple(len(samples[split]) for split in SPLITS) == counts
    for split in SPLITS:
        assert len({sample.id for sample in samples[split]}) == len(samples[split])
        assert all(sample.prompt.strip() and sample.references for sample in samples[split])
        assert all(text.strip() for sample in samples[split] for text in sample.references)
        assert all(len(set(sample.references)) == len(sample.references) for sample in samples[split])


def prompts(task: Any, split: str) -> set[str]:
    return {sample.prompt for sample in task.samples(split)}


def check_defaults(name: str, forms: tuple[str, ...]) -> None:
    """Every preset and every form is a recipe, of components that are there."""
    for preset, form in [*((preset, forms[0]) for preset in PRESETS), *(("nlpo", form) for form in forms[1:])]:
        recipe = recipe_from_dict({"task": {"name": name, "edition": "full", "preset": preset, "form": form}})
        assert recipe.algorithm is not None
        assert recipe.algorithm.name == preset.removeprefix("supervised-")
        starts_trained = recipe.supervised is not None or recipe.model.path == "allenai/unifiedqa-t5-base"
        assert starts_trained == preset.startswith("supervised-")
    task: DatasetTask = build(name, edition="full")  # type: ignore[assignment]
    for metric in task.defaults["evaluation"]["metrics"]:
        assert registry.metrics.get(metric["name"])()  # needs no model, no download and no Java


def train_one_iteration(folder: Path, test_data: Path, family: str, **task: Any) -> dict[str, Any]:
    """One iteration of a tiny model with a real tokenizer, and both evaluations, with the defaults of the task but for
    sizes.
    """
    tokenizer = AutoTokenizer.from_pretrained(test_data / "stories260K-hf")
    tiny_lm(family, vocab_size=len(tokenizer)).save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    prompt = {"max_tokens": 60}
    if task.get("form") == "chat":
        template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        prompt = {"max_tokens": 70, "chat_template": template}  # type: ignore[dict-item]
    result = train(
        str(folder / "lm"),
        task=task,
        output_dir=str(folder / "run"),
        training={"iterations": 1, "prompts_per_iteration": 4},
        prompt=prompt,
        rollout={"max_new_tokens": 6, "min_new_tokens": 0},
        evaluation={"prompts": 3, "generation": {"max_new_tokens": 6, "min_new_tokens": 0, "num_beams": 1}},
        progress=False,
    )
    return dict(result.metrics)


def skip_without(*files: Path) -> None:
    for file in files:
        if not file.exists():
            pytest.skip(f"{file} is not there")
