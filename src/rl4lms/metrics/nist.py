"""NIST: n-gram matches weighted by how much each tells (Doddington, 2002), as in mteval-v13a and in GEM-metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from rl4lms.metrics.sums import Array, corpus_value
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue

# The penalty is 1/2 where the texts have 2/3 of the words of the references.
_BETA = math.log(0.5) / math.log(1.5) ** 2
_tokenize_13a = Tokenizer13a()

Gram = tuple[str, ...]


class Nist:
    """NIST of the whole set, from 0, under the key `nist`: Σ_n (information of the n-grams that match / n-grams of the
    texts), times a penalty for texts that are shorter than the references.

    The information of an n-gram is log2(how often its first n - 1 words occur / how often it occurs) in all references
    of the set, so a single text has no value of its own, and NIST of another set of references is on another scale. An
    n-gram of a text matches as often as the reference that has most of it does. The penalty is exp(β log²(min(1, words
    / mean length of the references))), 1/2 for two thirds of the words. The standard error keeps the information fixed.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self,
        max_n: Annotated[int, Option("n-grams up to this length", ge=1, le=9)] = 5,
        tokenize: Annotated[
            Literal["13a", "whitespace"], Option("13a: as in mteval-v13a; whitespace: for text that is tokenised")
        ] = "13a",
        lowercase: Annotated[bool, Option("ignore case")] = True,
    ) -> None:
        self._max_n, self._tokenize, self._lowercase = max_n, tokenize, lowercase
        self._watch = Watch("nist", SPACES)
        self.signature = signature("nist", n=max_n, tok=tokenize, case="lc" if lowercase else "mixed")

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, CorpusValue]:
        """Measure all texts.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("nist", references)
        self._watch.look(chain.from_iterable(references), self._words)
        gold = [[self._words(text) for text in texts] for texts in references]
        information = self._information(gold)
        rows = [
            self._statistics(self._words(completion), texts, information)
            for completion, texts in zip(completions, gold, strict=True)
        ]
        return {"nist": corpus_value(rows, partial(_nist, max_n=self._max_n))}

    def _words(self, text: str) -> list[str]:
        text = text.lower() if self._lowercase else text
        return (_tokenize_13a(text.rstrip()) if self._tokenize == "13a" else text).split()

    def _information(self, gold: list[list[list[str]]]) -> dict[Gram, float]:
        counts = Counter(gram for words in chain.from_iterable(gold) for gram in _grams(words, self._max_n))
        counts[()] = sum(map(len, chain.from_iterable(gold)))
        return {gram: math.log2(counts[gram[:-1]] / count) for gram, count in counts.items() if gram}

    def _statistics(self, words: list[str], texts: list[list[str]], information: dict[Gram, float]) -> list[float]:
        """Information that matches and number of n-grams, for each n; words, and mean words of the references."""
        most: Counter[Gram] = Counter()
        for text in texts:
            most |= Counter(_grams(text, self._max_n))
        matched = [0.0] * self._max_n
        for gram, count in (Counter(_grams(words, self._max_n)) & most).items():
            matched[len(gram) - 1] += information[gram] * count
        totals = [float(max(0, len(words) - n)) for n in range(self._max_n)]
        return [*matched, *totals, float(len(words)), sum(map(len, texts)) / len(texts)]


def _grams(words: list[str], max_n: int) -> list[Gram]:
    shifted = [words[shift:] for shift in range(max_n)]
    return [gram for n in range(1, max_n + 1) for gram in zip(*shifted[:n], strict=False)]


def _nist(sums: Array, max_n: int) -> Array:
    """NIST of sums (R, 2 max_n + 2); 0 for texts without words, or against references without any."""
    matched, totals, own, gold = sums[:, :max_n], sums[:, max_n : 2 * max_n], sums[:, -2], sums[:, -1]
    precision = (matched / np.maximum(totals, 1)).sum(axis=1)
    ratio = np.minimum(1, own / np.maximum(gold, 1e-9))
    with np.errstate(divide="ignore"):
        penalty = np.where(ratio > 0, np.exp(_BETA * np.log(np.where(ratio > 0, ratio, 1)) ** 2), 0.0)
    return precision * penalty
