"""Negative log-likelihood of texts under a language model: the measure behind both perplexities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from rl4lms.config.model import ModelConfig
from rl4lms.core.padding import pad
from rl4lms.errors import DataError
from rl4lms.models.frame import Frame, special_ids
from rl4lms.models.loading import load_lm, load_tokenizer, resolve_device, special_tokens
from rl4lms.models.policy import Policy
from rl4lms.models.targets import encode_targets
from rl4lms.types import NllOfTexts


class TextNll:
    """Negative log-likelihood of texts that follow prompts, under one policy.

    The text is tokenised apart from its prompt, as a target, without special tokens, as completions are: what is
    measured is what was (or would be) generated. No EOS is added, and one that a text brings is not scored.

    Args:
        policy: the language model.
        tokenizer: its tokenizer.
        batch_size: rows per pass.
        max_tokens: prompt and text together are cut to this many tokens, the prompt first and from the left.
        encode_prompts: token ids of prompts, such as a `PromptEncoder` gives them, with a recipe's prefix, suffix and
            truncation; None encodes them as the tokenizer does by itself.
    """

    def __init__(
        self,
        policy: Policy,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 32,
        max_tokens: int = 512,
        encode_prompts: Callable[[list[str]], list[list[int]]] | None = None,
    ) -> None:
        self._policy, self._tokenizer, self._batch_size = policy, tokenizer, batch_size
        self._encode_prompts = encode_prompts or self._plain_prompts
        self._special, self._frame = special_ids(tokenizer), Frame(tokenizer, "prompts")
        window = getattr(policy.lm.config, "max_position_embeddings", None) or max_tokens
        self._max_tokens = min(max_tokens, window)

    @torch.no_grad()
    def __call__(self, prompts: list[str], texts: list[str]) -> tuple[list[float], list[int]]:
        """Return summed nats and token counts, one per row. A row whose text has no tokens gets (0, 0).

        Raises:
            DataError: the tokenizer gives ids that the model does not know.
        """
        if not texts:
            return [], []
        prompt_rows = self._encode_prompts(prompts)
        targets = encode_targets(self._tokenizer, texts, self._policy.lm.config.is_encoder_decoder)
        eos = self._policy.tokens.eos
        targets = [ids[:-1] if ids and ids[-1] in eos and ids[-1] in self._special else ids for ids in targets]
        rows = [ids[: self._max_tokens - 1] for ids in targets]
        self._check_ids("prompt", prompt_rows, self._policy.lm.get_input_embeddings().weight.shape[0])
        self._check_ids("text", rows, self._policy.tokens.vocab_size)
        nats, counts = [0.0] * len(texts), [len(row) for row in rows]
        order = sorted((i for i in range(len(texts)) if rows[i]), key=lambda i: len(rows[i]) + len(prompt_rows[i]))
        policy = self._policy
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            kept = [prompt_rows[i][-max(1, self._max_tokens - len(rows[i])) :] for i in batch]
            prompt_ids, prompt_mask = pad(kept, policy.tokens.pad, policy.family.padding_side)
            ids, mask = pad([rows[i] for i in batch], policy.tokens.pad, "right")
            out = policy(*(t.to(policy.device) for t in (prompt_ids, prompt_mask, ids, mask)))
            for i, value in zip(batch, out.full_logprobs.cpu().double().sum(-1).tolist(), strict=True):
                nats[i] = -value
        return nats, counts

    def _check_ids(self, what: str, rows: list[list[int]], known: int) -> None:
        for number, row in enumerate(rows, 1):
            if row and max(row) >= known:
                raise DataError(
                    f"{what} {number} cannot be scored: token id {max(row)} is outside the model's vocabulary of "
                    f"{known}; "
                    "the tokenizer has tokens that the model was not resized for"
                )

    def _plain_prompts(self, prompts: list[str]) -> list[list[int]]:
        rows: list[Any] = [self._frame.once(row)[0] for row in self._tokenizer(prompts)["input_ids"]]
        start = next((t for t in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id) if t is not None), None)
        if start is None and not all(rows):
            raise DataError(
                "an empty prompt cannot be scored: the tokenizer has neither a BOS nor an EOS token to start from"
            )
        return [row or [start] for row in rows]


def load_text_nll(path: str, *, device: str, batch_size: int, max_tokens: int, allow_pickle: bool) -> NllOfTexts:
    """Return a scorer for the language model in a folder or on the Hub; the metric `perplexity` has the defaults.

    Raises:
        ModelError: it cannot be loaded.
    """
    config = ModelConfig(path=path, allow_pickle=allow_pickle)
    lm, tokenizer = load_lm(config, resolve_device(device)), load_tokenizer(config)
    return TextNll(Policy(lm, special_tokens(lm, tokenizer)), tokenizer, batch_size, max_tokens)
