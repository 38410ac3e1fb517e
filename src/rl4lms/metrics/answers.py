"""Exact match and token F1, as the evaluation script of SQuAD computes them (Rajpurkar et al., 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ExactMatch:
    """1 where a text equals one of its references, else 0, under the key `exact_match`.

    Texts of which nothing is left when they are normalised are equal.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self,
        normalise: Annotated[
            bool, Option("ignore case, punctuation, articles and extra white space, as for SQuAD")
        ] = True,
    ) -> None:
        self._normalise = normalise
        self.signature = signature("exact_match", norm="squad" if normalise else None)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("exact_match", references)
        return {"exact_match": [float(self._equals_one(*row)) for row in zip(completions, references, strict=True)]}

    def _equals_one(self, completion: str, texts: tuple[str, ...]) -> bool:
        if not self._normalise:
            return completion in texts
        words = _normalised(completion)
        return any(words == _reference(text)[0] for text in texts)


class TokenF1:
    """F1 of the words that a text shares with its best reference, as bags, in [0, 1] under the key `token_f1`.

    Words are those of the lower-cased text without ASCII punctuation and articles. If either has no word left the value
    is 1 where neither has one and 0 otherwise, as in SQuAD 2.0.
    """

    higher_is_better = True
    needs_references = True

    def __init__(self) -> None:
        self.signature = signature("token_f1", norm="squad")
        self._watch = Watch("token_f1", SPACES)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("token_f1", references)
        self._watch.look(chain.from_iterable(references), _normalised)
        return {"token_f1": [self._value(*row) for row in zip(completions, references, strict=True)]}

    def _value(self, completion: str, texts: tuple[str, ...]) -> float:
        words = _normalised(completion)
        counts = Counter(words)
        return max(_f1(words, counts, *_reference(text)) for text in texts)


def _f1(words: list[str], counts: Counter[str], gold: list[str], gold_counts: Counter[str]) -> float:
    if not words or not gold:
        return float(words == gold)
    common = (counts & gold_counts).total()
    return 2 * common / (len(words) + len(gold))


def _normalised(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


@lru_cache(maxsize=1 << 14)
def _reference(text: str) -> tuple[list[str], Counter[str]]:
    words = _normalised(text)
    return words, Counter(words)
