"""Two other forms of ROUGE-L: that of COCO captioning (also nlg-eval's), and that of py-rouge, the original's for
NarrativeQA.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any

from rl4lms.metrics.nltk_parts import porter_stemmer
from rl4lms.metrics.rouge import TOKENIZERS, Prepared, WordsOf, lcs_length, places_of, union_hits, watch
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Tokenizer, Watch, check_tokenizer
from rl4lms.metrics.words import tokenizer as named_tokenizer
from rl4lms.plugins.options import Option


class CocoRougeL:
    """ROUGE-L of coco-caption under the key `coco_rouge_l`, in [0, 1].

    F = (1 + β²) P R / (R + β² P), where P is the best precision and R the best recall over the references, not always
    of the same one (Lin, 2004, equation 4; `pycocoevalcap/rouge`). Words are what stands between white space: case and
    punctuation count, and texts are tokenised before if they are to be. Deviation: coco-caption splits at single
    spaces, so that two of them make an empty word; here they do not. A text without words scores 0.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self, beta: Annotated[float, Option("how much more recall counts than precision", gt=0)] = 1.2
    ) -> None:
        self._weight = beta**2
        self._watch = Watch("coco_rouge_l", SPACES)
        self.signature = signature("coco_rouge_l", beta=beta)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("coco_rouge_l", references)
        self._watch.look(chain.from_iterable(references), str.split)
        return {"coco_rouge_l": [self._value(*row) for row in zip(completions, references, strict=True)]}

    def _value(self, completion: str, texts: tuple[str, ...]) -> float:
        words = completion.split()
        precision = recall = 0.0
        for size, places in map(_between_spaces, texts):
            hits = lcs_length(size, places, words)
            if hits:
                precision, recall = max(precision, hits / len(words)), max(recall, hits / size)
        return (1 + self._weight) * precision * recall / (recall + self._weight * precision) if precision else 0.0


class RougeLMax:
    """ROUGE-L of py-rouge 1.1 under the key `rouge_l_max`, the best over the references, in [0, 1].

    Texts and references are cut after `max_words` words between white space; lines are sentences; everything is
    lower-cased, everything but letters a-z and digits separates words (`tokenizer` has others), and words longer than
    three letters are stemmed by Porter's original algorithm. Hits are the words of the reference on a longest common
    subsequence of its line with any line of the text, each counted no more often than the text has the word.
    F = P R / ((1 - α) P + α R). The original library calls py-rouge with one reference at a time and takes the best F.

    py-rouge takes the root of P and R that belongs to ROUGE-W for ROUGE-L, too. The original's recipes set
    `weight_factor: 1.2`, so its numbers are P^(1/1.2) and R^(1/1.2) in that formula, higher than ROUGE-L: 0.5 becomes
    0.56. With the default of 1, which is py-rouge's, nothing is changed.

    Deviations: py-rouge has a list of irregular forms (`children` counts as `child`; from the exceptions of WordNet
    2.0), and words on it are not stemmed; here all are. It splits gimme, gonna, gotta, lemme and wanna in two. A text
    without words scores 0.
    """

    higher_is_better = True
    needs_references = True

    def __init__(
        self,
        alpha: Annotated[float, Option("weight of precision; the rest is that of recall", ge=0, le=1)] = 0.5,
        weight_factor: Annotated[
            float, Option("py-rouge takes this root of precision and recall; the original's recipes set 1.2", gt=0)
        ] = 1.0,
        stemmer: Annotated[bool, Option("compare stems")] = True,
        max_words: Annotated[int | None, Option("words beyond this are cut off; null: none", ge=1)] = 100,
        tokenizer: WordsOf = "latin",
    ) -> None:
        self._alpha, self._root, self._stemmer, self._max_words = alpha, 1 / weight_factor, stemmer, max_words
        self._words = named_tokenizer(tokenizer, TOKENIZERS)
        if stemmer:
            porter_stemmer(original=True)  # not in the first call, which a reward may have little time for
        self._watch = watch("rouge_l_max")
        self.signature = signature(
            "rouge_l_max", alpha=alpha, weight_factor=weight_factor, stemmer=stemmer, max_words=max_words, tok=tokenizer
        )

    @staticmethod
    def check_options(tokenizer: str) -> None:
        """Refuse a tokenizer that there is not."""
        check_tokenizer(tokenizer, TOKENIZERS)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references("rouge_l_max", references)
        self._watch.look(chain.from_iterable(references), self._words)
        how = self._words, self._stemmer, self._max_words
        values = []
        for completion, texts in zip(completions, references, strict=True):
            candidate = _prepared(completion, *how)
            values.append(max(self._f(_reference(text, *how), candidate) for text in texts))
        return {"rouge_l_max": values}

    def _f(self, reference: Prepared, candidate: Prepared) -> float:
        hits = union_hits(reference, candidate)
        if not hits:
            return 0.0
        precision, recall = (hits / len(candidate.words)) ** self._root, (hits / len(reference.words)) ** self._root
        return precision * recall / ((1 - self._alpha) * precision + self._alpha * recall)


@lru_cache(maxsize=1 << 12)
def _between_spaces(text: str) -> tuple[int, dict[str, int]]:
    words = text.split()
    return len(words), places_of(words)


def _prepared(text: str, tokenizer: Tokenizer, stemmer: bool, max_words: int | None) -> Prepared:
    lines, left = [], max_words
    for line in text.split("\n"):
        kept = line.split()[:left]
        if left is not None:
            left -= len(kept)
        words = list(tokenizer(" ".join(kept)))
        lines.append([_stem(word) for word in words] if stemmer else words)
    return Prepared(lines)


@lru_cache(maxsize=1 << 12)
def _reference(text: str, tokenizer: Tokenizer, stemmer: bool, max_words: int | None) -> Prepared:
    return _prepared(text, tokenizer, stemmer, max_words)


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return str(porter_stemmer(original=True).stem(word)) if len(word) > 3 else word
