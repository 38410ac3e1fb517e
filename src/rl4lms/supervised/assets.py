"""Builds and caches the small models that tasks declare (`asset:<name>`), by content hash, under the user's cache
directory.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.recipe import Recipe
from rl4lms.data.cache import cache_folder
from rl4lms.errors import ConfigError, ModelError, did_you_mean
from rl4lms.models.saving import save_classifier, save_lm
from rl4lms.supervised.portable import portable, portable_weights
from rl4lms.supervised.reward_model import ClassifierShape, build_classifier, fit_classifier
from rl4lms.supervised.warm_start import fit
from rl4lms.types import ClassifierSpec, ModelSpec, Sample, Task

Report = Callable[[str, int, int], None]
PREFIX = "asset:"
# Raised when the way assets are built changes, so that old caches are not taken for new ones.
_BUILDER_VERSION = 4
_PROBED_ROWS = 300
_SPECIAL = ["<pad>", "</s>", "<s>", "<unk>"]


def with_assets(recipe: Recipe, task: Task, report: Report | None = None) -> Recipe:
    """Return the recipe with every `asset:<name>` replaced by its folder; what the cache does not have is built now.

    Args:
        recipe: names assets.
        task: declares them.
        report: called with (what is built, step, of).

    Raises:
        ConfigError: the task declares no such asset.
    """
    telling = None if report is None else lambda name, step, of: report(f"building {name}", step, of)
    return Recipe.model_validate(resolve(recipe.model_dump(mode="json"), task, telling))


def resolve(value: Any, task: Task, report: Report | None = None) -> Any:
    """Replace every `asset:<name>` text in nested mappings and list by the folder of that asset, building it first if
    need be.

    Raises:
        ConfigError: the task declares no such asset.
    """
    if isinstance(value, Mapping):
        return {key: resolve(item, task, report) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, task, report) for item in value]
    if not (isinstance(value, str) and value.startswith(PREFIX)):
        return value
    name = value.removeprefix(PREFIX)
    specs: dict[str, ModelSpec | ClassifierSpec] = {**task.models, **task.classifiers}
    if name not in specs:
        raise ConfigError(f"{value}: the task {task.name!r} declares no such asset; {did_you_mean(name, specs)}")
    return str(build(specs[name], report))


def fingerprint(spec: ModelSpec | ClassifierSpec, words: Sequence[str]) -> str:
    """Return a hash of everything that determines an asset: the spec, the vocabulary, the data and the builder.

    Of data with a `count`, which a seed determines, the first rows stand for all: writing every row again would take
    every run seconds.
    """
    options = dict(spec.data_options)
    if "count" in options:
        options["count"] = min(options["count"], _PROBED_ROWS)
    rows: Sequence[Any] = load_target(spec.data)(**options)
    digest = hashlib.sha256()
    content = {"builder": _BUILDER_VERSION, "spec": asdict(spec), "words": list(words)}
    digest.update(json.dumps(content, sort_keys=True, default=list).encode())
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()[:16]


def build(spec: ModelSpec | ClassifierSpec, report: Report | None = None) -> Path:
    """Return the folder of an asset; trained now if the cache does not have it. Its weights are the same on every
    processor, see `portable.py`.

    Args:
        spec: what to build.
        report: called with (asset name, step, of) while training.
    """
    words = load_target(spec.vocabulary)()
    folder = cache_folder() / f"{spec.name}-{fingerprint(spec, words)}"
    if (folder / "asset.json").is_file():
        return folder
    rows = load_target(spec.data)(**spec.data_options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = word_tokenizer(words)
    temporary = Path(tempfile.mkdtemp(prefix=f".{spec.name}-", dir=folder.parent))
    try:
        (temporary / "model").mkdir()
        progress = None if report is None else lambda step, of: report(spec.name, step, of)
        if isinstance(spec, ClassifierSpec):
            save_classifier(_trained_classifier(spec, tokenizer, rows, progress), tokenizer, temporary / "model")
        else:
            save_lm(_trained_lm(spec, tokenizer, rows, progress), tokenizer, temporary / "model")
        (temporary / "model" / "asset.json").write_text(
            json.dumps(asdict(spec), indent=1, default=list), encoding="utf-8"
        )
        if not folder.exists():
            (temporary / "model").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logging.getLogger(__name__).info("built asset %s in %s", spec.name, folder)
    return folder


def _trained_classifier(
    spec: ClassifierSpec,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[tuple[str, str]],
    progress: Callable[[int, int], None] | None,
) -> PreTrainedModel:
    texts, labels = [text for text, _ in rows], [spec.labels.index(label) for _, label in rows]
    options: dict[str, Any] = {
        "steps": spec.steps,
        "batch_size": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
    }
    with portable():
        torch.manual_seed(spec.seed)
        classifier = build_classifier(ClassifierShape(**spec.shape), tokenizer, spec.labels)
        fit_classifier(classifier, tokenizer, texts, labels, **options, progress=progress)
    portable_weights(classifier)
    _check_learned(spec, classifier, tokenizer, texts[:_PROBED_ROWS], labels[:_PROBED_ROWS])
    return classifier


@torch.no_grad()
def _check_learned(
    spec: ClassifierSpec,
    classifier: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    labels: Sequence[int],
) -> None:
    """Refuse a classifier that stayed near chance: whatever it rewarded or judged would be noise.

    Raises:
        ModelError: of rows that it was trained on, it knows less than half of what guessing leaves open.
    """
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt", return_token_type_ids=False)
    right = float((classifier(**inputs).logits.argmax(-1) == torch.tensor(labels)).float().mean())
    guessed = max(labels.count(label) for label in set(labels)) / len(labels)
    if right < (1 + guessed) / 2:
        raise ModelError(
            f"asset {spec.name}: after its training it is right about {right:.0%} of the texts that it was trained on, "
            f"and always the same answer about {guessed:.0%}; give it another learning rate, seed or number of steps"
        )


def _trained_lm(
    spec: ModelSpec,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[tuple[str, str]],
    progress: Callable[[int, int], None] | None,
) -> PreTrainedModel:
    from rl4lms.supervised.trainer import without_loss

    samples = [Sample(str(i), prompt, (completion,)) for i, (prompt, completion) in enumerate(rows)]
    config = SupervisedConfig(
        max_steps=spec.steps,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        warmup_steps=min(50, spec.steps // 10),
        max_target_tokens=spec.shape["max_positions"] - 1,
    )
    start = [tokenizer.convert_tokens_to_ids("<s>")]
    prompts = [p or start for p in tokenizer([s.prompt for s in samples], add_special_tokens=False)["input_ids"]]
    with portable():
        torch.manual_seed(spec.seed)
        lm = build_lm(spec, tokenizer)
        fit(lm, tokenizer, samples, config, prompt_ids=prompts, seed=spec.seed, progress=without_loss(progress))
    portable_weights(lm)
    return lm


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word, split at white space; marks such as `<EOU>` are words wherever they
    stand.
    """
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    marks = pre_tokenizers.Split(Regex(r"</?\w+>"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marks])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def build_lm(spec: ModelSpec, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return a freshly initialised GPT-2 or T5 of the spec's shape.

    Raises:
        ValueError: a GPT-2 is to have the embeddings of a T5.
    """
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
    d, n, heads, v = spec.shape["hidden_size"], spec.shape["layers"], spec.shape["heads"], len(tokenizer)
    if spec.architecture == "gpt2":
        if "t5_embeddings" in spec.shape:
            raise ValueError(
                f"asset {spec.name}: t5_embeddings is for a T5, and this is a gpt2; leave it out of the shape"
            )
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(
            vocab_size=v, n_embd=d, n_layer=n, n_head=heads, n_positions=spec.shape["max_positions"], **off, **ids
        )
        return GPT2LMHeadModel(config)
    sizes = {"d_model": d, "d_kv": d // heads, "d_ff": 4 * d, "num_layers": n, "num_heads": heads, "vocab_size": v}
    options = {"dropout_rate": 0.0, "decoder_start_token_id": ids["pad_token_id"]}
    if spec.shape.get("t5_embeddings", 0):
        return T5ForConditionalGeneration(T5Config(**sizes, **options, **ids))
    lm = T5ForConditionalGeneration(T5Config(**sizes, **options, tie_word_embeddings=False, **ids))
    with torch.no_grad():
        # T5's own embeddings start at standard deviation 1, which AdamW hardly moves in a short training. Head and
        # embeddings are one table in transformers 5, whatever the config says, so the last line is the value of both.
        lm.shared.weight.normal_(std=0.05)
        lm.lm_head.weight.normal_(std=0.02)
    return lm


def load_target(target: str) -> Callable[..., Any]:
    """Return the function that a spec names as `module:function`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
