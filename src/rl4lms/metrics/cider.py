"""CIDEr and CIDEr-D: how much a text is like its references in the n-grams that are rare elsewhere.

Source: Vedantam, Zitnick and Parikh, "CIDEr: Consensus-based Image Description Evaluation" (2015), section 4 for CIDEr
and section 6 for CIDEr-D; the numbers are those of the authors' code (`coco-caption`). There, in pycocoevalcap, in
nlg-eval and in the original RL4LMs, what is called "CIDEr" is CIDEr-D.

Both are 10 times the mean over n = 1..4 of the similarity of two tf-idf vectors of n-grams, averaged over the
references. An n-gram that d of the N documents of the corpus contain (a document is the references of one sample) has
the weight log N - log max(d, 1): 0 where every document contains it, log N where none does. CIDEr takes the cosine.
CIDEr-D counts an n-gram no more often than the reference has it, and multiplies by a Gaussian of the difference in
length.

Deviations: the paper stems words, the authors' code and this one do not; the code takes frequencies from the references
of the texts that happen to be measured together, here they come from a fixed corpus, so that a text's value does not
depend on other texts.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.ptb import ptb_words
from rl4lms.metrics.support import CORPUS, check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option

# Vectors of this many reference texts are kept: some kilobytes each.
_KEPT = 1 << 14

Ngram = tuple[str, ...]


class _Vector(NamedTuple):
    """tf-idf of a text: a mapping and its Euclidean norm for every n, and the length in words."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


@dataclass(eq=False)
class Cider:
    """CIDEr, in [0, 10] for each text under the key `cider`.

    Texts without words, and references without words, have the value 0; so has everything where no n-gram tells
    documents apart.
    """

    higher_is_better = True
    needs_references = True
    key = "cider"

    corpus: Annotated[str, Option(CORPUS, min_length=1)] = "train"
    max_n: Annotated[int, Option("n-grams up to this length", ge=1, le=9)] = 4
    tokenize: Annotated[
        Literal["ptb", "whitespace"],
        Option("ptb: as in COCO captioning; whitespace: as in nlg-eval, where case counts"),
    ] = "ptb"

    def __post_init__(self) -> None:
        self._words: Callable[[str], Sequence[str]] = ptb_words if self.tokenize == "ptb" else str.split
        self._watch = Watch(self.key, SPACES)
        self._documents = 0
        self._fitted: dict[str, object] = {}

    @property
    def signature(self) -> str:
        """With name, size and hash of the corpus."""
        return signature(
            self.key, tokenize=self.tokenize, n=self.max_n, **self._options(), corpus=self.corpus, **self._fitted
        )

    def fit(self, references: Sequence[tuple[str, ...]], name: str) -> None:
        """Take the document frequencies from these references.

        Args:
            references: one tuple of texts per sample: a document.
            name: of the corpus, for the signature.

        Raises:
            DataError: a sample has no reference, or there are fewer than two samples: every weight, and so every value,
                would be 0.
        """
        references = check_references(f"the corpus {name!r} of {self.key}", references)
        if len(references) < 2:
            raise DataError(
                f"{self.key} compares how many documents of its corpus contain an n-gram, and {name!r} has "
                f"{len(references)}"
            )
        frequencies: Counter[Ngram] = Counter()
        for texts in references:
            frequencies.update({ngram for text in texts for counts in self._ngrams(text) for ngram in counts})
        # n-grams of one document weigh as much as those of none, and they are most of all
        self._idf = {ngram: math.log(len(references) / count) for ngram, count in frequencies.items() if count > 1}
        self._documents = len(references)
        self._vectors: dict[str, _Vector] = {}
        self.corpus, self._fitted = name, {"documents": len(references), "hash": _hash(references)}

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            ConfigError: there are no document frequencies yet.
            DataError: a row has no reference.
        """
        if not self._documents:
            raise ConfigError(
                f"{self.key} needs document frequencies: give it the references of a fixed corpus, fit(references, "
                f"{self.corpus!r}), first"
            )
        references = check_references(self.key, references)
        self._watch.look(chain.from_iterable(references), self._words)
        return {self.key: [self._value(text, texts) for text, texts in zip(completions, references, strict=True)]}

    def _value(self, completion: str, references: tuple[str, ...]) -> float:
        candidate = self._vector(completion)
        total = sum(self._similarity(candidate, self._reference(text)) for text in references)
        return 10 * total / (self.max_n * len(references))

    def _similarity(self, candidate: _Vector, reference: _Vector) -> float:
        """Sum over n of the cosines."""
        total = 0.0
        for n in range(self.max_n):
            norms = candidate.norms[n] * reference.norms[n]
            if norms:
                total += _dot(candidate.weights[n], reference.weights[n]) / norms
        return total

    def _reference(self, text: str) -> _Vector:
        vector = self._vectors.get(text)
        if vector is None:
            vector = self._vector(text)
            if len(self._vectors) >= _KEPT:
                self._vectors.clear()  # another thread, whose call was given up on, may do so at any time
            self._vectors[text] = vector
        return vector

    def _vector(self, text: str) -> _Vector:
        idf, unseen = self._idf, math.log(self._documents)
        counts = self._ngrams(text)
        weights = tuple({ngram: count * idf.get(ngram, unseen) for ngram, count in of_one.items()} for of_one in counts)
        norms = tuple(math.sqrt(sum(weight * weight for weight in of_one.values())) for of_one in weights)
        return _Vector(weights, norms, counts[0].total())

    def _ngrams(self, text: str) -> list[Counter[Ngram]]:
        words = self._words(text)
        return [Counter(zip(*(words[shift:] for shift in range(n)), strict=False)) for n in range(1, self.max_n + 1)]

    def _options(self) -> dict[str, object]:
        return {}


@dataclass(eq=False)
class CiderD(Cider):
    """CIDEr-D, in [0, 10] for each text under the key `cider_d`. The original library's `cider` is this one.

    Texts without words, and references without words, have the value 0.
    """

    key = "cider_d"

    sigma: Annotated[float, Option("standard deviation of the length penalty, in words", gt=0)] = 6.0

    def _similarity(self, candidate: _Vector, reference: _Vector) -> float:
        """Sum over n of the clipped cosines, times the length penalty."""
        total = 0.0
        for n in range(self.max_n):
            norms = candidate.norms[n] * reference.norms[n]
            if norms:
                total += _clipped_dot(candidate.weights[n], reference.weights[n]) / norms
        difference = candidate.length - reference.length
        return total * math.exp(-(difference**2) / (2 * self.sigma**2))

    def _options(self) -> dict[str, object]:
        return {"sigma": f"{self.sigma:g}"}


# Sums run in the order of the text, never in that of a set, which differs from process to process.
def _dot(candidate: dict[Ngram, float], reference: dict[Ngram, float]) -> float:
    return sum(weight * reference[ngram] for ngram, weight in candidate.items() if ngram in reference)


def _clipped_dot(candidate: dict[Ngram, float], reference: dict[Ngram, float]) -> float:
    return sum(
        min(weight, reference[ngram]) * reference[ngram] for ngram, weight in candidate.items() if ngram in reference
    )


def _hash(references: Sequence[tuple[str, ...]]) -> str:
    """Of the documents, whatever their order."""
    documents = sorted(
        hashlib.sha256("\0".join([*texts, ""]).encode("utf-8", "surrogatepass")).digest() for texts in references
    )
    return hashlib.sha256(b"".join(documents)).hexdigest()[:8]
