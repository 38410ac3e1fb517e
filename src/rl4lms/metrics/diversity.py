"""Lexical diversity of a set of texts, by the definitions of GEM-metrics, which the paper used.

Source: GEM-benchmark/GEM-metrics, `msttr.py` and `ngrams.py` (after van Miltenburg et al., 2018). Words are those of
nltk's `word_tokenize`, lower-cased, punctuation marks too, and the numbers those that GEM publishes for its n-grams.
Deviations: `-nopunct` leaves out every punctuation mark of Unicode and not those of ASCII only, nothing is rounded, and
two names: what GEM calls `mean_pred_length` is `mean_length` (and so on), what it calls `msttr-100_nopunct` is
`msttr-100-nopunct`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rl4lms.metrics.ptb import treebank_words
from rl4lms.metrics.support import signature
from rl4lms.metrics.words import Tokenizer, Watch, characters, is_punctuation, unicode_words
from rl4lms.plugins.options import Option
from rl4lms.stats import bootstrap_stderr
from rl4lms.types import CorpusValue

_WORD = re.compile(r"\w+|[^\w\s]")
_ORDERS = (1, 2, 3)
_NOPUNCT = "-nopunct"
_BLOCK = 1 << 14  # columns of resampled counts at a time: some tens of megabytes

Texts = list[list[str]]
Array = NDArray[Any]


class Diversity:
    """Corpus values over all completions; eight of them, or with `detail: all` 21 and the same 21 again without
    punctuation (`-nopunct`).

    For n = 1, 2, 3: `distinct-n` (different n-grams / n-grams), `vocab_size-n` (different n-grams), `unique-n` (n-grams
    that occur once), `entropy-n` (Shannon entropy of the n-grams, bits); for n = 2, 3: `cond_entropy-n` (of a word
    given the n - 1 before it, bits: -Σ p(xy) log2(p(xy) / p(x))); `msttr-<window>` (mean type-token ratio of
    consecutive segments of that many words of all texts in a row, an incomplete last segment left out); `total_length`,
    `mean_length`, `std_length`, `median_length`, `min_length`, `max_length` in words. The eight are distinct, unique
    and entropy for n = 1, 2, MSTTR and `mean_length`. What cannot be computed is left out: n-grams of texts that have
    none, MSTTR of fewer words than a segment.

    Standard errors are the standard deviation over sets of texts drawn with replacement (seeded), times √(n / (n - 1))
    for n texts (`rl4lms.stats.bootstrap_stderr`), none for a single text. A drawn set repeats some texts, so its values
    of `vocab_size`, `unique`, `distinct` and the entropies are lower on average than that of the texts themselves, and
    it never goes beyond their shortest and longest: for these keys the error is a measure of spread, not half of an
    interval around the value.
    """

    def __init__(
        self,
        window: Annotated[int, Option("segment length of MSTTR, in words", ge=1)] = 100,
        resamples: Annotated[int, Option("bootstrap samples for the standard errors; 0: none", ge=0)] = 200,
        tokenizer: Annotated[
            Literal["regex", "treebank", "unicode", "characters"],
            Option("treebank: GEM's; regex: letters, or one mark; unicode: words of any script, no marks"),
        ] = "treebank",
        detail: Annotated[
            Literal["standard", "all"], Option("eight keys, or all 42 that the original library logged")
        ] = "standard",
    ) -> None:
        self._window, self._resamples, self._detail = window, resamples, detail
        self._standard = {f"{name}-{n}" for name in ("distinct", "unique", "entropy") for n in (1, 2)} | {
            f"msttr-{window}",
            "mean_length",
        }
        per_order = [f"{name}-{n}" for name in ("distinct", "vocab_size", "unique", "entropy") for n in _ORDERS]
        keys = [*per_order, "cond_entropy-2", "cond_entropy-3", f"msttr-{window}"]
        self.higher_is_better = dict.fromkeys([key + suffix for suffix in ("", _NOPUNCT) for key in keys], True)
        self.signature = signature("diversity", tok=tokenizer, window=window)
        self._words = _TOKENIZERS[tokenizer]
        self._watch = Watch("diversity", "set tokenizer: unicode or characters")

    def __call__(self, completions: Sequence[str], **columns: Any) -> dict[str, CorpusValue]:
        self._watch.look(completions, self._words)
        texts = [list(self._words(text)) for text in completions]
        # row 0 is the texts themselves, every other row how often each is drawn
        n = len(texts)
        resamples = self._resamples if n > 1 and self._resamples > 1 else 0
        order = np.random.default_rng(0).integers(n, size=(resamples, n))
        drawn = [np.bincount(row, minlength=n) for row in order]
        weights = np.array([np.ones(n, dtype=np.int64), *drawn])
        values: dict[str, CorpusValue] = {}
        variants = {"": texts}
        if self._detail == "all":
            variants[_NOPUNCT] = [[word for word in words if not is_punctuation(word)] for words in texts]
        for suffix, variant in variants.items():
            found = dict(_ngram_values(variant, weights))
            found |= _msttr(variant, order, self._window)
            found |= _lengths(variant, order)
            kept = (
                found
                if self._detail == "all"
                else {key: samples for key, samples in found.items() if key in self._standard}
            )
            values |= {key + suffix: _value(samples, n) for key, samples in kept.items()}
        return values


def _value(samples: Array, n: int) -> CorpusValue:
    """Make a number of n texts of the value itself, and then those of resamples, NaN where a resample has none."""
    return CorpusValue(float(samples[0]), bootstrap_stderr(samples[1:][~np.isnan(samples[1:])], n))


def _ngram_values(texts: Texts, weights: Array) -> Iterator[tuple[str, Array]]:
    """Everything about n-grams, for each row of weights."""
    shorter: dict[str, Array] = {}
    ends = np.zeros(len(weights))
    for n in _ORDERS:
        sums, next_ends = _ngram_sums(texts, n, weights)
        totals = sums["total"]
        if not totals[0]:
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            yield f"distinct-{n}", sums["different"] / totals
            yield f"vocab_size-{n}", _where(totals, sums["different"])
            yield f"unique-{n}", _where(totals, sums["once"])
            # log2 T - Σ c log2 c / T; rounding leaves a little less than 0 where there is one n-gram only
            entropy = np.log2(totals) - sums["c log c"] / totals
            yield f"entropy-{n}", np.maximum(entropy, 0)
            if n > 1:
                # Σ c(xy) log2 c(x): contexts are all (n-1)-grams but the last of each text
                contexts = shorter["c log c"] - ends
                conditional = np.log2(totals) - np.log2(shorter["total"]) + (contexts - sums["c log c"]) / totals
                yield f"cond_entropy-{n}", _where(totals, conditional)
        shorter, ends = sums, next_ends


def _ngram_sums(texts: Texts, n: int, weights: Array) -> tuple[dict[str, Array], Array]:
    """Sum over the n-grams, with counts by weights (R, B): their total, how many occur, how many once, and Σ c log2 c.

    Also, for the last n-gram of each text: Σ weight log2 c. n-grams that occur in the same texts equally often have the
    same counts in every row, and are counted once for all of them; most n-grams are found in one text only.
    """
    where: dict[tuple[str, ...], list[int]] = {}
    last: list[tuple[str, ...] | None] = []
    for number, words in enumerate(texts):
        gram = None
        for gram in zip(*(words[shift:] for shift in range(n)), strict=False):
            where.setdefault(gram, []).append(number)
        last.append(gram)
    alike = Counter(map(tuple, where.values()))
    columns = {pattern: column for column, pattern in enumerate(alike)}
    sizes = np.fromiter(map(len, alike), dtype=np.int64, count=len(alike))
    rows = np.fromiter(chain.from_iterable(alike), dtype=np.int64, count=int(sizes.sum()))
    counts = sparse.csc_matrix(
        (np.ones(len(rows)), rows, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(texts), len(alike))
    )
    multiplicity = np.fromiter(alike.values(), dtype=np.float64, count=len(alike))
    ending = [(number, columns[tuple(where[gram])]) for number, gram in enumerate(last) if gram is not None]
    sums = {name: np.zeros(len(weights)) for name in ("total", "different", "once", "c log c")}
    ends = np.zeros(len(weights))
    for start in range(0, len(alike), _BLOCK):
        block, many = counts[:, start : start + _BLOCK], multiplicity[start : start + _BLOCK]
        resampled = np.rint((block.T @ weights.T).T).astype(np.int64)
        logs = np.log2(np.maximum(np.arange(resampled.max(initial=0) + 1), 1))
        sums["total"] += resampled @ many
        sums["different"] += (resampled > 0) @ many
        sums["once"] += (resampled == 1) @ many
        sums["c log c"] += (resampled * logs[resampled]) @ many
        inside = [(number, column - start) for number, column in ending if start <= column < start + _BLOCK]
        if inside:
            numbers, own = np.array(inside).T
            ends += (weights[:, numbers] * logs[resampled[:, own]]).sum(axis=1)
    return sums, ends


def _msttr(texts: Texts, order: Array, window: int) -> dict[str, Array]:
    """Of the texts, then of each resample with its texts in the order in which they were drawn."""
    ids: dict[str, int] = {}
    running = np.array([ids.setdefault(word, len(ids)) for word in chain.from_iterable(texts)], dtype=np.int32)
    if len(running) < window:
        return {}
    pieces = np.split(running, np.cumsum([len(words) for words in texts])[:-1])
    ratios = [_segment_ratio(running, window)]
    ratios += [_segment_ratio(np.concatenate([pieces[number] for number in row]), window) for row in order]
    return {f"msttr-{window}": np.array(ratios)}


def _segment_ratio(words: Array, window: int) -> float:
    segments = len(words) // window
    if not segments:
        return math.nan
    ordered = np.sort(words[: segments * window].reshape(segments, window), axis=1)
    return (segments + int((ordered[:, 1:] != ordered[:, :-1]).sum())) / (segments * window)


def _lengths(texts: Texts, order: Array) -> dict[str, Array]:
    lengths = np.array([len(words) for words in texts], dtype=np.float64)
    samples = np.concatenate([lengths[None], lengths[order]])
    measures: dict[str, Callable[..., Array]] = {
        "total": np.sum,
        "mean": np.mean,
        "std": np.std,
        "median": np.median,
        "min": np.min,
        "max": np.max,
    }
    return {f"{name}_length": measure(samples, axis=1) for name, measure in measures.items()}


def _where(totals: Array, values: Array) -> Array:
    """NaN for resamples without any n-gram."""
    return np.where(totals > 0, values, np.nan)


def _treebank(text: str) -> list[str]:
    return [word.lower() for word in treebank_words(text)]  # lower-cased last: case tells where sentences end


def _regex(text: str) -> list[str]:
    return _WORD.findall(text.lower())


_TOKENIZERS: dict[str, Tokenizer] = {
    "treebank": _treebank,
    "regex": _regex,
    "unicode": unicode_words,
    "characters": characters,
}
