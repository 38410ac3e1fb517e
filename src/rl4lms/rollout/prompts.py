"""Token ids of prompts."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import PromptConfig
from rl4lms.errors import DataError
from rl4lms.models.loading import SpecialTokens
from rl4lms.types import Sample


class PromptEncoder:
    """Tokenises prompts with an explicit maximum length and truncation side, whatever the tokenizer's own settings say."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokens: SpecialTokens, config: PromptConfig) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = config.truncation_side
        self._tokens = tokens
        self._config = config
        self.truncated = 0

    def __call__(self, samples: Sequence[Sample]) -> list[list[int]]:
        """Token ids of each prompt. An empty prompt becomes one BOS (or EOS) token. `truncated` counts the prompts that were cut.

        Raises:
            DataError: an id outside the model's vocabulary, or an empty prompt where the tokenizer has neither BOS nor EOS.
        """
        config = self._config
        texts = [config.prefix + sample.prompt + config.suffix for sample in samples]
        options = {"add_special_tokens": config.add_special_tokens, "return_attention_mask": False, "verbose": False}
        rows: list[list[int]] = self._tokenizer(texts, **options)["input_ids"]
        for i, row in enumerate(rows):
            if len(row) > config.max_tokens:
                self.truncated += 1
                rows[i] = self._tokenizer(texts[i], truncation=True, max_length=config.max_tokens, **options)["input_ids"]
            elif not row:
                rows[i] = [self._first_token(samples[i])]
            if max(rows[i]) >= self._tokens.vocab_size:
                raise DataError(
                    f"prompt {samples[i].id!r}: token id {max(rows[i])} is outside the model's vocabulary of {self._tokens.vocab_size}; "
                    "the tokenizer has tokens that the model was not resized for"
                )
        return rows

    def _first_token(self, sample: Sample) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return token
        raise DataError(f"prompt {sample.id!r} has no tokens, and the tokenizer has no BOS or EOS token to start from")
