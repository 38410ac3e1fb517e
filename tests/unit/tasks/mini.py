"""What must be true for every mini edition."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl4lms import train
from rl4lms.config import recipe_from_dict
from rl4lms.errors import ConfigError
from rl4lms.plugins import registry
from rl4lms.tasks import build
from rl4lms.tasks.dataset import SPLITS, DatasetTask
from rl4lms.tasks.mini import Mini, break_text, pairs, rows

LEAST = {"train": 2000, "validation": 200, "test": 200}


def mini_task(name: str, **options: Any) -> DatasetTask:
    task: DatasetTask = build(name, edition="mini", **options)  # type: ignore[assignment]
    return task


def check_mini(name: str, perfect: Callable[[Any, str], float]) -> None:
    """Sizes, ids, texts, vocabulary, lengths, settings; worlds are reproducible, and differ.

    Args:
        name: of the task.
        perfect: the gold measure of a sample and a completion, 1 where it is right.
    """
    task = mini_task(name)
    assert task.mini is not None
    words = set(importlib.import_module(task.mini.grammar).vocabulary())
    seen: set[str] = set()
    for split in SPLITS:
        samples = task.samples(split)
        assert len(samples) >= LEAST[split]
        assert len({sample.id for sample in samples}) == len(samples)
        prompts = {sample.prompt for sample in samples}
        assert len(prompts) == len(samples)
        assert not prompts & seen
        seen |= prompts
        for sample in samples:
            assert len(set(sample.references)) == len(sample.references) > 0
            assert 0 < len(sample.prompt.split()) <= task.mini.prompt_tokens
            for text in sample.references:
                assert text == " ".join(text.split())  # no token is lost between the tokenizer and a text
                assert len(text.split()) < task.mini.completion_tokens  # the end of text fits, too
            unknown = {word for text in (sample.prompt, *sample.references) for word in text.split()} - words
            assert not unknown
    some = task.samples("test")[:100]
    assert all(perfect(sample, text) == 1 for sample in some for text in sample.references)
    one, again, other = (rows(task.mini.grammar, "test", 20, seed) for seed in (0, 0, 1))
    assert one == again != other
    for preset in ("ppo", "nlpo", "supervised-ppo", "supervised-nlpo"):
        recipe = recipe_from_dict({"task": {"name": name, "edition": "mini", "preset": preset}})
        assert recipe.algorithm is not None
        assert recipe.algorithm.name == preset.removeprefix("supervised-")
        assert (recipe.supervised is not None) == preset.startswith("supervised-")
    for metric in task.defaults["evaluation"]["metrics"]:
        assert metric["name"] in registry.metrics.names()
    for wrong in ({"data_dir": "."}, {"form": "chat"}):
        with pytest.raises(ConfigError, match="mini"):
            mini_task(name, **wrong)
    with pytest.raises(ConfigError, match="edition: mini"):
        build(name, edition="full", data_dir=".", seed=1)


def check_base_data(name: str) -> None:
    """The base model reads other rows than those of the splits, and neither prompts nor texts that are all right."""
    task = mini_task(name)
    assert task.mini is not None
    (spec,) = (spec for spec in task.models.values() if spec.name == "base")
    options = {**spec.data_options, "count": 300}
    noisy, clean = pairs(**options), pairs(**(options | {"noise": 0.0, "broken": 0.0}))
    words = [
        pair
        for (one, _), (two, _) in zip(noisy, clean, strict=True)
        for pair in zip(one.split(), two.split(), strict=True)
    ]
    share = sum(a != b for a, b in words) / len(words)
    assert 0.5 * options["noise"] < share <= 1.2 * options["noise"]
    broken = sum(a != b for (_, a), (_, b) in zip(noisy, clean, strict=True)) / len(clean)
    assert 0.5 * options["broken"] < broken <= 1.3 * options["broken"]


def train_from_start(name: str, folder: Path, cache: pytest.MonkeyPatch) -> dict[str, Any]:
    """Results of the base model after a short training, a warm start and two iterations of RL on it, with the defaults
    of the task but for sizes.
    """
    cache.setenv("RL4LMS_CACHE", str(folder / "cache"))
    cache.setattr(Mini, "models", functools.partialmethod(_shorter, Mini.models))
    result = train(
        "asset:base",
        task={"name": name, "edition": "mini", "preset": "supervised-nlpo"},
        output_dir=str(folder / "run"),
        training={"iterations": 2, "prompts_per_iteration": 8},
        supervised={"max_steps": 60},
        evaluation={"prompts": 24},
        progress=False,
    )
    return dict(result.metrics)


def _shorter(mini: Mini, models: Callable[..., Any], seed: int) -> dict[str, Any]:
    found = {}
    for key, spec in models(mini, seed).items():
        found[key] = dataclasses.replace(spec, steps=60, data_options={**spec.data_options, "count": 2000})
    return found


def broken_share(texts: list[str], perfect: Callable[[str], bool]) -> float:
    """Share of texts with one error that the grammar no longer derives."""
    from random import Random

    rng = Random("errors")
    broken = [changed for text in texts if (changed := break_text(text, rng)) != text]
    assert len(broken) > len(texts) // 2
    return sum(not perfect(text) for text in broken) / len(broken)
