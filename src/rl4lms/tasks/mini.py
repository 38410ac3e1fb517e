"""What the mini editions share: generated data sets, and the small models that begin on them.

A row is a function of (seed, index), and every split has its own range of indices. The base model of a task reads more
rows than there are in the training split, but carelessly: words of its prompts are exchanged for words of other
prompts, and part of its completions is broken. It writes the language and half understands the task, as a pretrained
model does, so that both a warm start and RL have room above it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, TypeVar

from rl4lms.types import ClassifierSpec, ModelSpec, Split

T = TypeVar("T")

#: Rows that a part of a world may have.
RANGE = 100_000
PARTS = ("base", "judge", "reward", "evaluator", "train", "validation", "development", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mini:
    """The mini edition of a task.

    Attributes:
        grammar: module with `example(seed, index)`, which returns an `Example`, and `vocabulary()`, its words.
        architecture: of the base model, `t5` or `gpt2`.
        sizes: rows of a split, before those of one prompt are merged.
        prompt_tokens, completion_tokens: the longest that are taken, as tokens.
        metrics: of evaluations; the gold measures among them are no rewards.
        reward: None: that of the full edition.
        noise: share of words of a prompt that the base model reads that are another's.
        broken: share of completions that the base model reads that have an error.
        base: training of the base model: `steps`, `batch_size`, `learning_rate`, `count`.
        shape: of the base model.
        judges: `classifiers` of a world: what a reward or a metric needs.
        warm_start, training, rollout, kl, optimizer: settings of recipes, added to those of all mini editions.
    """

    grammar: str
    prompt_tokens: int
    completion_tokens: int
    metrics: Sequence[Mapping[str, Any]]
    reward: Mapping[str, Any] | None = None
    architecture: Literal["gpt2", "t5"] = "t5"
    sizes: Mapping[Split, int] = field(default_factory=lambda: {"train": 3000, "validation": 300, "test": 500})
    noise: float = 0.2
    broken: float = 0.3
    base: Mapping[str, Any] = field(default_factory=dict)
    shape: Mapping[str, int] = field(default_factory=dict)
    judges: Callable[[int], Mapping[str, ClassifierSpec]] = lambda seed: {}
    warm_start: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    rollout: Mapping[str, Any] = field(default_factory=dict)
    kl: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, split: Split, seed: int) -> list[Any]:
        """Return the rows of a split in the world of a seed."""
        return rows(self.grammar, split, self.sizes[split], seed)

    def models(self, seed: int) -> dict[str, ModelSpec]:
        """Return what `asset:base` is."""
        options = {"steps": 700, "batch_size": 32, "learning_rate": 2e-3, "count": 20_000} | dict(self.base)
        shape = {"hidden_size": 128, "layers": 2, "heads": 4, "max_positions": 96} | dict(self.shape)
        data = {"grammar": self.grammar, "part": "base", "count": options.pop("count"), "seed": seed}
        data |= {"noise": self.noise, "broken": self.broken}
        words = f"{self.grammar}:vocabulary"
        target = "rl4lms.tasks.mini:pairs"
        return {"base": ModelSpec("base", self.architecture, shape, target, words, data, seed=seed, **options)}

    def classifiers(self, seed: int) -> Mapping[str, ClassifierSpec]:
        """Return the classifiers of the world of a seed."""
        return self.judges(seed)

    def defaults(self, algorithm: str, supervised: bool) -> dict[str, Any]:
        """Return a recipe fragment.

        Args:
            algorithm: its name.
            supervised: whether training begins with a warm start.
        """
        found: dict[str, Any] = {
            "model": {"path": "asset:base"},
            "prompt": {"max_tokens": self.prompt_tokens},
            "algorithm": {"name": algorithm, "n_epochs": 2, "minibatch_size": 32},
            "rollout": {"max_new_tokens": self.completion_tokens, **self.rollout},
            "kl": {"kl_coef": 0.05, **self.kl},
            "optimizer": {"learning_rate": 3e-4, "value_learning_rate": 1e-3, **self.optimizer},
            "training": {"iterations": 40, "prompts_per_iteration": 64, **self.training},
            "evaluation": {"metrics": [dict(metric) for metric in self.metrics]},
        }
        if algorithm == "nlpo":
            found["algorithm"] |= {"mask_top_p": 0.9, "mask_update_every": 5}
        if self.reward is not None:
            found["reward"] = dict(self.reward)
        if supervised:
            found["supervised"] = {"max_steps": 300, "batch_size": 32, "learning_rate": 1e-3, **self.warm_start}
        return found


def rows(grammar: str, part: str, count: int, seed: int) -> list[Any]:
    """Return the first `count` rows of a part of a world.

    Raises:
        ValueError: a part has fewer.
    """
    if not 0 <= count <= RANGE:
        raise ValueError(f"a part of a mini edition has {RANGE} rows, {count} were asked for")
    start = PARTS.index(part) * RANGE
    example = importlib.import_module(grammar).example
    return [example(seed, index) for index in range(start, start + count)]


def pairs(
    *, grammar: str, part: str, count: int, seed: int = 0, noise: float = 0.0, broken: float = 0.0
) -> list[tuple[str, str]]:
    """Return (prompt, first reference) of `count` rows.

    Args:
        grammar, part, seed: which rows.
        count: how many.
        noise: share of the words of prompts that are exchanged for words of other prompts.
        broken: share of the references that have an error; see `break_text`.
    """
    found = [(row.prompt.split(), row.references[0]) for row in rows(grammar, part, count, seed)]
    pool = [word for words, _ in found for word in words]
    result = []
    for index, (words, text) in enumerate(found):
        rng = Random(f"mini noise {grammar} {part} {seed} {index}")
        read = [pick(pool, rng) if rng.random() < noise else word for word in words]
        result.append((" ".join(read), break_text(text, rng) if rng.random() < broken else text))
    return result


def break_text(text: str, rng: Random) -> str:
    """Return a text with two neighbours exchanged, a word left out, or a word twice."""
    words = text.split()
    place = int(rng.random() * max(1, len(words) - 1))
    kind = int(rng.random() * 3)
    if kind == 0:
        words[place : place + 2] = reversed(words[place : place + 2])
    elif kind == 1:
        del words[place]
    else:
        words.insert(place, words[place])
    return " ".join(words)


def pick(options: Sequence[T], rng: Random) -> T:
    """`rng.choice`, whose results may differ between Python versions; those of `rng.random` do not."""
    return options[int(rng.random() * len(options))]
