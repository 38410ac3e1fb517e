"""ROUGE-1, -2, -L and -Lsum with several references.

The definitions are those of the `rouge-score` package (itself after ROUGE-1.5.5; Lin, 2004): the text is lower-cased, everything but
letters a-z and digits separates words, words longer than three letters are stemmed. Values are F1; of several references the best
counts, for each kind of ROUGE on its own. ROUGE-Lsum takes lines as sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nltk.stem.porter import PorterStemmer

from rl4lms.errors import DataError

KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_WORD = re.compile(r"[a-z0-9]+")
_STEMMER = PorterStemmer()  # nltk's own extensions included, as in rouge-score


class Rouge:
    """F1 in [0, 1] under the keys `rouge1`, `rouge2`, `rougeL` and `rougeLsum`, each the maximum over the references.

    Args:
        stemmer: whether to compare stems.
    """

    higher_is_better = True

    def __init__(self, stemmer: bool = True) -> None:
        self._stemmer = stemmer

    def __call__(self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any) -> dict[str, list[float]]:
        """
        Raises:
            DataError: a row has no reference.
        """
        for row, texts in enumerate(references):
            if not texts:
                raise DataError(f"rouge compares with references, and row {row} has none")
        columns_of_values: dict[str, list[float]] = {key: [] for key in KEYS}
        for completion, texts in zip(completions, references, strict=True):
            prediction = self._lines(completion)
            scored = [_scores(self._lines(reference), prediction) for reference in texts]
            for key, values in columns_of_values.items():
                values.append(max(values_of_one[key] for values_of_one in scored))
        return columns_of_values

    def _lines(self, text: str) -> list[list[str]]:
        """The words of every non-empty line."""
        return [[_stem(word) if self._stemmer else word for word in _WORD.findall(line)] for line in text.lower().split("\n") if line]


def _scores(reference: list[list[str]], prediction: list[list[str]]) -> dict[str, float]:
    target, candidate = [w for line in reference for w in line], [w for line in prediction for w in line]
    lengths = len(target), len(candidate)
    return {
        "rouge1": _ngram_f1(target, candidate, 1),
        "rouge2": _ngram_f1(target, candidate, 2),
        "rougeL": _f1(_lcs_length(target, candidate), *lengths),
        "rougeLsum": _f1(_union_hits(reference, prediction), *lengths),
    }


def _f1(hits: int, target_size: int, candidate_size: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / candidate_size, hits / target_size
    return 2 * precision * recall / (precision + recall)


def _ngram_f1(target: list[str], candidate: list[str], n: int) -> float:
    one, other = (Counter(zip(*(words[shift:] for shift in range(n)), strict=False)) for words in (target, candidate))
    return _f1((one & other).total(), one.total(), other.total())


def _lcs_length(target: list[str], candidate: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel: one big integer is a row of the table (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for position, word in enumerate(target):
        places[word] = places.get(word, 0) | 1 << position
    full = (1 << len(target)) - 1
    row = full
    for word in candidate:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(target) - row.bit_count()


def _union_hits(reference: list[list[str]], prediction: list[list[str]]) -> int:
    """Words of the reference that lie on a longest common subsequence of its line with any line of the prediction.

    No word counts more often than either text has it.
    """
    left = Counter(w for line in reference for w in line) & Counter(w for line in prediction for w in line)
    hits = 0
    for line in reference:
        union: set[int] = set().union(*(_lcs_positions(line, other) for other in prediction))
        for position in sorted(union):
            if left[line[position]]:
                left[line[position]] -= 1
                hits += 1
    return hits


def _lcs_positions(target: list[str], candidate: list[str]) -> list[int]:
    """Positions in `target` of one longest common subsequence: read from the end, a word of `target` is given up first on ties."""
    table = [[0] * (len(candidate) + 1)]
    for word in target:
        above, row = table[-1], [0]
        for column, other in enumerate(candidate):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
        table.append(row)
    positions = []
    i, j = len(target), len(candidate)
    while i and j:
        if target[i - 1] == candidate[j - 1]:
            i, j = i - 1, j - 1
            positions.append(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return positions


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return _STEMMER.stem(word) if len(word) > 3 else word
