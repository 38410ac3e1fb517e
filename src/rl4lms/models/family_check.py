"""Which way a model is run, found by trying: with padded prompts, else in groups of one length, else not at all.

A model is compared with itself once, when its first policy is built: the log-prob pass and cached decoding against the
model's own forward on each row alone, without padding and without a cache.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.utils import logging

from rl4lms.core.packing import Packed
from rl4lms.core.padding import pad
from rl4lms.errors import ModelError
from rl4lms.models.families import CausalFamily, EncoderDecoderFamily
from rl4lms.models.groups import Grouped
from rl4lms.models.loading import position_windows
from rl4lms.models.precision import in_float32

Family = CausalFamily | EncoderDecoderFamily | Grouped

# A sliding window is crossed where it has at most so many tokens; GPT-OSS has 128.
_LONGEST, _LONGEST_WINDOW = 20, 128
_STEPS = 4
_TOLERANCE = 1e-3  # nats, in float32


def family_of(lm: PreTrainedModel, decoder_prefix: tuple[int, ...]) -> Family:
    """Return how a loaded model is run, which is found out once for a model and its copies.

    Args:
        lm: in eval mode.
        decoder_prefix: first decoder tokens; ignored by decoder-only models.

    Raises:
        ModelError: no way of running it gives the log-probabilities of its own forward, so what is sampled or trained
            would be another model.
    """
    family = EncoderDecoderFamily(lm, decoder_prefix) if lm.config.is_encoder_decoder else CausalFamily(lm)
    in_groups = getattr(lm, "runs_in_groups", None)
    if in_groups is None:
        _refuse_loss_at_loading(lm)
        try:
            check_family(lm, family)
            in_groups = False
        except ModelError:
            check_family(lm, Grouped(family))
            in_groups = True
        lm.runs_in_groups = in_groups
        lm.why_unshared = "it runs in groups of one prompt length" if in_groups else _why_unshared(lm, family)
        lm.shares_prompts = not lm.why_unshared
    if isinstance(family, CausalFamily):
        family.flex = getattr(lm, "flex", False)
        family.shares_prompts, family.longest = lm.shares_prompts, position_windows(lm)[0] or math.inf
    return Grouped(family) if in_groups else family


def _why_unshared(lm: PreTrainedModel, family: CausalFamily | EncoderDecoderFamily) -> str:
    """Return why a prompt and its completions may not be one row; empty where they may, in a decoder-only model.

    They may where attention takes a mask of pairs, and sees positions by their ids alone: tried, but for windows, which
    may be longer than what is tried and count columns.
    """
    if not isinstance(family, CausalFamily):
        return "an encoder reads a prompt once for all of them"
    if not family.positions.accepted or family.positions.skip is not None:
        return "its positions are not given by ids alone"
    if not hasattr(family.trunk.config.get_text_config(decoder=True), "hidden_size"):
        return "its config has no hidden_size"
    if any(value and re.search("(window|window_size|chunk_size)$", name) for name, value in _settings(family.trunk)):
        return "it has sliding windows or chunks"
    family.shares_prompts, family.flex = True, getattr(lm, "flex", False)
    try:
        check_family(lm, family)
    except ModelError as error:
        return str(error)
    return ""


def _settings(trunk: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Yield every setting of a config by name, those of the configs inside it, too: Gemma's windows are in there."""
    left = [trunk.config.to_dict()]
    while left:
        for name, value in left.pop().items():
            yield str(name), value
            if isinstance(value, dict):
                left.append(value)


@torch.no_grad()
def _refuse_loss_at_loading(lm: PreTrainedModel) -> None:
    """Refuse a model whose class writes into embeddings that were read from a file: what is trained would be lost."""
    padding = getattr(lm.get_input_embeddings(), "padding_idx", None)
    if padding is None:
        return
    probe = nn.Embedding(padding + 1, 1, padding, _weight=torch.ones(padding + 1, 1))
    weight: Any = probe.weight
    weight._is_hf_initialized = True  # as `from_pretrained` marks what it has read
    lm._init_weights(probe)
    if not bool((probe.weight == 1).all()):
        raise ModelError(
            f"{type(lm).__name__} is not supported: `transformers` sets the embedding of token {padding}, the padding, "
            "to zero whenever it loads this model, so what is saved would not be what was trained; "
            "set pad_token_id to null in its config.json"
        )


@torch.no_grad()
def check_family(lm: PreTrainedModel, family: Family) -> None:
    """Compare a way of running a model with its own forward on each row alone, in float32 whatever its precision.

    Four prompts are decoded twice each, rows leave in between, and the same tokens go through the log-prob pass.

    Raises:
        ModelError: log-probabilities differ, or the model's code fails; the message says where and by how much.
    """
    try:
        prompts, completions = _batch(lm, family)
        with in_float32(lm):
            expected = torch.cat([_own(lm, family, prompts[i // 2], row) for i, row in enumerate(completions)])
            found = {
                "the log-prob pass": _passed(family, prompts, completions),
                "cached decoding": _decoded(family, prompts, completions),
            }
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each model's code fails in its own way where it is not what this library takes it for
        first = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{type(lm).__name__} is not supported: sampling and scoring fail with {type(error).__name__}: {first}"
        ) from error
    for what, (logits, taken) in found.items():
        wanted, got = (part.float().log_softmax(-1) for part in (expected[taken.flatten()], logits))
        largest = float(torch.where(wanted == got, 0.0, (wanted - got).abs()).max())  # -inf may stand in both
        if not largest <= _TOLERANCE:
            raise ModelError(
                f"{type(lm).__name__} is not supported: log-probabilities of {what} differ from the model's own "
                f"forward by {largest:.2g} nats (allowed: {_TOLERANCE:g}), also where no prompt is padded"
            )


def _batch(lm: PreTrainedModel, family: Family) -> tuple[list[Tensor], Tensor]:
    """Return four prompts (P_i,), one of them beyond a sliding window that is short and two of one length, and eight
    completions (8, T).
    """
    inner = family.family if isinstance(family, Grouped) else family
    text_config = (inner.trunk if isinstance(inner, CausalFamily) else inner.decoder).config
    windows = [
        layer.sliding_window for layer in DynamicCache(config=text_config).layers if hasattr(layer, "sliding_window")
    ]
    longest = max([_LONGEST, *(window + 2 for window in windows if window <= _LONGEST_WINDOW)])
    positions = position_windows(lm)[0]
    if positions is not None:
        longest = max(1, min(longest, positions - _STEPS))
    # Marian may have a vocabulary for each side
    read, written = (part.weight.shape[0] for part in (lm.get_input_embeddings(), lm.get_output_embeddings()))
    half, random = (longest + 1) // 2, torch.Generator().manual_seed(0)

    def tokens(vocab_size: int, *shape: int) -> Tensor:
        drawn = torch.randint(min(3, vocab_size - 1), vocab_size, shape, generator=random)
        return drawn.to(next(lm.parameters()).device)

    return [tokens(read, n) for n in (longest, 1, half, half)], tokens(written, 8, _STEPS)


def _own(lm: PreTrainedModel, family: Family, prompt: Tensor, completion: Tensor) -> Tensor:
    """Return logits (T, V) by the model's own forward, on one row."""
    inner = family.family if isinstance(family, Grouped) else family
    if isinstance(inner, EncoderDecoderFamily):
        target = torch.cat([completion.new_tensor(inner.prefix), completion[:-1]])
        inputs = {"input_ids": prompt[None], "decoder_input_ids": target[None]}
    else:
        inputs = {"input_ids": torch.cat([prompt, completion[:-1]])[None]}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it asks for a mask where a token is the pad token, which is meant here
    try:
        logits = lm(**inputs, use_cache=False).logits
    finally:
        logging.set_verbosity(verbosity)
    own: Tensor = logits[0, -len(completion) :]
    return own


def _passed(family: Family, prompts: list[Tensor], completions: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, V) by the log-prob pass, and which tokens (8, T) they are of: rows end at different lengths."""
    rows = [prompts[i // 2].tolist() for i in range(len(completions))]
    ids, mask = (part.to(completions.device) for part in pad(rows, 0, family.padding_side))
    lengths = _STEPS - torch.arange(len(rows), device=completions.device) % 3
    taken = torch.arange(_STEPS, device=completions.device) < lengths[:, None]
    if isinstance(family, CausalFamily) and family.shares_prompts:
        return family.head(family.packed(Packed(ids[::2], mask[::2], completions, taken))), taken
    return family.head(family.hidden(ids, mask, completions, taken)), taken


def _decoded(family: Family, prompts: list[Tensor], completions: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, V) by cached decoding, and which tokens (8, T) they are of: every third row leaves."""
    ids, mask = (part.to(completions.device) for part in pad([p.tolist() for p in prompts], 0, family.padding_side))
    state: Any
    state, hidden = family.prefill(ids, mask, _STEPS)
    logits = {(row, 0): part for row, part in enumerate(family.head(hidden).repeat_interleave(2, 0))}
    state.repeat(2)
    rows = torch.arange(len(completions), device=completions.device)
    for t in range(1, _STEPS):
        if t == _STEPS // 2:
            left = rows[rows % 3 != 1]
            state.select(left)
            rows = left
        step = family.head(family.step(state, completions[rows, t - 1]))
        logits |= {(row, t): part for row, part in zip(rows.tolist(), step, strict=True)}
    taken = torch.zeros_like(completions, dtype=torch.bool)
    for row, t in logits:
        taken[row, t] = True
    return torch.stack([logits[key] for key in sorted(logits)]), taken
