"""ROUGE-1, -2, -L and -Lsum with several references.

The definitions are those of the `rouge-score` package (itself after ROUGE-1.5.5; Lin, 2004): the text is lower-cased,
everything but letters a-z and digits separates words, words longer than three letters are stemmed. Values are F1, and
precision and recall where asked for; of several references the one with the best F1 counts (or their mean), for each
kind of ROUGE on its own. ROUGE-Lsum takes lines as
sentences, so that it is ROUGE-L where no text has several lines; `sentences: rules` finds sentences in them. A text
without any such word scores 0, also against a reference without one: any text in another script than the Latin one,
for which `tokenizer` has others. Both are told by a warning.

What makes it faster than the package: stems are remembered by word and everything about a reference by its text, and
the longest common subsequence is found with one big integer for a row of the table.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache, reduce
from itertools import chain
from operator import itemgetter, or_
from typing import Annotated, Any, Literal, NamedTuple

from rl4lms.metrics.nltk_parts import porter_stemmer
from rl4lms.metrics.sentences import sentences as split_sentences
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import Tokenizer, Watch, characters, check_tokenizer, unicode_words
from rl4lms.metrics.words import tokenizer as named_tokenizer
from rl4lms.plugins.options import Option

_log = logging.getLogger(__name__)

KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_WORD = re.compile(r"[a-z0-9]+")


Stemmer = Annotated[bool, Option("compare Porter stems (English) of words longer than three letters")]
References = Annotated[Literal["max", "mean"], Option("of several references the best counts, or their mean")]
WordsOf = Annotated[
    str,
    Option(
        "latin: a-z and 0-9 only, as rouge-score; unicode: words of any script; characters; or path/to/file.py:name, a "
        "function from a text to its words"
    ),
]
Sentences = Annotated[
    Literal["lines", "rules"], Option("of ROUGE-Lsum: lines, as rouge-score; or found in each line by rules")
]


Measure = Literal["f", "precision", "recall"]
#: F1, precision, recall of a text and a reference.
Score = tuple[float, float, float]
_NOTHING: Score = (0.0, 0.0, 0.0)
_SUFFIXES: dict[str, str] = {"f": "", "precision": "_precision", "recall": "_recall"}


class _Rouge:
    """What the two have in common."""

    name: str
    higher_is_better = True
    needs_references = True

    def __init__(self, stemmer: bool, multi_reference: str, tokenizer: str, sentences: str, **shown: object) -> None:
        lines = _lines if sentences == "lines" else split_sentences
        self._words = Words(named_tokenizer(tokenizer, TOKENIZERS), stemmer, lines)
        if stemmer:
            porter_stemmer()  # not in the first call, which a reward may have little time for
        self._over_references = _OVER_REFERENCES[multi_reference]
        self.signature = signature(self.name, stemmer=stemmer, refs=multi_reference, tok=tokenizer, **shown)
        self._watch = watch(self.name)

    @staticmethod
    def check_options(tokenizer: str) -> None:
        """Refuse a tokenizer that there is not."""
        check_tokenizer(tokenizer, TOKENIZERS)

    def _given(self, references: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        checked = check_references(self.name, references)
        self._watch.look(chain.from_iterable(checked), self._words.tokenizer)
        return checked


class Rouge(_Rouge):
    """F1 in [0, 1] under the keys `rouge1`, `rouge2`, `rougeL` and `rougeLsum`; precision and recall, where `report`
    names them, under `rouge1_precision`, `rouge1_recall` and so on.

    Precision and recall are those of the reference whose F1 is best, as in rouge-score, or the mean over references.
    """

    name = "rouge"

    def __init__(
        self,
        stemmer: Stemmer = True,
        multi_reference: References = "max",
        tokenizer: WordsOf = "latin",
        sentences: Sentences = "lines",
        report: Annotated[
            list[Measure],
            Option(
                "f (F1), precision (of the text's words) and recall (of the reference's), any of them", min_length=1
            ),
        ] = ["f"],  # noqa: B006 - never changed
    ) -> None:
        super().__init__(stemmer, multi_reference, tokenizer, sentences, lsum=sentences)
        self._report = [place for place, measure in enumerate(_SUFFIXES) if measure in report]
        self._told = sentences != "lines"

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = self._given(references)
        self._tell_of_lines(completions, references)
        rows = []
        for completion, texts in zip(completions, references, strict=True):
            candidate = prepared(completion, self._words)
            scored = []
            for text in texts:
                reference = prepared_reference(text, self._words)
                one, two, longest = _scores(reference, candidate)
                scored.append((one, two, longest, _lsum(reference, candidate, longest)))
            rows.append([self._over_references(kind) for kind in zip(*scored, strict=True)])
        suffixes = list(_SUFFIXES.values())
        return {
            key + suffixes[measure]: [row[kind][measure] for row in rows]
            for measure in self._report
            for kind, key in enumerate(KEYS)
        }

    def _tell_of_lines(self, completions: Sequence[str], references: Sequence[tuple[str, ...]]) -> None:
        """Say once that ROUGE-Lsum is ROUGE-L: no text has several lines, and a reference has several sentences."""
        if self._told or any("\n" in text.strip() for text in chain(completions, *references)):
            return
        if any(_has_sentences(text) for text in chain(*references)):
            self._told = True
            _log.warning(
                "rouge: rougeLsum is rougeL here, because it takes lines as sentences and no text has several lines; "
                "set sentences: rules to find the sentences in a line"
            )


class RougeCombined(_Rouge):
    """Mean of ROUGE-1, -2 and -L under the key `rouge_combined`, in [0, 1], as in the original library.

    Of several references each of the three takes its best (or mean) before the three are averaged.
    """

    name = "rouge_combined"

    def __init__(
        self, stemmer: Stemmer = True, multi_reference: References = "max", tokenizer: WordsOf = "latin"
    ) -> None:
        super().__init__(stemmer, multi_reference, tokenizer, "lines")

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = self._given(references)
        values = []
        for completion, texts in zip(completions, references, strict=True):
            candidate = prepared(completion, self._words)
            scored = [_scores(prepared_reference(text, self._words), candidate) for text in texts]
            values.append(sum(self._over_references(kind)[0] for kind in zip(*scored, strict=True)) / 3)
        return {"rouge_combined": values}


class Prepared:
    """A text as lines of words, and what is computed from them when first needed.

    Attributes:
        lines: those that have words.
        words: of all lines.
    """

    def __init__(self, lines: Iterable[list[str]]) -> None:
        self.lines = [line for line in lines if line]
        self.words = self.lines[0] if len(self.lines) == 1 else list(chain.from_iterable(self.lines))

    @cached_property
    def unigrams(self) -> Counter[Any]:
        return Counter(self.words)

    @cached_property
    def bigrams(self) -> Counter[Any]:
        return Counter(zip(self.words, self.words[1:], strict=False))

    @cached_property
    def places(self) -> dict[str, int]:
        return places_of(self.words)

    @cached_property
    def places_in_lines(self) -> list[dict[str, int]]:
        return [places_of(line) for line in self.lines]


class Words(NamedTuple):
    """How a text becomes lines of words.

    Attributes:
        tokenizer: from a line to its words.
        stemmer: whether words are replaced by their stems.
        lines: from a text to its lines, or sentences.
    """

    tokenizer: Tokenizer
    stemmer: bool
    lines: Callable[[str], list[str]]


def prepared(text: str, how: Words) -> Prepared:
    """Return the words of a text, or their stems."""
    lines = (list(how.tokenizer(line)) for line in how.lines(text))
    return Prepared([_stem(word) for word in line] for line in lines) if how.stemmer else Prepared(lines)


@lru_cache(maxsize=1 << 12)
def prepared_reference(text: str, how: Words) -> Prepared:
    """Return the same, kept: references come back in every iteration."""
    return prepared(text, how)


def watch(metric: str) -> Watch:
    """Return what tells of texts whose words the tokenizer loses."""
    return Watch(metric, "set tokenizer: unicode, characters, or a function of your own (path/to/file.py:name)")


def latin_words(text: str) -> list[str]:
    """Return the words of rouge-score: a-z and digits."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=1 << 12)
def _has_sentences(text: str) -> bool:
    return len(split_sentences(text)) > 1


def _lines(text: str) -> list[str]:
    return text.split("\n")


TOKENIZERS: dict[str, Tokenizer] = {"latin": latin_words, "unicode": unicode_words, "characters": characters}


def places_of(words: Sequence[str]) -> dict[str, int]:
    """Return where each word stands: bit i of its integer is set where it is word i."""
    places: dict[str, int] = {}
    bit = 1
    for word in words:
        places[word] = places.get(word, 0) | bit
        bit <<= 1
    return places


def lcs_length(size: int, places: dict[str, int], candidate: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel: one big integer is a row of the table (Hyyrö, 2004).

    Args:
        size, places: of the other text.
        candidate: one text.
    """
    row = full = (1 << size) - 1
    for word in candidate:
        if word in places:
            matches = row & places[word]
            row = (row + matches | row - matches) & full
    return size - row.bit_count()


def union_hits(reference: Prepared, candidate: Prepared) -> int:
    """Words of the reference that lie on a longest common subsequence of its line with any line of the candidate.

    No word counts more often than either text has it.
    """
    if len(reference.lines) == len(candidate.lines) == 1:
        # one subsequence, whose words both texts have as often as it does: nothing to unite, nothing to clip
        return lcs_length(len(reference.words), reference.places, candidate.words)
    left = reference.unigrams & candidate.unigrams
    hits = 0
    for line, places in zip(reference.lines, reference.places_in_lines, strict=True):
        union = reduce(or_, (_lcs_positions(line, places, other) for other in candidate.lines), 0)
        while union:
            lowest = union & -union
            word = line[lowest.bit_length() - 1]
            if left[word]:
                left[word] -= 1
                hits += 1
            union ^= lowest
    return hits


def _lcs_positions(target: list[str], places: dict[str, int], candidate: list[str]) -> int:
    """Bits of the words of `target` on one longest common subsequence: read from the end, a word of `target` is given
    up first on ties.
    """
    row = full = (1 << len(target)) - 1
    rows = []
    for word in candidate:
        if word in places:
            matches = row & places[word]
            row = (row + matches | row - matches) & full
        rows.append(row)
    if row == full:
        return 0
    found = 0
    i, j = len(target), len(candidate)
    while i and j:
        if target[i - 1] == candidate[j - 1]:
            i, j = i - 1, j - 1
            found |= 1 << i
        elif rows[j - 1] >> (i - 1) & 1:  # the prefix is as good without word i
            i -= 1
        else:
            j -= 1
    return found


def _scores(reference: Prepared, candidate: Prepared) -> tuple[Score, Score, Score]:
    """ROUGE-1, -2, -L."""
    size, own_size = len(reference.words), len(candidate.words)
    return (
        _score(_common(reference.unigrams, candidate.unigrams), size, own_size),
        _score(_common(reference.bigrams, candidate.bigrams), size - 1, own_size - 1),
        _score(lcs_length(size, reference.places, candidate.words), size, own_size),
    )


def _lsum(reference: Prepared, candidate: Prepared, rouge_l: Score) -> Score:
    if len(reference.lines) == len(candidate.lines) == 1:
        return rouge_l  # see `union_hits`
    return _score(union_hits(reference, candidate), len(reference.words), len(candidate.words))


def _common(counts: Counter[Any], other: Counter[Any]) -> int:
    return sum([min(count, counts[gram]) for gram, count in other.items() if gram in counts])


def _score(hits: int, target_size: int, candidate_size: int) -> Score:
    if not hits:
        return _NOTHING
    precision, recall = hits / candidate_size, hits / target_size
    return 2 * precision * recall / (precision + recall), precision, recall


def _best(scores: Sequence[Score]) -> Score:
    return max(scores, key=itemgetter(0))


def _mean(scores: Sequence[Score]) -> Score:
    f, precision, recall = (sum(values) / len(scores) for values in zip(*scores, strict=True))
    return f, precision, recall


_OVER_REFERENCES: dict[str, Callable[[Sequence[Score]], Score]] = {"max": _best, "mean": _mean}


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    # nltk's own extensions included, as in rouge-score
    return str(porter_stemmer().stem(word)) if len(word) > 3 else word
