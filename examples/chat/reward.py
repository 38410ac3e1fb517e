"""A reward on conversations: answers of one short sentence."""

from __future__ import annotations

import re
from typing import Any


def one_sentence(completions: list[Any], *, most_words: int = 16) -> list[float]:
    """Pay for an answer that ends with a period, for a single sentence, and for few words; a third each.

    Args:
        completions: conversations, each with one message of the assistant, as TRL gives them.
        most_words: half as much is paid for twice as many words.
    """
    scores = []
    for (message,) in completions:
        text = message["content"].strip()
        ends = len(re.findall(r"[.!?](?=\s|$)", text))
        words = max(1, len(text.split()))
        scores.append((text.endswith(".") + (ends == 1) + min(1.0, most_words / words)) / 3)
    return scores
