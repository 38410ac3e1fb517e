"""What a recipe amounts to, without training: prompts, tokens and updates per iteration, memory and arithmetic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rl4lms.algorithms.base import Algorithm
from rl4lms.algorithms.build import algorithm_of, mask_of
from rl4lms.algorithms.unused import unused
from rl4lms.checks.estimate import Estimate, ModelSize, estimate, model_size
from rl4lms.checks.paths import unchecked
from rl4lms.config.recipe import Recipe
from rl4lms.data.files import FileTask
from rl4lms.errors import plural
from rl4lms.evaluation.build import check_files, metrics_of, reward_of, without_models
from rl4lms.evaluation.leaks import check_best, check_split
from rl4lms.models.loading import load_tokenizer
from rl4lms.rollout.chat import Chat, refuse_unread
from rl4lms.tasks import samples_of, task_of
from rl4lms.training.run import check_trains, run_folder
from rl4lms.types import Sample

_PROMPTS_READ = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One derived quantity, as text."""

    name: str
    value: str


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
    algorithm = algorithm_of(r)
    check_files(r)
    light = without_models(r)
    reward_of(light, task)
    absent = metrics_of(light, task)[1]
    supervised_only = r.algorithm is None
    lines = [Line("run folder", str(run_folder(r)))]
    if r.supervised is not None:
        lines.append(Line("warm start", _warm_start(r, len(task.supervised("train")))))
    if algorithm is not None:
        prompts = samples_of(task, "train")
        refuse_unread(r.prompt, prompts)
        lines += _iteration_lines(r, algorithm, len(prompts))
        looked_at = prompts[:_PROMPTS_READ]
        if chats := sum(bool(sample.messages) for sample in looked_at):
            lines.append(Line("conversations", f"{chats:,} of the first {len(looked_at):,} training prompts"))
        chat = next((sample for sample in looked_at if sample.messages or r.prompt.strings_as_user), None)
        if chat is not None:
            lines.append(Line("one prompt", _rendered(r, chat)))
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
    lines += [Line("note", line) for line in unused(algorithm, r, task.defaults)]
    lines += [Line(f"absent: {name}", why) for name, why in absent.items()]
    lines += [Line("not checked", f"{name} (not here; looked up on the Hub when it is loaded)") for name in from_hub]
    size = model_size(r, task.models)
    if size is None:
        return [*lines, Line("memory", f"not known before {r.model.path} is at hand")]
    return [*lines, *_memory_lines(r, estimate(r, size, algorithm), size)]


def _rendered(r: Recipe, sample: Sample) -> str:
    """Return a conversation as the model reads it; a tokenizer that would have to be downloaded is not."""
    path = r.model.tokenizer or r.model.path
    if not Path(path).is_dir():
        return f"not known before {path} is at hand"
    chat = Chat(load_tokenizer(r.model), r.prompt)
    return json.dumps(chat.text(chat.messages(sample)), ensure_ascii=False)


def _iteration_lines(r: Recipe, algorithm: Algorithm, prompts: int) -> Iterator[Line]:
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
        f"{plural(r.training.prompts_per_iteration, 'prompt')} x {r.rollout.completions_per_prompt} = "
        f"{plural(rows, 'completion')}, up to "
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
    yield Line("learning rate", _rates(r, algorithm.needs_value))
    mask = mask_of(algorithm, r.mask)
    if mask is not None and mask.source == "lagged" and mask.refresh_every is not None:
        refreshes = r.training.iterations // mask.refresh_every
        yield Line("mask refreshes", f"{refreshes}, one every {plural(mask.refresh_every, 'iteration')}")
    yield Line(
        "tokens in all", f"up to {tokens * r.training.iterations:,} in {plural(r.training.iterations, 'iteration')}"
    )


def _rates(r: Recipe, needs_value: bool) -> str:
    c = r.optimizer
    trained = "all weights" if r.model.lora is None else "LoRA"
    why = "" if "learning_rate" in c.model_fields_set else f", the default for {trained}"
    separate = needs_value and c.value_learning_rate is not None
    value = f"; of the value function {c.value_learning_rate:g}" if separate else ""
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


def _memory_lines(r: Recipe, e: Estimate, size: ModelSize) -> Iterator[Line]:
    yield Line(
        "parameters",
        f"{size.parameters:,} in each of {len(e.copies)} {'copy' if len(e.copies) == 1 else 'copies'} "
        f"({', '.join(e.copies)}): {_bytes(e.weights)}{'' if r.model.lora is None else ', with adapters'}",
    )
    yield Line(
        "training state", f"gradients and two AdamW moments of {e.trained:,} parameters: {_bytes(e.training_state)}"
    )
    rows = min(r.rollout.batch_size, r.training.prompts_per_iteration * r.rollout.completions_per_prompt)
    positions = r.prompt.max_tokens + r.rollout.max_new_tokens
    yield Line("KV cache", f"up to {rows} rows x {positions} positions: {_bytes(e.cache)}")
    yield Line("activations", f"up to {_bytes(e.activations)} of one backward pass")
    yield Line("logits chunk", f"{_bytes(e.logits)} at a time (vocabulary {size.vocab_size:,})")
    yield Line(
        "memory", f"about {_bytes(e.memory)}, and half a GiB for Python and torch; models of rewards come on top"
    )
    yield Line("saving", f"about {_bytes(e.saving)} of main memory at the end: the model that is saved is read back")
    if r.algorithm is not None:
        yield Line(
            "arithmetic", f"about {e.flop / 1e12:,.3g} TFLOP per iteration, were every text as long as it may be"
        )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
