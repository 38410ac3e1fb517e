"""Supervised warm start by maximum likelihood, through the HF `Trainer`.

The loss is that of the log-prob pass: completion tokens and the EOS that ends them, prompt tokens left out, for every
family. Of several EOS ids, all of which end a completion, targets end on the one that the model itself would end on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl4lms.config.algorithms import SupervisedConfig
from rl4lms.config.recipe import Recipe
from rl4lms.core.padding import pad
from rl4lms.errors import ConfigError, DataError, NonFiniteError
from rl4lms.models.loading import SpecialTokens, check_window, load_lm, load_tokenizer, position_windows, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.saving import save_lm
from rl4lms.models.targets import encode_targets
from rl4lms.rollout.prompts import PromptEncoder
from rl4lms.runs.storage import replacing, write_text
from rl4lms.supervised.trainer import run_trainer
from rl4lms.types import Sample, Task

_log = logging.getLogger(__name__)

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
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, float]]:
    """Train `lm` in place on `references[0]` of each sample; dropout is on, as the model's config says.

    Args:
        lm: a language model of any supported family.
        tokenizer: its tokenizer.
        samples: with at least one reference each.
        config: the settings.
        prompt_ids: token ids of each sample's prompt.
        seed: of the data order and the dropout.
        progress: called with (step, of).

    Returns:
        The `Trainer`'s log: one mapping with `step` and `loss` per line.

    Raises:
        DataError: a target has token ids that the model does not know.
        ConfigError: a prompt and its target do not fit into the model's positions.
        NonFiniteError: the loss or a weight became NaN or infinite; `lm` is of no use then.
    """
    tokens = special_tokens(lm, tokenizer)
    policy = Policy(lm, tokens)
    targets = encode_targets(tokenizer, [s.references[0] for s in samples], lm.config.is_encoder_decoder)
    rows = _rows(prompt_ids, targets, config.max_target_tokens, tokens)
    _check_rows(samples, rows, lm, tokens)
    unended = [row["target"] for row, target in zip(rows, targets, strict=True) if len(row["target"]) > len(target)]
    if len(tokens.eos) > 1 and unended:
        end = _likeliest_end(policy, tokenizer, rows, config.batch_size)
        for target in unended:
            target[-1] = end

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        p_ids, p_mask = pad([row["prompt"] for row in batch], tokens.pad, policy.family.padding_side)
        c_ids, c_mask = pad([row["target"] for row in batch], tokens.pad, "right")
        labels = c_ids.masked_fill(~c_mask, -100)
        return {
            "prompt_ids": p_ids,
            "prompt_mask": p_mask,
            "completion_ids": c_ids,
            "completion_mask": c_mask,
            "labels": labels,
        }

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
            logging_steps=max(1, (config.max_steps or 200) // 20),
            remove_unused_columns=False,
        )
    finally:
        lm.eval()
    if not all(parameter.isfinite().all() for parameter in lm.parameters()):
        raise NonFiniteError(
            "warm start: a weight of the model is nan or infinite after the last step; lower supervised.learning_rate"
        )
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in log if "loss" in entry]


def _rows(
    prompts: Sequence[Sequence[int]], targets: Sequence[list[int]], longest: int, tokens: SpecialTokens
) -> list[dict[str, list[int]]]:
    """Prompts with their targets; EOS ends those that are whole, since a model should not learn to stop where a text
    was cut. A target that comes with an EOS of the model gets no second one.
    """
    end = list(tokens.eos[:1])
    whole = [target if target and target[-1] in tokens.eos else [*target, *end] for target in targets]
    cut = sum(len(text) > longest for text in whole)
    if cut:
        _log.warning(
            "warm start: %d of %d targets are longer than supervised.max_target_tokens=%d; they are cut, and no EOS "
            "is learnt from them",
            cut,
            len(whole),
            longest,
        )
    return [
        {"prompt": list(prompt), "target": text if len(text) <= longest else target[:longest]}
        for prompt, target, text in zip(prompts, targets, whole, strict=True)
    ]


@torch.no_grad()
def _likeliest_end(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]], batch_size: int
) -> int:
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


def _check_rows(
    samples: Sequence[Sample], rows: Sequence[dict[str, list[int]]], lm: PreTrainedModel, tokens: SpecialTokens
) -> None:
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


def warm_start(
    recipe: Recipe, task: Task, folder: Path, device: torch.device, report: Callable[[int, int], None]
) -> None:
    """Train the recipe's model by maximum likelihood, unless a finished warm start lies in the run folder."""
    config, target = recipe.supervised, folder / "supervised"
    assert config is not None
    if (target / "config.json").is_file():
        return
    torch.manual_seed(recipe.seed)
    lm, tokenizer = load_lm(recipe.model, device), load_tokenizer(recipe.model)
    check_window(lm, recipe.prompt.max_tokens, max(recipe.rollout.max_new_tokens, recipe.decoding.max_new_tokens))
    samples: Sequence[Sample] = task.supervised("train")
    prompt_ids = PromptEncoder(tokenizer, special_tokens(lm, tokenizer), recipe.prompt)(samples)
    losses = fit(lm, tokenizer, samples, config, prompt_ids=prompt_ids, seed=recipe.seed, progress=report)
    # The model comes last: while it is not there, a resumed run makes the whole warm start again.
    write_text(folder / "supervised.jsonl", "".join(json.dumps(line) + "\n" for line in losses))
    save_supervised(lm, tokenizer, target)
