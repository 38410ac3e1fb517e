"""What a recipe amounts to, without training: prompts, tokens and updates per iteration, and an estimate of the
memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import build_algorithm
from rl4lms.checks.paths import unchecked
from rl4lms.config.recipe import Recipe
from rl4lms.core.logprobs import CHUNK_ELEMENTS
from rl4lms.data.files import FileTask
from rl4lms.evaluation.build import check_files, metrics_of, reward_of, without_models
from rl4lms.evaluation.leaks import check_best, check_split
from rl4lms.models.loading import DTYPES
from rl4lms.rollout.chat import refuse_unread
from rl4lms.supervised import assets
from rl4lms.tasks import samples_of, task_of
from rl4lms.training.run import check_trains, run_folder
from rl4lms.types import ModelSpec

_PROMPTS_READ = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One derived quantity, as text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Parameters of one language model and the size of its cache.

    Attributes:
        parameters: count.
        cache_per_token: bytes of keys and values of one position of one row.
        vocab_size: V.
    """

    parameters: int
    cache_per_token: int
    vocab_size: int


def describe(recipe: Recipe) -> list[Line]:
    """Return derived quantities in the order they are worth reading. Builds no asset and loads no weights.

    Rewards and metrics that run no model and nobody's code are built, and tried on one sample. Files of others are
    executed and their options checked, as in training; only an algorithm is made.

    Raises:
        Rl4lmsError: a path is not there, the task's data cannot be read, or an algorithm, a reward or a metric cannot
            be used.
    """
    check_trains(recipe)
    from_hub = unchecked(recipe)
    r, task = recipe, task_of(recipe)
    algorithm = None if r.algorithm is None else build_algorithm(r.algorithm)
    check_files(r)
    light = without_models(r)
    reward_of(light, task)
    absent = metrics_of(light, task)[1]
    supervised_only = r.algorithm is None
    lines = [Line("run folder", str(run_folder(r)))]
    if r.supervised is not None:
        lines.append(Line("warm start", _warm_start(r, len(task.supervised("train")))))
    if not supervised_only:
        prompts = samples_of(task, "train")
        refuse_unread(r.prompt, prompts)
        lines += _iteration_lines(r, len(prompts))
        looked_at = prompts[:_PROMPTS_READ]
        if chats := sum(bool(sample.messages) for sample in looked_at):
            lines.append(Line("conversations", f"{chats:,} of the first {len(looked_at):,} training prompts"))
    evaluations = _evaluations(r, supervised_only)
    available = len(samples_of(task, r.evaluation.split))
    shared = check_split(r, task, r.evaluation.split)
    check_best(r, task)
    drawn = f"{available:,}" if available <= r.evaluation.prompts else f"{r.evaluation.prompts:,} of {available:,}"
    lines.append(
        Line(
            "evaluations",
            f"{evaluations}, each of {drawn} {r.evaluation.split} prompts, up to {r.decoding.max_new_tokens} new "
            f"tokens",
        )
    )
    if isinstance(task, FileTask) and (held := task.held_out()):
        lines.append(Line("held out", held))
    lines += [Line("note", shared)] if shared else []
    lines += [Line(f"absent: {name}", why) for name, why in absent.items()]
    lines += [Line("not checked", f"{name} (not here; looked up on the Hub when it is loaded)") for name in from_hub]
    size = model_size(r, task.models)
    if size is None:
        return [*lines, Line("memory", f"not known before {r.model.path} is at hand")]
    return [*lines, *_memory_lines(r, size, algorithm)]


def _iteration_lines(r: Recipe, prompts: int) -> Iterator[Line]:
    assert r.algorithm is not None
    options = r.algorithm.options
    rows = r.training.prompts_per_iteration * r.rollout.completions_per_prompt
    tokens = rows * r.rollout.max_new_tokens
    yield Line(
        "training prompts",
        f"{prompts:,} ({r.training.iterations * r.training.prompts_per_iteration / prompts:.2f} passes in all)",
    )
    yield Line(
        "one iteration",
        f"{r.training.prompts_per_iteration} prompts x {r.rollout.completions_per_prompt} = {rows} completions, up to "
        f"{tokens:,} tokens",
    )
    if "minibatch_size" in options and "n_epochs" in options:
        per_epoch = -(-rows // options["minibatch_size"])
        per_iteration = per_epoch * options["n_epochs"]
        micro = r.optimizer.micro_batch_size
        pieces = f", in micro-batches of {micro}" if micro is not None and micro < options["minibatch_size"] else ""
        yield Line(
            "updates", f"{options['n_epochs']} epochs x {per_epoch} minibatches = {per_iteration} per iteration{pieces}"
        )
        yield Line("updates in all", f"{per_iteration * r.training.iterations:,}")
    yield Line("learning rate", _rates(r))
    if "mask_update_every" in options:
        refreshes = r.training.iterations // options["mask_update_every"]
        yield Line("mask refreshes", f"{refreshes}, one every {options['mask_update_every']} iterations")
    yield Line("tokens in all", f"up to {tokens * r.training.iterations:,} in {r.training.iterations} iterations")


def _rates(r: Recipe) -> str:
    c = r.optimizer
    trained = "all weights" if r.model.lora is None else "LoRA"
    why = "" if "learning_rate" in c.model_fields_set else f", the default for {trained}"
    value = "" if c.value_learning_rate is None else f"; of the value function {c.value_learning_rate:g}"
    return f"{c.learning_rate:g}{why}{value}"


def _warm_start(r: Recipe, rows: int) -> str:
    config = r.supervised
    assert config is not None
    batch = config.batch_size * config.gradient_accumulation_steps
    steps = config.max_steps or int(-(-rows // batch) * config.epochs)
    return f"{rows:,} texts, {steps:,} steps of {batch}"


def _evaluations(r: Recipe, supervised_only: bool) -> int:
    iterations = 0 if supervised_only else r.training.iterations
    every = r.evaluation.every
    if not iterations or not every:
        return 1 + bool(iterations)
    return 1 + -(-iterations // every)  # the last iteration is always followed by one


def model_size(recipe: Recipe, specs: Any) -> ModelSize | None:
    """Size of the recipe's model from its config alone, or of the asset that a task declares; None where neither is at
    hand.
    """
    path = recipe.model.path
    if path.startswith(assets.PREFIX):
        spec = specs.get(path.removeprefix(assets.PREFIX))
        if not isinstance(spec, ModelSpec):
            return None
        tokenizer = assets.word_tokenizer(assets.load_target(spec.vocabulary)())
        with torch.device("meta"):
            return _size(assets.build_lm(spec, tokenizer), 4)
    if not Path(path).is_dir():  # a Hub id; a dry run downloads nothing
        options: dict[str, Any] = {"local_files_only": True}
    else:
        options = {}
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, revision=recipe.model.revision, **options)
        with torch.device("meta"):
            lm = _empty(config)
    except (OSError, ValueError):
        return None
    return _size(lm, DTYPES[recipe.model.dtype].itemsize)


def _empty(config: PretrainedConfig) -> nn.Module:
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model: nn.Module = loader.from_config(copy.deepcopy(config))
    return model


def _size(lm: Any, bytes_per_number: int) -> ModelSize:
    config = lm.config.get_text_config(decoder=True) if hasattr(lm.config, "get_text_config") else lm.config
    layers = (
        getattr(config, "num_decoder_layers", None)
        or getattr(config, "decoder_layers", None)
        or config.num_hidden_layers
    )
    heads = getattr(config, "num_attention_heads", 1)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    return ModelSize(
        parameters=sum(p.numel() for p in {id(p): p for p in lm.parameters()}.values()),
        cache_per_token=2 * layers * kv_heads * head_size * bytes_per_number,
        vocab_size=lm.get_output_embeddings().weight.shape[0],
    )


def _memory_lines(r: Recipe, size: ModelSize, algorithm: Algorithm | None) -> Iterator[Line]:
    needs_value, needs_mask = (
        algorithm is not None and algorithm.needs_value,
        algorithm is not None and algorithm.needs_mask_policy,
    )
    lora, item = r.model.lora is not None, DTYPES[r.model.dtype].itemsize
    separate_value = needs_value and r.model.value == "separate"
    copies = ["policy"]
    if not lora:
        copies += ["reference", *(["value"] if separate_value else []), *(["mask"] if needs_mask else [])]
    weights = size.parameters * item * len(copies)
    yield Line(
        "parameters", f"{size.parameters:,} in each of {len(copies)} copies ({', '.join(copies)}): {_bytes(weights)}"
    )
    if lora:
        yield Line("adapters", "LoRA: gradients and optimiser state of the adapters only, not counted")
        trained = 0
    else:
        trained = size.parameters * (2 if separate_value else 1)
        yield Line(
            "training state", f"gradients and two AdamW moments of {trained:,} parameters: {_bytes(3 * trained * item)}"
        )
    rows = min(r.rollout.batch_size, r.training.prompts_per_iteration * r.rollout.completions_per_prompt)
    positions = r.prompt.max_tokens + r.rollout.max_new_tokens
    caches = 2 if needs_mask else 1
    cache = rows * positions * size.cache_per_token * caches
    yield Line("KV cache", f"up to {rows} rows x {positions} positions x {caches}: {_bytes(cache)}")
    minibatch = rows if r.algorithm is None else r.algorithm.options.get("minibatch_size", rows)
    tokens = min(r.optimizer.micro_batch_size or minibatch, minibatch) * r.rollout.max_new_tokens
    # In float32: logits, log-probs and gradients of one chunk.
    logits = 3 * 4 * min(tokens * size.vocab_size, CHUNK_ELEMENTS)
    yield Line("logits chunk", f"{_bytes(logits)} at a time (vocabulary {size.vocab_size:,})")
    total = weights + 3 * trained * item + cache + logits
    yield Line("memory", f"about {_bytes(total)}, and the activations of one minibatch")


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
