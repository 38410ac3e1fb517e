"""Token ids of prompts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import PromptConfig
from rl4lms.errors import DataError
from rl4lms.models.frame import Frame
from rl4lms.models.loading import SpecialTokens
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Sample


class PromptEncoder:
    """Tokenises prompts with an explicit maximum length and truncation side, whatever the tokenizer's own settings say.

    What is cut is the prompt: prefix, suffix and special tokens stay.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokens: SpecialTokens, config: PromptConfig) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = config.truncation_side
        self._decoder = Decoder(tokenizer, tokens, keep_special_tokens=config.keep_special_tokens)
        self._frame = Frame(self._tokenizer, "prompts") if config.add_special_tokens else None
        self._tokens = tokens
        self._config = config

    def __call__(self, samples: Sequence[Sample]) -> list[list[int]]:
        """Return token ids of each prompt. An empty prompt becomes one BOS (or EOS) token.

        Raises:
            DataError: a prompt that is no text, an id outside the model's vocabulary, an empty prompt where the
                tokenizer has neither BOS nor EOS, or a prefix and suffix that leave no room.
        """
        return self.read(samples)[0]

    def read(self, samples: Sequence[Sample]) -> tuple[list[list[int]], list[str]]:
        """Return token ids of each prompt as the call does, and what of its text they stand for.

        That is the prompt itself where nothing is cut, else what its ids say. Prefix and suffix are no part of it.
        """
        for sample in samples:
            _check(sample)
        found = self._encoded([sample.prompt for sample in samples])
        rows = [row for row, _ in found]
        for sample, row in zip(samples, rows, strict=True):
            if max(row) >= self._tokens.vocab_size:
                raise DataError(
                    f"prompt {sample.id!r}: token id {max(row)} is outside the model's vocabulary of "
                    f"{self._tokens.vocab_size}; "
                    "the tokenizer has tokens that the model was not resized for"
                )
        return rows, [seen for _, seen in found]

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return token ids of bare prompt texts."""
        return [row for row, _ in self._encoded(prompts)]

    def truncated(self, samples: Sequence[Sample]) -> int:
        """Return how many of the prompts are longer than `max_tokens`."""
        return sum(len(row) > self._config.max_tokens for row in self._ids([sample.prompt for sample in samples]))

    def _encoded(self, prompts: Sequence[str]) -> list[tuple[list[int], str]]:
        return [
            (row or [self._first_token()], prompt) if len(row) <= self._config.max_tokens else self._cut(prompt)
            for prompt, row in zip(prompts, self._ids(prompts), strict=True)
        ]

    def _ids(self, prompts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        c = self._config
        texts = [c.prefix + prompt + c.suffix for prompt in prompts]
        options: dict[str, Any] = {"truncation": max_length is not None, "max_length": max_length, "verbose": False}
        options |= {"add_special_tokens": c.add_special_tokens, "return_attention_mask": False}
        rows: list[list[int]] = self._tokenizer(texts, **options)["input_ids"]
        return rows if self._frame is None else [self._frame.once(row)[0] for row in rows]

    def _cut(self, prompt: str) -> tuple[list[int], str]:
        """Return ids that fit, and the part of the prompt that they stand for."""
        c = self._config
        if not c.prefix and not c.suffix:
            ids = self._ids([prompt], c.max_tokens)[0]
            if spare := c.max_tokens - len(ids):  # the prompt brought special tokens of its own, which are not doubled
                ids = self._ids([prompt], c.max_tokens + spare)[0]
            return ids, self._decoder.prompts([ids])[0]
        pieces = self._tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        keep = len(pieces)
        while keep >= 0:  # tokens merge differently at the new edge, so the length is checked rather than computed
            shorter = ""
            if keep:
                shorter = prompt[pieces[-keep][0] :] if c.truncation_side == "left" else prompt[: pieces[keep - 1][1]]
            row = self._ids([shorter])[0]
            if len(row) <= c.max_tokens:
                return row, shorter
            keep = max(0, keep - max(1, len(row) - c.max_tokens)) if keep else -1  # the empty prompt is tried, too
        raise DataError(f"prompt.max_tokens: {c.max_tokens} leaves no room for prefix and suffix")

    def _first_token(self) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return token
        raise DataError("a prompt has no tokens, and the tokenizer has no BOS or EOS token to start from")


def _check(sample: Sample) -> None:
    """Refuse what tokenizers stumble over: tasks are anybody's code."""
    if not isinstance(sample.prompt, str):
        raise DataError(f"prompt {sample.id!r}: must be a text, got {type(sample.prompt).__name__}")
    try:
        sample.prompt.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(sample.prompt[error.start]):04x}"
        raise DataError(
            f"prompt {sample.id!r}: {half} is half of a character (a lone surrogate), which no text can hold"
        ) from error
