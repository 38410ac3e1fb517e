"""Local recall: how many of the words that people agree on a text has (van Miltenburg et al., 2018; GEM-metrics)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Literal

from rl4lms.metrics.nltk_parts import word_tokenizer
from rl4lms.metrics.ptb import treebank_words
from rl4lms.metrics.sums import corpus_value, ratio
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import Tokenizer, Watch, characters, is_punctuation, unicode_words
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue


class LocalRecall:
    """Share of the words of just k references of a row that its text has, in [0, 1]: `local_recall-1` (words of a
    single reference) to `local_recall-<N>` (words of all N), over all rows; `sentence_local_recall-k` of each text.

    Words are lower-cased, each counts once in a text, punctuation does not, words such as articles do. A row none of
    whose words stands in just k references has no value for k; where no row has one the key is missing, for which
    GEM-metrics says 0. Deviation from the paper: it takes content words only.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self,
        tokenizer: Annotated[
            Literal["treebank", "unicode", "characters"],
            Option("treebank: GEM's; unicode: words of any script; characters"),
        ] = "treebank",
    ) -> None:
        self._words = _TOKENIZERS[tokenizer]
        if tokenizer == "treebank":
            word_tokenizer()  # not in the first call, which a reward may have little time for
        self._watch = Watch("local_recall", "set tokenizer: unicode or characters")
        self.signature = signature("local_recall", tok=tokenizer)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, CorpusValue | list[float | None]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("local_recall", references)
        self._watch.look(chain.from_iterable(references), self._words)
        rows = [
            self._counts(set(_kept(self._words(text))), _importance(self._words, texts))
            for text, texts in zip(completions, references, strict=True)
        ]
        values: dict[str, CorpusValue | list[float | None]] = {}
        for k in range(1, max(map(len, references)) + 1):
            counts = [row.get(k, (0, 0)) for row in rows]
            if of_rows := sum(words > 0 for _, words in counts):
                values[f"local_recall-{k}"] = corpus_value(counts, ratio, of_rows)
                values[f"sentence_local_recall-{k}"] = [hits / words if words else None for hits, words in counts]
        return values

    @staticmethod
    def _counts(words: set[str], importance: dict[int, frozenset[str]]) -> dict[int, tuple[int, int]]:
        """Return for each k how many of the words of k references a text has, and how many they are."""
        return {k: (len(words & wanted), len(wanted)) for k, wanted in importance.items()}


@lru_cache(maxsize=1 << 12)
def _importance(words: Tokenizer, texts: tuple[str, ...]) -> dict[int, frozenset[str]]:
    """Return for each k the words that k of the references have."""
    how_many = Counter(chain.from_iterable(set(_kept(words(text))) for text in texts))
    return {k: frozenset(w for w, count in how_many.items() if count == k) for k in set(how_many.values())}


def _kept(words: Iterable[str]) -> list[str]:
    return [word for word in words if not is_punctuation(word)]


def _treebank(text: str) -> list[str]:
    return [word.lower() for word in treebank_words(text)]  # lower-cased last: case tells where sentences end


_TOKENIZERS: dict[str, Tokenizer] = {"treebank": _treebank, "unicode": unicode_words, "characters": characters}
