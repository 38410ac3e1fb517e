"""Texts of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rl4lms.models.frame import silent_ids, special_ids
from rl4lms.models.loading import SpecialTokens
from rl4lms.models.targets import sides

Rows = Sequence[Sequence[int]]

# Prompt tokens that decide how what follows is decoded: a word's beginning, a character of several bytes.
_CONTEXT = 8


class _Side(NamedTuple):
    """What decodes prompts, or completions, and the ids that are no part of a text there."""

    tokenizer: PreTrainedTokenizerBase
    silent: set[int]

    def text(self, row: Sequence[int], **mode: bool) -> str:
        text: str = self.tokenizer.decode([index for index in row if index not in self.silent], **mode)
        return text


class Decoder:
    """Turns ids into texts; called with ids of completions, it returns these alone.

    What only says where a text begins and ends is left out, and unknown tokens (`silent_ids`). Other special tokens are
    text, since they mean something: the end of a thought or a turn, a tool's name.

    Where white space belongs between prompt and completion, only the ids say: GPT-2's tokens bring their own,
    SentencePiece's mark where words begin, Chinese has none. So the two are decoded `together`.

    The completion of an encoder-decoder is a second text. Most tokenizers put white space before it (SentencePiece,
    WordPiece). Where one does not (BART's bytes), or has a mode of its own for target texts (Marian), prompt and
    completion are decoded each by itself, with a newline between.

    Args:
        tokenizer: decodes.
        tokens: of the model.
        two_texts: whether a completion is a text of its own, as for encoder-decoders, and does not continue its prompt.
        keep_special_tokens: False leaves every special token out.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: SpecialTokens,
        two_texts: bool = False,
        keep_special_tokens: bool = True,
    ) -> None:
        self._source, self._target = (
            _Side(side, silent_ids(side, tokens) if keep_special_tokens else special_ids(side))
            for side in sides(tokenizer)
        )
        self._has_modes = hasattr(tokenizer, "spm_source")
        self._apart = two_texts and (self._has_modes or not _keeps_apart(tokenizer))

    def __call__(self, rows: Rows) -> list[str]:
        # a Marian with one vocabulary takes its source's pieces otherwise
        mode = {"use_source_tokenizer": False} if self._has_modes else {}
        return [self._target.text(row, **mode) for row in rows]

    def prompts(self, rows: Rows) -> list[str]:
        """Return the texts of prompts alone."""
        mode = {"use_source_tokenizer": True} if self._has_modes else {}
        return [self._source.text(row, **mode) for row in rows]

    def together(self, prompts: Rows, completions: Rows) -> list[str]:
        """Return each prompt and its completion as one text."""
        if self._apart:
            return [
                "\n".join(texts) if all(texts) else "".join(texts)
                for texts in zip(self.prompts(prompts), self(completions), strict=True)
            ]
        return self([[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)])

    def beginnings(self, prompt: Sequence[int], completions: Rows) -> list[str]:
        """Return `together` of one prompt and many completions, at about the price of the completions alone."""
        end = list(prompt[-_CONTEXT:])
        whole, known, *longer = self([prompt, end, *([*end, *completion] for completion in completions)])
        if self._apart or not known or not all(text.startswith(known) for text in longer):
            return self.together([prompt] * len(completions), completions)
        return [whole + text[len(known) :] for text in longer]


def _keeps_apart(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether there is white space between two texts that are encoded apart and decoded together."""
    first, second = tokenizer(["a", "b"], add_special_tokens=False)["input_ids"]
    return any(character.isspace() for character in tokenizer.decode([*first, *second]).strip())
