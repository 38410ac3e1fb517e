"""Which words of a text differ from those of another."""

from __future__ import annotations

import difflib
import re

_WORDS = re.compile(r"\s*\S+|\s+$")


def changed_words(before: str, after: str) -> list[tuple[str, bool]]:
    """Split a text into pieces, each with whether its words are new against the other text.

    Args:
        before: the other text.
        after: the text; the pieces joined are this one.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in old], b=[w.strip() for w in new], autojunk=False)
    pieces = []
    for kind, _, _, start, end in matcher.get_opcodes():
        text = "".join(new[start:end])
        if not text:
            continue
        words = text.lstrip()
        space = text[: len(text) - len(words)]  # unmarked, or the marks of two words would touch
        pieces += [(space, False)] if space else []
        pieces += [(words, kind != "equal")] if words else []
    return pieces
