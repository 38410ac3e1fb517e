"""Texts that are cut until their tokens fit."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase


def shortened(
    tokenizer: PreTrainedTokenizerBase, text: str, side: str, most: int, ids_of: Callable[[str], list[int]]
) -> tuple[list[int], str] | None:
    """Return ids of at most `most` tokens, and the part of the text that they hold; None where the empty text is too
    long, too.

    Args:
        tokenizer: says where the tokens of the text begin and end.
        text: what is cut.
        side: the end that is lost, `left` or `right`.
        most: tokens.
        ids_of: ids of the whole, with a part of the text in it.
    """
    pieces = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    keep = len(pieces)
    while True:  # tokens merge differently at the new edge, so the length is checked rather than computed
        shorter = ""
        if keep:
            shorter = text[pieces[-keep][0] :] if side == "left" else text[: pieces[keep - 1][1]]
        row = ids_of(shorter)
        if len(row) <= most:
            return row, shorter
        if not keep:
            return None
        keep = max(0, keep - max(1, len(row) - most))
