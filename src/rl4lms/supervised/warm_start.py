"""Supervised warm start by maximum likelihood, through the HF `Trainer`.

The loss is that of the log-prob pass: completion tokens and the EOS that ends them, prompt tokens left out, for every
family. Of several EOS ids, all of which end a completion, targets end on the one that the model itself would end on.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.recipe import Recipe
from rl4lms.core.padding import pad
from rl4lms.errors import ConfigError, DataError, NonFiniteError
from rl4lms.evaluation.evaluator import drawn
from rl4lms.evaluation.leaks import check_split
from rl4lms.models.loading import SpecialTokens, check_window, load_lm, load_tokenizer, position_windows, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.saving import save_lm
from rl4lms.models.targets import encode_targets
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.runs.display import Display
from rl4lms.runs.storage import replacing, write_text
from rl4lms.tasks import samples_of
from rl4lms.types import Sample, Task

if TYPE_CHECKING:
    from rl4lms.supervised.trainer import Progress

_log = logging.getLogger(__name__)

Row = dict[str, list[int]]  # token ids: `prompt` and `target`
HeldOut = tuple[Sequence[Sample], Sequence[Sequence[int]]]  # samples, and the token ids of their prompts
LOSSES_FILE = "supervised.jsonl"

# Targets whose end is looked at to choose among several EOS ids.
_ENDS_READ = 64


class _Likelihood(nn.Module):
    """Wraps a policy so that its forward returns a loss, as the `Trainer` expects."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(
        self, labels: Tensor, num_items_in_batch: Tensor | int | None = None, **batch: Tensor
    ) -> dict[str, Tensor]:
        count = batch["completion_mask"].sum() if num_items_in_batch is None else num_items_in_batch
        out = self.policy(
            **batch, full=False, entropy=False, loss=lambda tokens, piece: -tokens.behaviour.sum() / count
        )
        assert out.loss is not None
        return {"loss": out.loss}


def fit(
    lm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    config: SupervisedConfig,
    *,
    prompt_ids: Sequence[Sequence[int]],
    seed: int,
    progress: Progress | None = None,
    held_out: HeldOut | None = None,
) -> list[dict[str, float]]:
    """Train `lm` in place on `references[0]` of each sample; dropout is on, as the model's config says.

    Args:
        lm: a language model of any supported family.
        tokenizer: its tokenizer.
        samples: with at least one reference each.
        config: the settings.
        prompt_ids: token ids of each sample's prompt.
        seed: of the data order and the dropout.
        progress: called with (step, of, loss).
        held_out: what is measured before and after.

    Returns:
        The `Trainer`'s log: one mapping with `step` and `loss` per line, the mean since the line before; and, where
        something is held out, its `held_out_loss` in the first line and the last. Losses are in nats per token.

    Raises:
        DataError: a target has token ids that the model does not know.
        ConfigError: a prompt and its target do not fit into the model's positions.
        NonFiniteError: the loss or a weight became NaN or infinite; `lm` is of no use then.
    """
    from rl4lms.supervised.trainer import run_trainer  # a second, which only a warm start takes

    policy = Policy(lm, special_tokens(lm, tokenizer))
    rows, measured = _encoded(policy, tokenizer, config, (samples, prompt_ids), held_out)
    collate = functools.partial(_collated, policy)
    before = _mean_loss(policy, measured, config.batch_size)
    try:
        log = run_trainer(
            "warm start",
            _Likelihood(policy),
            rows,
            collate,
            device=lm.device,
            seed=seed,
            progress=progress,
            model_accepts_loss_kwargs=True,
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            learning_rate=config.learning_rate,
            lr_scheduler_type=config.lr_scheduler_type,
            warmup_steps=config.warmup_steps,
            weight_decay=config.weight_decay,
            remove_unused_columns=False,
        )
    finally:
        lm.eval()
    if not all(parameter.isfinite().all() for parameter in lm.parameters()):
        raise NonFiniteError(
            "warm start: a weight of the model is nan or infinite after the last step; lower supervised.learning_rate"
        )
    found = [{"step": entry["step"], "loss": entry["loss"]} for entry in log if "loss" in entry]
    if before is not None:
        after = _mean_loss(policy, measured, config.batch_size)
        assert after is not None
        found = [{"step": 0, "held_out_loss": before}, *found, {"step": log[-1]["step"], "held_out_loss": after}]
    return found


def _encoded(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    config: SupervisedConfig,
    train: HeldOut,
    held_out: HeldOut | None,
) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on, and those to measure on, all with their ends."""
    tokens = policy.tokens
    unended: list[list[int]] = []
    encoded: list[list[Row]] = []
    for part, what in ((train, "targets"), (held_out, "held-out targets")):
        if part is None:
            encoded.append([])
            continue
        samples, prompt_ids = part
        targets = encode_targets(tokenizer, [s.references[0] for s in samples], policy.lm.config.is_encoder_decoder)
        rows = _rows(prompt_ids, targets, config.max_target_tokens, tokens, what)
        _check_rows(samples, rows, policy.lm, tokens)
        unended += [
            row["target"] for row, target in zip(rows, targets, strict=True) if len(row["target"]) > len(target)
        ]
        encoded.append(rows)
    if len(tokens.eos) > 1 and unended:
        end = _likeliest_end(policy, tokenizer, encoded[0], config.batch_size)
        for target in unended:
            target[-1] = end
    return encoded[0], encoded[1]


def _collated(policy: Policy, batch: Sequence[Row]) -> dict[str, Tensor]:
    """Return rows as the arguments of `_Likelihood`: (B, P) and (B, T)."""
    p_ids, p_mask = pad([row["prompt"] for row in batch], policy.tokens.pad, policy.family.padding_side)
    c_ids, c_mask = pad([row["target"] for row in batch], policy.tokens.pad, "right")
    return {
        "prompt_ids": p_ids,
        "prompt_mask": p_mask,
        "completion_ids": c_ids,
        "completion_mask": c_mask,
        "labels": c_ids.masked_fill(~c_mask, -100),
    }


@torch.no_grad()
def _mean_loss(policy: Policy, rows: Sequence[Row], batch_size: int) -> float | None:
    """Return the negative log-likelihood of targets, in nats per token, without dropout; None where there are none."""
    if not rows:
        return None
    policy.lm.eval()
    likelihood, total, count = _Likelihood(policy), 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = {key: t.to(policy.device) for key, t in _collated(policy, rows[start : start + batch_size]).items()}
        total += float(likelihood(**batch, num_items_in_batch=1)["loss"])
        count += int(batch["completion_mask"].sum())
    return total / count


def _rows(
    prompts: Sequence[Sequence[int]],
    targets: Sequence[list[int]],
    longest: int,
    tokens: SpecialTokens,
    what: str = "targets",
) -> list[Row]:
    """Prompts with their targets; EOS ends those that are whole, since a model should not learn to stop where a text
    was cut. A target that comes with an EOS of the model gets no second one.
    """
    end = list(tokens.eos[:1])
    whole = [target if target and target[-1] in tokens.eos else [*target, *end] for target in targets]
    cut = sum(len(text) > longest for text in whole)
    if cut:
        _log.warning(
            "warm start: %d of %d %s are longer than supervised.max_target_tokens=%d; they are cut, and have no EOS",
            cut,
            len(whole),
            what,
            longest,
        )
    return [
        {"prompt": list(prompt), "target": text if len(text) <= longest else target[:longest]}
        for prompt, target, text in zip(prompts, targets, whole, strict=True)
    ]


@torch.no_grad()
def _likeliest_end(policy: Policy, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int) -> int:
    """Return the EOS id to which the model, not yet trained, gives most probability at the ends of the first targets.

    Neither the order of the ids nor the tokenizer says which one a model was trained to end on: Llama's chat models
    list the one of plain text first, and Gemma's tokenizer names it.
    """
    eos, pad_id = policy.tokens.eos, policy.tokens.pad
    whole = [row for row in rows if row["target"][-1:] == [eos[0]]][:_ENDS_READ]
    probability = dict.fromkeys(eos, 0.0)
    for start in range(0, len(whole), batch_size):
        batch = whole[start : start + batch_size]
        prompts = pad([row["prompt"] for row in batch], pad_id, policy.family.padding_side)
        for end in eos:
            ids, mask = pad([[*row["target"][:-1], end] for row in batch], pad_id, "right")
            out = policy(*(t.to(policy.device) for t in (*prompts, ids, mask)), entropy=False)
            assert out.full_logprobs is not None
            last = mask.sum(-1, keepdim=True).to(policy.device) - 1
            probability[end] += float(out.full_logprobs.gather(1, last).exp().sum())
    likeliest = max(eos, key=probability.__getitem__)
    shares = [
        f"{tokenizer.convert_ids_to_tokens(i)} ({i}) with p = {p / len(whole):.2g}" for i, p in probability.items()
    ]
    _log.info("warm start: targets end on id %d; after them the model ends on %s", likeliest, ", ".join(shares))
    return likeliest


def _check_rows(samples: Sequence[Sample], rows: Sequence[Row], lm: PreTrainedModel, tokens: SpecialTokens) -> None:
    windows = position_windows(lm)
    for sample, row in zip(samples, rows, strict=True):
        largest = max(row["target"], default=0)
        if largest >= tokens.vocab_size:
            raise DataError(
                f"warm start: the target of {sample.id!r} has token id {largest}, outside the model's vocabulary of "
                f"{tokens.vocab_size}; "
                "the tokenizer has tokens that the model was not resized for"
            )
        prompt, target = len(row["prompt"]), len(row["target"])
        needs = {"prompt": prompt, "target": target} if len(windows) == 2 else {"prompt and target": prompt + target}
        for (part, needed), window in zip(needs.items(), windows, strict=True):
            if window is not None and needed > window:
                raise ConfigError(
                    f"warm start: {part} of {sample.id!r} have {needed} tokens, but the model has only {window} "
                    f"positions; "
                    "lower prompt.max_tokens or supervised.max_target_tokens"
                )


def save_supervised(lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model as an HF folder, whole or not at all."""
    with replacing(folder) as temporary:
        save_lm(lm, tokenizer, temporary)


def warm_started(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with the model of the warm start in a run folder: RL starts from it and is anchored to it."""
    started = {"path": str(folder / "supervised"), "tokenizer": None}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=started)})


def warm_start(recipe: Recipe, task: Task, folder: Path, device: torch.device, display: Display) -> None:
    """Train the recipe's model by maximum likelihood, unless a finished warm start lies in the run folder.

    Its loss on held-out rows is measured before and after, and kept with the losses of training in `supervised.jsonl`.
    """
    config, target = recipe.supervised, folder / "supervised"
    assert config is not None
    if (target / "config.json").is_file():
        return
    torch.manual_seed(recipe.seed)
    lm, tokenizer = load_lm(recipe.model, device), load_tokenizer(recipe.model)
    check_window(lm, recipe.prompt.max_tokens, max(recipe.rollout.max_new_tokens, recipe.decoding.max_new_tokens))
    samples: Sequence[Sample] = task.supervised("train")
    encode = PromptEncoder(tokenizer, special_tokens(lm, tokenizer), recipe.prompt)
    held_out, what = _held_out(recipe, task)

    def progress(step: int, of: int, loss: float) -> None:
        display.report("warm start", step, of, f"loss {loss:.3f}")

    losses = fit(
        lm,
        tokenizer,
        samples,
        config,
        prompt_ids=encode(samples),
        seed=recipe.seed,
        progress=progress,
        held_out=(held_out, encode(held_out)) if held_out else None,
    )
    if held_out:
        before, after = _told(losses[0]), _told(losses[-1])
        display.note(f"warm start: {before} → {after} on {what}")
    else:
        display.note(f"warm start: not measured on held-out rows: {what}")
    # The model comes last: while it is not there, a resumed run makes the whole warm start again.
    write_text(folder / LOSSES_FILE, "".join(json.dumps(line) + "\n" for line in losses))
    save_supervised(lm, tokenizer, target)


def _held_out(recipe: Recipe, task: Task) -> tuple[Sequence[Sample], str]:
    """Return rows with targets that nothing is trained on, no more than evaluations have, and what they are; or none,
    and why.
    """
    c = recipe.evaluation
    if c.split == "train":
        return (), "evaluation.split is train"
    samples_of(task, c.split)  # without prompts there is no evaluation at all; here only targets may be missing
    try:
        there = task.supervised(c.split)
    except DataError as error:
        return (), str(error)
    rows = drawn(there, c.prompts, c.prompt_seed)
    shared = check_split(recipe, task, c.split)
    return rows, f"{len(rows):,} {c.split} rows{f' ({shared})' if shared else ''}" if rows else f"{c.split} has none"


def _told(line: dict[str, float]) -> str:
    loss = line["held_out_loss"]
    return f"loss {loss:.3f}" + (f" (perplexity {math.exp(loss):.4g})" if loss < _READABLE else "")


_READABLE = 20.0  # a larger loss has a perplexity of more digits than anybody reads


def held_out_losses(folder: Path) -> list[float]:
    """Return the losses on held-out rows before and after a run's warm start; none where none were measured."""
    lines = (folder / LOSSES_FILE).read_text(encoding="utf-8").splitlines()
    return [line["held_out_loss"] for line in map(json.loads, lines) if "held_out_loss" in line]
