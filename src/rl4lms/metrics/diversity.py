"""Lexical diversity of a set of texts, by the definitions of GEM-metrics, which the paper used.

Source: GEM-benchmark/GEM-metrics, `msttr.py` and `ngrams.py` (after van Miltenburg et al., 2018). Words are lower-cased and punctuation
marks are words. Deviations: words are split by a regular expression instead of nltk's `word_tokenize`, and nothing is rounded.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

_WORD = re.compile(r"\w+|[^\w\s]")


class Diversity:
    """Corpus values over all completions.

    Keys: `distinct-n` (different n-grams / n-grams), `unique-n` (n-grams that occur once), `entropy-n` (Shannon entropy of the n-grams,
    bits), for n = 1, 2; `msttr-<window>` (mean type-token ratio of consecutive segments of that many words of all texts in a row, an
    incomplete last segment left out); `mean_length` in words. What cannot be computed is left out: n-grams of texts that have none,
    MSTTR of fewer words than a segment.

    Args:
        window: segment length of MSTTR, in words.
    """

    def __init__(self, window: int = 100) -> None:
        self._window = window
        self.higher_is_better = dict.fromkeys(
            ("distinct-1", "distinct-2", "unique-1", "unique-2", "entropy-1", "entropy-2", f"msttr-{window}"), True
        )

    def __call__(self, completions: Sequence[str], **columns: Any) -> dict[str, float]:
        texts = [_WORD.findall(text.lower()) for text in completions]
        values: dict[str, float] = {}
        for n in (1, 2):
            counts = Counter(chain.from_iterable(zip(*(words[shift:] for shift in range(n)), strict=False) for words in texts))
            total = counts.total()
            if total:
                values[f"distinct-{n}"] = len(counts) / total
                values[f"unique-{n}"] = float(sum(count == 1 for count in counts.values()))
                values[f"entropy-{n}"] = math.log2(total) - math.fsum(c * math.log2(c) for c in counts.values()) / total
        running = list(chain.from_iterable(texts))
        segments = [running[start : start + self._window] for start in range(0, len(running) - self._window + 1, self._window)]
        if segments:
            values[f"msttr-{self._window}"] = math.fsum(len(set(segment)) for segment in segments) / (self._window * len(segments))
        values["mean_length"] = len(running) / len(texts)
        return values
