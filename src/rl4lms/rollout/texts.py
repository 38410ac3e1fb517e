"""Texts of token ids."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from rl4lms.models.targets import source_side

Rows = Sequence[Sequence[int]]

# Prompt tokens that decide how what follows is decoded: a word's beginning, a character of several bytes.
_CONTEXT = 8


class Decoder:
    """Turns ids into texts without special tokens; called with ids of completions, it returns these alone.

    Where white space belongs between prompt and completion, only the ids say: GPT-2's tokens bring their own,
    SentencePiece's mark where words begin, Chinese has none. So the two are decoded `together`.

    The completion of an encoder-decoder is a second text. Most tokenizers put white space before it (SentencePiece,
    WordPiece). Where one does not (BART's bytes), or has a mode of its own for target texts (Marian), prompt and
    completion are decoded each by itself, with a newline between.

    Args:
        tokenizer: decodes.
        two_texts: whether a completion is a text of its own, as for encoder-decoders, and does not continue its prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, two_texts: bool = False) -> None:
        self._tokenizer = tokenizer
        self._has_modes = hasattr(tokenizer, "spm_source")
        self._source = source_side(tokenizer)
        self._apart = two_texts and (self._has_modes or not _keeps_apart(tokenizer))

    def __call__(self, rows: Rows) -> list[str]:
        # a Marian with one vocabulary takes its source's pieces otherwise
        mode = {"use_source_tokenizer": False} if self._has_modes else {}
        return [self._tokenizer.decode(list(row), skip_special_tokens=True, **mode) for row in rows]

    def prompts(self, rows: Rows) -> list[str]:
        """Return the texts of prompts alone."""
        mode = {"use_source_tokenizer": True} if self._has_modes else {}
        return [self._source.decode(list(row), skip_special_tokens=True, **mode) for row in rows]

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
