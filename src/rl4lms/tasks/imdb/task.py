"""The task `imdb`: continue the first half of a movie review so that the review becomes positive. See README.md beside
this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Annotated, Any, Literal

from rl4lms.errors import ConfigError
from rl4lms.plugins.options import Option
from rl4lms.tasks.dataset import Preset
from rl4lms.tasks.imdb import corpus, grammar, reviews
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Split

HUB_ID = "stanfordnlp/imdb"
_MINI_SIZES = {"train": 4000, "validation": 500, "test": 500}
_FULL_TEST_SIZE = 5000  # as in the paper
_VOCABULARY = "rl4lms.tasks.imdb.grammar:vocabulary"
_PAIRS = "rl4lms.tasks.imdb.corpus:pairs"
_LABELLED = "rl4lms.tasks.imdb.corpus:labelled"
_BROKEN = 0.33  # of the reviews that the base model reads
_BROKEN_FOR_CLASSIFIERS = 0.25


Size = Annotated[int | None, Option("prompts of the split; null: what the edition has", ge=1, le=1_000_000)]


@dataclass(kw_only=True, eq=False)
class ImdbTask:
    """Sentiment-controlled continuation of movie reviews (`rl4lms.types.Task`).

    Sizes that are not set: mini 4000 / 500 / 500; full everything that the split has, and 5000 test reviews.
    """

    name = "imdb"
    version = 1
    board = {
        "task": ("sentiment", "gold_sentiment"),
        "naturalness": ("derivable", "perplexity", "reference_perplexity", "distinct-2"),
    }
    norms = {
        ("mini", 1): {
            "sentiment": (0.4835, 0.827),
            "gold_sentiment": (0.5299, 1.0),
            "derivable": (0.4883, 1.0),
        }
    }

    edition: Annotated[Literal["mini", "full"], Option("mini is written by a grammar, full is real reviews")] = "mini"
    path: Annotated[
        str | None,
        Option(
            "full: Hub id, aclImdb-like folder, zip, JSONL or CSV with `text` and `label`; default stanfordnlp/imdb"
        ),
    ] = None
    seed: Annotated[int, Option("mini: the world of reviews; full: the shuffle before splitting", ge=0)] = 0
    preset: Annotated[
        Preset | None,
        Option(
            "algorithm and warm start as packaged (mini) or as in the paper (full); supervised- begins with a warm "
            "start; null: left open"
        ),
    ] = None
    train_size: Size = None
    validation_size: Size = None
    test_size: Size = None

    @staticmethod
    def check_options(edition: str, path: str | None) -> None:
        """Refuse real reviews that the mini edition would not read."""
        if path is not None and edition == "mini":
            raise ConfigError("path names real reviews, but edition is mini; add edition: full")

    def __post_init__(self) -> None:
        self.check_options(self.edition, self.path)
        mini = self.edition == "mini"
        self.models: Mapping[str, ModelSpec] = _mini_models(self.seed) if mini else {}
        self.classifiers: Mapping[str, ClassifierSpec] = _mini_classifiers(self.seed) if mini else {}
        settings = _mini_defaults() if mini else _full_defaults()
        self.defaults: Mapping[str, Any] = settings | _preset(self.preset, mini)
        self._samples: dict[str, list[Sample]] = {}

    def samples(self, split: Split) -> Sequence[Sample]:
        """Prompts of a split, in a fixed order: the first half of each review, with the second half as the reference.

        References of the full edition begin with the space after the prompt: byte-level tokenizers make it a part of
        the next word. `meta["sentiment"]` is the label of the whole review, `positive` or `negative`.

        Raises:
            DataError: real reviews that cannot be read, or too few of them.
        """
        if split not in self._samples:
            texts = self._mini_texts(split) if self.edition == "mini" else self._full_texts[split]
            rows = enumerate(texts)
            self._samples[split] = [
                self._sample(f"{split}-{number}", text, positive) for number, (text, positive) in rows
            ]
        return self._samples[split]

    def supervised(self, split: Split) -> Sequence[Sample]:
        """Return the samples of `samples(split)` whose review is positive: the warm start of the paper."""
        return [sample for sample in self.samples(split) if sample.meta["sentiment"] == "positive"]

    def _size(self, split: str) -> int | None:
        size: int | None = getattr(self, f"{split}_size")
        return size

    def _mini_texts(self, split: str) -> list[tuple[str, bool]]:
        found = (grammar.review(self.seed, i) for i in corpus.indices(split, self._size(split) or _MINI_SIZES[split]))
        return [(review.text, review.positive) for review in found]

    @cached_property
    def _full_texts(self) -> dict[str, list[tuple[str, bool]]]:
        """Shuffled with the seed *before* splitting, once, so that the splits are disjoint and the same in every
        call.
        """
        splits = reviews.load(self.path or HUB_ID)
        rows = splits.get("train") or splits["all"]
        Random(f"imdb full {self.seed}").shuffle(rows)
        cut = len(rows) * 8 // 10
        train, held_out = rows[:cut], rows[cut:]
        if "test" in splits:
            validation, test = held_out, splits["test"]
            Random(f"imdb full test {self.seed}").shuffle(test)
        else:
            middle = len(held_out) // 2
            validation, test = held_out[:middle], held_out[middle:]
        texts = {
            "train": train[: self._size("train")],
            "validation": validation[: self._size("validation")],
            "test": test[: self._size("test") or _FULL_TEST_SIZE],
        }
        return {split: [(" ".join(text.split()), positive) for text, positive in part] for split, part in texts.items()}

    def _sample(self, sample_id: str, text: str, positive: bool) -> Sample:
        prompt, rest = grammar.halves(text)
        if prompt and self.edition == "full":
            rest = f" {rest}"
        return Sample(sample_id, prompt, (rest,), {"sentiment": "positive" if positive else "negative"})


def _mini_models(seed: int) -> dict[str, ModelSpec]:
    shape = {"hidden_size": 96, "layers": 2, "heads": 4, "max_positions": 96}
    base_data = {"split": "base", "count": 19_200, "seed": seed, "broken": _BROKEN}
    judge_data = {"split": "judge", "count": 19_200, "seed": seed, "whole": True}
    decoder: dict[str, Any] = {"steps": 600, "batch_size": 32, "learning_rate": 3e-3}
    return {
        "base": ModelSpec(
            "base", "gpt2", shape, _PAIRS, _VOCABULARY, base_data | {"whole": True}, seed=seed, **decoder
        ),
        "judge": ModelSpec("judge", "gpt2", shape, _PAIRS, _VOCABULARY, judge_data, seed=seed + 1, **decoder),
        "base_t5": ModelSpec(
            "base_t5",
            "t5",
            {**shape, "hidden_size": 128},
            _PAIRS,
            _VOCABULARY,
            base_data,
            steps=600,
            batch_size=48,
            seed=seed,
        ),
    }


def _mini_classifiers(seed: int) -> dict[str, ClassifierSpec]:
    labels = ("negative", "positive")
    reward_data = {"split": "sentiment", "count": 25_600, "seed": seed, "broken": _BROKEN_FOR_CLASSIFIERS}
    other_data = {"split": "evaluator", "count": 25_600, "seed": seed, "broken": _BROKEN_FOR_CLASSIFIERS}
    reward = {"hidden_size": 64, "layers": 2, "heads": 4, "max_positions": 96}
    other = {"hidden_size": 48, "layers": 3, "heads": 4, "max_positions": 96}
    return {
        "sentiment": ClassifierSpec(
            "sentiment",
            reward,
            _LABELLED,
            _VOCABULARY,
            labels,
            reward_data,
            steps=800,
            batch_size=32,
            learning_rate=1e-3,
            seed=seed,
        ),
        "evaluator": ClassifierSpec(
            "evaluator",
            other,
            _LABELLED,
            _VOCABULARY,
            labels,
            other_data,
            steps=800,
            batch_size=32,
            learning_rate=1e-3,
            seed=seed + 1,
        ),
    }


def _mini_defaults() -> dict[str, Any]:
    return {
        "model": {"path": "asset:base"},
        "prompt": {"max_tokens": 32},
        "reward": {"name": "classifier", "model": "asset:sentiment", "label": "positive"},
        "rollout": {"max_new_tokens": 24},
        "kl": {"kl_coef": 0.1},
        "optimizer": {"learning_rate": 3e-4, "value_learning_rate": 1e-3},
        "training": {"iterations": 40, "prompts_per_iteration": 64},
        "evaluation": {
            "metrics": [
                {"name": "classifier", "model": "asset:evaluator", "label": "positive", "key": "sentiment"},
                {"name": "imdb_grammar"},
                {"name": "perplexity", "model": "asset:judge"},
                {"name": "reference_perplexity"},
                {"name": "diversity"},
            ]
        },
    }


def _full_defaults() -> dict[str, Any]:
    """Return the setting of the paper (facts of its released configs): GPT-2 after IMDB, a DistilBERT reward, 48 new
    tokens.
    """
    return {
        "model": {"path": "lvwerra/gpt2-imdb"},
        "prompt": {"max_tokens": 64},
        "reward": {"name": "classifier", "model": "lvwerra/distilbert-imdb", "label": 1},
        "rollout": {"max_new_tokens": 48, "min_new_tokens": 48, "top_k": 50},
        "kl": {"kl_coef": 0.1, "kl_target": 0.1},
        "optimizer": {"learning_rate": 1e-6},
        "training": {"iterations": 50},
        "evaluation": {"metrics": [{"name": "reference_perplexity"}, {"name": "diversity"}]},
    }


def _preset(preset: Preset | None, mini: bool) -> dict[str, Any]:
    if preset is None:
        return {}
    name = preset.removeprefix("supervised-")
    # the paper's 64 tokens of a minibatch, in completions of 48 tokens
    algorithm: dict[str, Any] = {"name": name, "n_epochs": 2 if mini else 5, "minibatch_size": 32 if mini else 2}
    if name == "nlpo":
        algorithm |= {"mask_top_p": 0.9, "mask_update_every": 5}
    if name == preset:
        return {"algorithm": algorithm}
    warm_start = {"epochs": 1, "batch_size": 32, "learning_rate": 5e-4}
    paper = {"epochs": 10, "batch_size": 16, "learning_rate": 1e-5, "lr_scheduler_type": "constant"}
    return {"algorithm": algorithm, "supervised": warm_start if mini else paper}
