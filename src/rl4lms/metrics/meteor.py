"""METEOR: words aligned with a reference, weighted towards recall, less a penalty for changed order.

The definition is that of nltk's `meteor_score`, which HuggingFace's `evaluate` and the original RL4LMs use: Banerjee
and Lavie, "METEOR: An Automatic Metric for MT Evaluation" (2005), with the parameters of Lavie and Agarwal (2007).
Words are lower-cased and aligned in stages, each from the end of the text to its beginning: equal words, then equal
Porter stems, then WordNet synonyms (of the stems, as nltk does, so that words whose stem is no word have none). With m
aligned words of h in the text and r in the reference, in c chunks that stand in the same order in both,

    P = m / h,  R = m / r,  F = P R / (alpha P + (1 - alpha) R),  METEOR = F (1 - gamma (c / m) ** beta).

Of several references the best counts. It is not METEOR 1.5, the Java program behind published numbers of captioning,
which has other stages (paraphrases), weights for stages and function words, and tuned parameters.

Deviation: the words are those of `rl4lms.metrics.ptb.treebank_words`, nltk's `word_tokenize` without its model of
sentence ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

from rl4lms.metrics.nltk_parts import porter_stemmer
from rl4lms.metrics.ptb import treebank_words
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.wordnet import installed_wordnet
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option

Words = tuple[str, ...]
Synonyms = Callable[[str], frozenset[str]]


class MeteorExactStem:
    """METEOR without synonyms, in [0, 1] for each text under the key `meteor_exact_stem`. It needs no data.

    A text without words, a reference without words, and texts without a common word have the value 0.
    """

    higher_is_better = True
    needs_references = True
    key = "meteor_exact_stem"

    def __init__(
        self,
        alpha: Annotated[
            float, Option("weight of recall in the harmonic mean; precision has the rest", ge=0, le=1)
        ] = 0.9,
        beta: Annotated[float, Option("exponent of the fragmentation penalty", ge=0)] = 3.0,
        gamma: Annotated[float, Option("the largest fragmentation penalty", ge=0, le=1)] = 0.5,
    ) -> None:
        self._synonyms = self._find_synonyms()
        porter_stemmer()  # not in the first call, which a reward may have little time for
        self._alpha, self._beta, self._gamma = alpha, beta, gamma
        stages = "exact+stem+wordnet" if self.key == "meteor" else "exact+stem"
        self._watch = Watch(self.key, SPACES)
        self.signature = signature(
            self.key, stages=stages, alpha=f"{alpha:g}", beta=f"{beta:g}", gamma=f"{gamma:g}", tokenize="treebank"
        )

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references(self.key, references)
        self._watch.look(chain.from_iterable(references), treebank_words)
        pairs = zip(completions, references, strict=True)
        return {
            self.key: [
                max(self._value(*_analysed(text), *_analysed(other)) for other in texts) for text, texts in pairs
            ]
        }

    def _find_synonyms(self) -> Synonyms | None:
        return None

    def _value(self, words: Words, stems: Words, reference_words: Words, reference_stems: Words) -> float:
        aligned = [-1] * len(words)  # position in the reference
        used = [False] * len(reference_words)
        _align(words, reference_words, aligned, used)
        _align(stems, reference_stems, aligned, used)
        if self._synonyms is not None:
            _align_synonyms(stems, reference_stems, aligned, used, self._synonyms)
        matches = len(words) - aligned.count(-1)
        if not matches:
            return 0.0
        precision, recall = matches / len(words), matches / len(reference_words)
        mean = precision * recall / (self._alpha * precision + (1 - self._alpha) * recall)
        return mean * (1 - self._gamma * (_chunks(aligned) / matches) ** self._beta)


class Meteor(MeteorExactStem):
    """METEOR with all three stages, in [0, 1] for each text under the key `meteor`.

    A text without words, a reference without words, and texts without a common word have the value 0.

    Raises:
        MissingPartError: WordNet is not installed.
    """

    key = "meteor"

    def _find_synonyms(self) -> Synonyms | None:
        return installed_wordnet().synonyms


def _align(words: Words, reference: Words, aligned: list[int], used: list[bool]) -> None:
    """Give every free word, the last first, the last free equal word of the reference."""
    places: dict[str, list[int]] = {}
    for position, word in enumerate(reference):
        if not used[position]:
            places.setdefault(word, []).append(position)
    for position in range(len(words) - 1, -1, -1):
        if aligned[position] < 0 and (free := places.get(words[position])):
            aligned[position] = free.pop()
            used[aligned[position]] = True


def _align_synonyms(stems: Words, reference: Words, aligned: list[int], used: list[bool], synonyms: Synonyms) -> None:
    """Give every free stem, the last first, the last free stem of the reference that is one of its synonyms."""
    free = [position for position in range(len(reference) - 1, -1, -1) if not used[position]]
    for position in range(len(stems) - 1, -1, -1):
        if aligned[position] >= 0 or not free:
            continue
        known = synonyms(stems[position])
        found = next((place for place in free if reference[place] in known), -1)
        if found >= 0:
            aligned[position] = found
            used[found] = True
            free.remove(found)


def _chunks(aligned: list[int]) -> int:
    """Run of words that are neighbours in both texts."""
    chunks, before = 0, -2
    for place in aligned:
        if place >= 0 and place != before + 1:
            chunks += 1
        before = place if place >= 0 else -2
    return chunks


@lru_cache(maxsize=1 << 15)
def _analysed(text: str) -> tuple[Words, Words]:
    """Return the words of a text, lower-cased, and their stems."""
    words = tuple(word.lower() for word in treebank_words(text))
    return words, tuple(map(_stem, words))


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return str(porter_stemmer().stem(word))
