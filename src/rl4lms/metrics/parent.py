"""PARENT: precision against references and a table, recall of both.

Source: Dhingra et al., "Handling Divergent Reference Texts when Evaluating Table-to-Text Generation" (2019), with the
word-overlap model of entailment, and the authors' code (google-research/language, table_text_eval), whose numbers these
are. For n-grams of 1 to 4 words:

* An n-gram is entailed by the table to the degree w that its words occur among the table's values.
* Precision: an n-gram of the text counts 1 as often as the reference has it, and w beyond.
* Recall of the reference: the share of its n-grams, weighted by w, that the text has; what the table does not entail is
  not expected.
* Recall of the table: the mean over its entries of the share of the value's words that are in the text in the same
  order (LCS).

Precision and recall of the reference are geometric means over n, with 1e-5 for 0 where n > 1 (so that a text of fewer
than four words has little precision, whatever it says). Recall is the geometric mean of the two recalls with the
weights `recall_weight` and its rest; PARENT is the F1 of precision and recall. Of several references the one with the
best F1 counts. A text can score better than its reference does: one that repeats the table where the reference mentions
nothing of it.

Deviation: with the default tokenizer, punctuation is split from words first, as ToTTo's version of the code does, since
models write running text; `tokenize: whitespace` is the authors'.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from rl4lms.errors import DataError, nth_row
from rl4lms.metrics.rouge import lcs_length, places_of
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option

MAX_ORDER = 4
SMOOTHING = 1e-5

_TOKENIZE_13A = Tokenizer13a()

Words = tuple[str, ...]
Ngrams = tuple[Counter[Words], ...]


class Score(NamedTuple):
    """Precision, recall and F1 of one text."""

    precision: float
    recall: float
    f: float


class Table(NamedTuple):
    """What PARENT reads of a table: all its words, for precision, and the values whose mention counts as recall."""

    vocabulary: frozenset[str]
    values: tuple[Words, ...]


class Parent:
    """PARENT, in [0, 1] for each text: `parent` (F1), `parent_precision` and `parent_recall`.

    A text without words has the precision 0. Entries without words are left out; an empty table entails nothing, and
    the recall against it is that of the reference.

    A table is a list of [attribute, value] pairs, or of [head, relation, tail] triples, of which head and tail are
    the value. `recall_weight` is 1 - lambda in the paper.
    """

    higher_is_better = True
    needs_references = True
    reward_key = "parent"

    def __init__(
        self,
        column: Annotated[str, Option("data column: lists of [attribute, value]", min_length=1)] = "table",
        recall_weight: Annotated[
            float | None,
            Option(
                "of the references in recall; null: chosen for each reference by how much of the table it mentions",
                ge=0,
                le=1,
            ),
        ] = None,
        tokenize: Annotated[
            Literal["13a", "whitespace"], Option("13a: punctuation is split from words; whitespace: tokenised text")
        ] = "13a",
    ) -> None:
        self._column, self._recall_weight = column, recall_weight
        self._words = words_13a if tokenize == "13a" else words_between_spaces
        self._watch = Watch("parent", SPACES)
        weight = "auto" if recall_weight is None else f"{recall_weight:g}"
        self.signature = signature("parent", tokenize=tokenize, entailment="overlap", recall_weight=weight)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference, there is no column of tables, or a table is no list of pairs or triples
                of texts.
        """
        references = check_references("parent", references)
        self._watch.look(chain.from_iterable(references), self._words)
        if self._column not in columns:
            raise DataError(
                f"parent needs the data column {self._column!r} with tables; name yours with the option column"
            )
        scores = [
            best_score(
                self._words(completion),
                [self._words(text) for text in texts],
                self._table(row, table),
                self._recall_weight,
            )
            for row, (completion, texts, table) in enumerate(
                zip(completions, references, columns[self._column], strict=True)
            )
        ]
        return {
            "parent": [score.f for score in scores],
            "parent_precision": [score.precision for score in scores],
            "parent_recall": [score.recall for score in scores],
        }

    def _table(self, row: int, entries: Any) -> Table:
        values = []
        for entry in entries if isinstance(entries, list | tuple) else (None,):
            if (
                not isinstance(entry, list | tuple)
                or len(entry) not in (2, 3)
                or not all(isinstance(part, str) for part in entry)
            ):
                raise DataError(
                    f"parent: {self._column} of {nth_row(row)} is no list of [attribute, value] pairs or [head, "
                    f"relation, tail] triples of texts"
                )
            values.append(self._words(entry[1]) if len(entry) == 2 else self._words(entry[0]) + self._words(entry[2]))
        return table_of(values)


def table_of(values: Iterable[Words]) -> Table:
    """Return a table all of whose values count for precision and recall."""
    kept = tuple(value for value in values if value)
    return Table(frozenset(word for value in kept for word in value), kept)


def best_score(text: Words, references: Sequence[Words], table: Table, recall_weight: float | None = None) -> Score:
    """Return the score against the reference with the best F1, the first of equals.

    Args:
        text, references: words.
        table: what precision and recall are measured against, too.
        recall_weight: of the references in recall; None: see `Parent`.
    """
    ngrams = _ngrams(text)
    of_table = _mentioned(table, text)
    scores = []
    for reference in references:
        weight = _mentioned(table, reference) if recall_weight is None else recall_weight
        scores.append(_score(ngrams, _ngrams(reference), table, of_table, weight if table.values else 1.0))
    return max(scores, key=lambda score: score.f)


def _score(text: Ngrams, reference: Ngrams, table: Table, of_table: float, weight: float) -> Score:
    pairs = list(zip(text, reference, strict=True))
    precision = _smoothed_mean([_precision(mine, other, table.vocabulary) for mine, other in pairs])
    of_reference = _smoothed_mean([_recall(mine, other, table.vocabulary) for mine, other in pairs]) or SMOOTHING
    recall = of_reference**weight * (of_table or SMOOTHING) ** (1 - weight)
    return Score(precision, recall, 2 * precision * recall / (precision + recall + 1e-8))


def _precision(text: Counter[Words], reference: Counter[Words], vocabulary: frozenset[str]) -> float:
    if not text:
        return 0.0
    entailed = 0.0
    for ngram, count in text.items():
        beyond = max(count - reference[ngram], 0)
        entailed += count - beyond + (beyond * _entailment(ngram, vocabulary) if beyond else 0)
    return entailed / text.total()


def _recall(text: Counter[Words], reference: Counter[Words], vocabulary: frozenset[str]) -> float:
    found = expected = 0.0
    for ngram, count in reference.items():
        weight = _entailment(ngram, vocabulary)
        expected += weight * count
        found += weight * min(count, text[ngram])
    return found / expected if expected else 1.0


def _entailment(ngram: Words, vocabulary: frozenset[str]) -> float:
    return sum(word in vocabulary for word in ngram) / len(ngram)


def _smoothed_mean(values: list[float]) -> float:
    """Geometric mean over n; 0 where not even a single word counts."""
    if not values[0]:
        return 0.0
    return math.exp(math.fsum(math.log(value or SMOOTHING) for value in values) / MAX_ORDER)


def _mentioned(table: Table, text: Words) -> float:
    """Recall of the table's values."""
    if not table.values:
        return 0.0
    return sum(lcs_length(len(value), _places(value), text) / len(value) for value in table.values) / len(table.values)


@lru_cache(maxsize=1 << 14)
def _places(value: Words) -> dict[str, int]:
    return places_of(value)


@lru_cache(maxsize=1 << 12)
def _ngrams(words: Words) -> Ngrams:
    return tuple(Counter(zip(*(words[shift:] for shift in range(n)), strict=False)) for n in range(1, MAX_ORDER + 1))


@lru_cache(maxsize=1 << 16)
def words_13a(text: str) -> Words:
    """Lower-cased words, with punctuation split off as sacrebleu does."""
    return tuple(_TOKENIZE_13A(text.strip().lower()).split())


def words_between_spaces(text: str) -> Words:
    """Lower-cased words between white space."""
    return tuple(text.lower().split())
