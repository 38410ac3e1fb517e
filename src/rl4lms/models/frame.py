"""Special tokens that a tokenizer puts around a text, and which of them a text may have already."""

from __future__ import annotations

import logging
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl4lms.models.loading import SpecialTokens

_log = logging.getLogger(__name__)


class Frame:
    """What a tokenizer puts before and after each text, such as BOS and EOS.

    A chat template writes BOS into its text, and the tokenizer puts another one before it, which no model was trained
    with: a text that brings its own gets none.

    Args:
        tokenizer: adds the tokens.
        what: the texts are, for the one note on those that bring their own; None says nothing.

    Attributes:
        before, after: token ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, what: str | None) -> None:
        self._tokenizer, self._what = tokenizer, what
        self.before, self.after = _around(tokenizer)

    def once(self, row: list[int], *columns: list[int]) -> list[list[int]]:
        """Return an encoded text (its frame included) without the tokens that it brought itself, and other columns of
        its row without their places.
        """
        start, stop = len(self.before), len(row) - len(self.after)
        text = row[start:stop]
        first = _overlap(self.before, text)
        last = _overlap(text[first:], self.after)
        if (first or last) and self._what is not None:
            own = self._tokenizer.convert_ids_to_tokens([*text[:first], *text[len(text) - last :]])
            _log.warning(
                "%s bring %s, which the tokenizer adds: they are not given a second one", self._what, " and ".join(own)
            )
            self._what = None
        whole = [row, *columns]
        return [[*x[:start], *x[start + first : stop - last], *x[stop:]] for x in whole] if first or last else whole


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return every id that the tokenizer does not take for text."""
    added: dict[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}


def silent_ids(tokenizer: PreTrainedTokenizerBase, tokens: SpecialTokens) -> set[int]:
    """Return the special tokens that are no part of a text: they say where it begins and ends, or stand for nothing.

    These are EOS (all of the model's), padding, BOS, what a decoder starts from, whatever the tokenizer itself puts
    around a text, such as BERT's [CLS] and [SEP], and the unknown token, which nobody can read. Language codes of
    translation models belong to them: where a tokenizer has source languages, no special token is text. An EOS that is
    an ordinary token, such as a full stop or a new line, is text.
    """
    special = special_ids(tokenizer)
    if hasattr(tokenizer, "src_lang"):
        return special
    names = ("pad", "eos", "bos", "cls", "sep", "unk")
    named = {getattr(tokenizer, f"{name}_token_id", None) for name in names}
    before, after = _around(tokenizer)
    added = set(getattr(tokenizer, "added_tokens_decoder", {}))
    return (special & (named | {*tokens.decoder_prefix, *before, *after})) | (set(tokens.eos) & (special | added))


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return what the tokenizer puts before and after a text, as seen at one that has tokens."""
    special = special_ids(tokenizer)
    for text in ("a", "1", *tokenizer.get_vocab()):
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not bare or set(bare) & special:
            continue
        whole = tokenizer(text)["input_ids"]
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        return whole[:start], whole[start + len(bare) :]
    return [], []


def _overlap(first: list[int], second: list[int]) -> int:
    """Return how many of the last ids of one row are the first of the other."""
    return next((n for n in range(min(len(first), len(second)), 0, -1) if first[-n:] == second[:n]), 0)
