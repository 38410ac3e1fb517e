"""BLEU-1 to BLEU-n of a corpus, and smoothed BLEU of each text (Papineni et al., 2002)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from rl4lms.metrics.sums import corpus_value
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue

Smoothing = Literal["none", "floor", "add-k", "exp"]

_ADDED = {"floor": 0.1, "add-k": 1.0}  # sacrebleu's defaults, after Chen and Cherry (2014)
_tokenize_13a = Tokenizer13a()


class Bleu:
    """BLEU in [0, 1].

    Keys: `bleu-1` to `bleu-<max_n>`, corpus values: clipped n-gram matches and totals summed over all texts, geometric
    mean of the precisions of 1 to n words, brevity penalty by the closest reference length (the shorter one of two as
    close), not smoothed: 0 where no n-gram of a length matches. Their standard errors are by the bootstrap over texts
    (200 samples, seeded). `sentence_bleu-1` to `sentence_bleu-<max_n>`: the same of each text on its own, smoothed as
    sacrebleu does, lengths that the text has no n-gram of left out (its `effective_order`), so that a text equal to a
    reference scores 1 however short it is. A text that shares no word with its references, or has none, scores 0.

    The values times 100 are those of sacrebleu with the same tokenizer. nlg-eval (coco-caption) adds 1e-15 to matches
    and lengths and 1e-9 to totals against divisions by zero, which changes values of corpora by less than 1e-8, and
    gives tiny numbers in place of 0.

    Of a text whose n-grams of some length all miss, `smoothing` makes: `none` 0; `floor` 0.1 of a match; `add-k` 1
    added to matches and totals of every length but 1; `exp` 1/2 of a match for the first such length, 1/4 for the
    next, and so on.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self,
        max_n: Annotated[int, Option("n-grams up to this length", ge=1, le=9)] = 4,
        tokenize: Annotated[
            Literal["whitespace", "13a"], Option("13a: as in mteval-v13a, for text that is not tokenised")
        ] = "whitespace",
        lowercase: Annotated[bool, Option("ignore case")] = False,
        smoothing: Annotated[
            Smoothing, Option("of the values of single texts; the corpus value is not smoothed")
        ] = "exp",
    ) -> None:
        self._options = max_n, tokenize, lowercase
        self._smoothing = smoothing
        self._split = partial(_words, tokenize=tokenize, lowercase=lowercase)
        self._watch = Watch("bleu", f"{SPACES}, or sacrebleu with tokenize: zh or char")
        self.reward_key = f"sentence_bleu-{max_n}"
        plain, smoothed = (
            signature("bleu", tok=tokenize, case="lc" if lowercase else "mixed", **said)
            for said in ({"smooth": "none"}, {"smooth": smoothing, "eff": True})
        )
        self.signature = {f"bleu-{n}": plain for n in range(1, max_n + 1)} | {
            f"sentence_bleu-{n}": smoothed for n in range(1, max_n + 1)
        }

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, CorpusValue | list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("bleu", references)
        self._watch.look(chain.from_iterable(references), self._split)
        rows = [
            _statistics(completion, texts, *self._options)
            for completion, texts in zip(completions, references, strict=True)
        ]
        max_n = self._options[0]
        corpus = {f"bleu-{n}": corpus_value(rows, partial(_corpus_bleu, n=n)) for n in range(1, max_n + 1)}
        sentences = list(zip(*(_sentence_bleus(row, self._smoothing) for row in rows), strict=True))
        return corpus | {f"sentence_bleu-{n}": list(values) for n, values in enumerate(sentences, 1)}


def _statistics(completion: str, texts: tuple[str, ...], max_n: int, tokenize: str, lowercase: bool) -> list[int]:
    """Length, closest reference length, then matches and totals of each n-gram length."""
    words = _words(completion, tokenize, lowercase)
    sizes, most = _references(texts, max_n, tokenize, lowercase)
    matches = [0] * max_n
    for gram, count in Counter(_grams(words, max_n)).items():
        if gram in most:
            matches[len(gram) - 1] += min(count, most[gram])
    size = len(words)
    closest = min(sizes, key=lambda other: (abs(other - size), other))
    return [size, closest, *matches, *(max(size - n, 0) for n in range(max_n))]


@lru_cache(maxsize=1 << 12)
def _references(
    texts: tuple[str, ...], max_n: int, tokenize: str, lowercase: bool
) -> tuple[list[int], Counter[tuple[str, ...]]]:
    """Lengths of the references, and how often each n-gram occurs in the one that has most of it."""
    split = [_words(text, tokenize, lowercase) for text in texts]
    most: Counter[tuple[str, ...]] = Counter()
    for words in split:
        most |= Counter(_grams(words, max_n))
    return [len(words) for words in split], most


def _words(text: str, tokenize: str, lowercase: bool) -> list[str]:
    if lowercase:
        text = text.lower()
    return (_tokenize_13a(text.rstrip()) if tokenize == "13a" else text).split()


def _grams(words: list[str], max_n: int) -> list[tuple[str, ...]]:
    grams: list[tuple[str, ...]] = []
    for n in range(1, max_n + 1):
        grams += zip(*(words[shift:] for shift in range(n)), strict=False)
    return grams


def _corpus_bleu(sums: NDArray[Any], n: int) -> NDArray[np.float64]:
    """BLEU-n of summed statistics (..., 2 + 2 max_n), without smoothing."""
    max_n = (sums.shape[-1] - 2) // 2
    size, closest = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + n], sums[..., 2 + max_n : 2 + max_n + n]
    something = matches.all(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(matches / totals).mean(axis=-1) + np.minimum(0, 1 - closest / size)
    return np.where(something, np.exp(np.where(something, logs, 0)), 0.0)


def _sentence_bleus(row: Sequence[int], smoothing: str) -> list[float]:
    """BLEU-1 to BLEU-n of one text; with the factors of shorter n-grams each extends the one before."""
    max_n = (len(row) - 2) // 2
    size, closest, matches, totals = row[0], row[1], row[2 : 2 + max_n], row[2 + max_n :]
    if not matches[0]:
        return [0.0] * max_n
    brevity = min(0.0, 1 - closest / size)
    values: list[float] = []
    logs, halved, used = 0.0, 1.0, 0
    for n in range(max_n):
        match, total = float(matches[n]), float(totals[n])
        if smoothing == "add-k" and n:
            match, total = match + _ADDED[smoothing], total + _ADDED[smoothing]
        if total:
            if not match and smoothing == "exp":
                halved /= 2
                match = halved
            elif not match and smoothing == "floor":
                match = _ADDED[smoothing]
            logs, used = logs + (math.log(match / total) if match else -math.inf), used + 1
        values.append(math.exp(logs / used + brevity))
    return values
