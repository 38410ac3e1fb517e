"""Token ids of prompts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import PromptConfig
from rl4lms.data.conversations import last_of_user
from rl4lms.errors import DataError
from rl4lms.models.frame import Frame
from rl4lms.models.loading import SpecialTokens
from rl4lms.rollout.chat import Chat, Messages, refuse_unread
from rl4lms.rollout.cut import shortened
from rl4lms.rollout.texts import Decoder
from rl4lms.types import Sample


class PromptEncoder:
    """Tokenises prompts with an explicit maximum length and truncation side, whatever the tokenizer's own settings say.

    What is cut is the prompt: prefix, suffix and special tokens stay. Conversations are rendered by the chat template;
    of one that is too long the oldest turns go first.

    Raises:
        ConfigError, ModelError: as `Chat`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokens: SpecialTokens, config: PromptConfig) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.truncation_side = config.truncation_side
        self._decoder = Decoder(tokenizer, tokens, keep_special_tokens=config.keep_special_tokens)
        self._frame = Frame(self._tokenizer, "prompts") if config.add_special_tokens else None
        self._tokens = tokens
        self._config = config
        self._chat = Chat(self._tokenizer, config)

    def __call__(self, samples: Sequence[Sample]) -> list[list[int]]:
        """Return token ids of each prompt. An empty prompt becomes one BOS (or EOS) token.

        Raises:
            DataError: a prompt that is no text, an id outside the model's vocabulary, an empty prompt where the
                tokenizer has neither BOS nor EOS, a prefix and suffix that leave no room, or a conversation that the
                chat template refuses.
            ModelError: a conversation, and no chat template.
        """
        return self.read(samples)[0]

    def read(self, samples: Sequence[Sample]) -> tuple[list[list[int]], list[str], list[Messages]]:
        """Return token ids of each prompt as the call does, what of its text they stand for, and of its messages.

        That is the prompt itself where nothing is cut, else what its ids say. Prefix, suffix and a configured message
        of the system are no part of it. The messages of a prompt that is a text are ().
        """
        for sample in samples:
            _check(sample)
        found = [self._read(sample) for sample in samples]
        texts = iter(self._encoded([sample.prompt for sample, one in zip(samples, found, strict=True) if one is None]))
        whole = [(*next(texts), ()) if one is None else one for one in found]
        rows = [row for row, _, _ in whole]
        for sample, row in zip(samples, rows, strict=True):
            if max(row) >= self._tokens.vocab_size:
                raise DataError(
                    f"prompt {sample.id!r}: token id {max(row)} is outside the model's vocabulary of "
                    f"{self._tokens.vocab_size}; "
                    "the tokenizer has tokens that the model was not resized for"
                )
        return rows, [seen for _, seen, _ in whole], [messages for _, _, messages in whole]

    def truncated(self, samples: Sequence[Sample]) -> int:
        """Return how many of the prompts are longer than `max_tokens`."""
        chats = [messages for sample in samples if (messages := self._chat.messages(sample))]
        texts = self._ids([sample.prompt for sample in samples if not self._chat.messages(sample)])
        return sum(len(row) > self._config.max_tokens for row in (*texts, *map(self._chat.ids, chats)))

    def rendered(self, sample: Sample) -> str:
        """Return a prompt as the model reads it, uncut: a conversation in the words of the template."""
        messages = self._chat.messages(sample)
        return self._chat.text(messages) if messages else self._config.prefix + sample.prompt + self._config.suffix

    def check(self, samples: Sequence[Sample]) -> None:
        """Refuse settings that have no effect on these prompts, and a template that does not go with the first.

        Raises:
            ConfigError, DataError, ModelError: see `refuse_unread` and `Chat.text`.
        """
        refuse_unread(self._config, samples)
        for sample in samples[:1]:
            self.rendered(sample)

    def _read(self, sample: Sample) -> tuple[list[int], str, Messages] | None:
        """Return ids, text and messages of a conversation; None where the prompt is tokenised as a text."""
        messages = self._chat.messages(sample)
        if not messages:
            return None
        row, kept = self._chat.fitted(messages)
        if not sample.messages:
            return row, kept[-1]["content"], ()
        seen = kept[len(messages) - len(sample.messages) :]  # without the message of the system that the recipe gives
        return row or [self._first_token()], seen[last_of_user(seen)]["content"], seen

    def _encoded(self, prompts: Sequence[str]) -> list[tuple[list[int], str]]:
        return [
            (row or [self._first_token()], prompt) if len(row) <= self._config.max_tokens else self._cut(prompt)
            for prompt, row in zip(prompts, self._ids(prompts), strict=True)
        ]

    def _ids(self, prompts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        if not prompts:
            return []
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
        ids_of = lambda text: self._ids([text])[0]  # noqa: E731
        found = shortened(self._tokenizer, prompt, c.truncation_side, c.max_tokens, ids_of)
        if found is None:
            raise DataError(f"prompt.max_tokens: {c.max_tokens} leaves no room for prefix and suffix")
        return found

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
