"""Word and character error rate: edits (insertions, deletions, substitutions) over the length of the reference.

Values are those of the package jiwer, where there is one reference. Source of the count: Myers (1999) in the form of
Hyyrö (2003), a row of the table of distances as the bits of two integers.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

from rl4lms.metrics.sums import corpus_value, ratio
from rl4lms.metrics.support import check_references, signature
from rl4lms.metrics.words import SPACES, Watch
from rl4lms.plugins.options import Option
from rl4lms.types import CorpusValue

Lowercase = Annotated[bool, Option("ignore case")]
NoPunct = Annotated[bool, Option("remove punctuation, of any script")]


class _ErrorRate(ABC):
    """What the two have in common.

    A text counts against the reference that gives it the lowest rate.
    """

    name: str
    higher_is_better = False
    needs_references = True
    _watch: Watch | None = None

    def __init__(self, lowercase: bool, no_punct: bool) -> None:
        self._lowercase, self._no_punct = lowercase, no_punct
        self.reward_key = f"sentence_{self.name}"
        self.signature = signature(self.name, case="lc" if lowercase else "mixed", punct=not no_punct)

    def __call__(
        self, completions: Sequence[str], references: Sequence[tuple[str, ...]], **columns: Any
    ) -> dict[str, CorpusValue | list[float]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: a row has no reference.
        """
        references = check_references(self.name, references)
        if self._watch is not None:
            self._watch.look(chain.from_iterable(references), str.split)
        rows = [self._best(*row) for row in zip(completions, references, strict=True)]
        values: dict[str, CorpusValue | list[float]] = {}
        if any(length for _, length in rows):
            values[self.name] = corpus_value(rows, ratio)
        return {**values, self.reward_key: [_rate(*row) for row in rows]}

    def as_reward(self, key: str, value: float) -> float:
        """1 for no edits; below 0 where there are more edits than the reference is long."""
        return 1 - value

    def _best(self, completion: str, texts: tuple[str, ...]) -> tuple[int, int]:
        """Return edits and length of the reference with the lowest rate."""
        units = self._units(self._plain(completion))
        found = []
        for text in texts:
            reference = self._units(self._plain(text))
            found.append((edits(reference, units), len(reference)))
        return min(found, key=lambda row: _rate(*row))

    def _plain(self, text: str) -> str:
        if self._lowercase:
            text = text.lower()
        if self._no_punct:
            text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))
        return text

    @staticmethod
    @abstractmethod
    def _units(text: str) -> Sequence[str]:
        """Return what edits are counted in."""


class Wer(_ErrorRate):
    """Word error rate as jiwer computes it, a fraction that can exceed 1: `wer`, edits over words of all references,
    and `sentence_wer` of each text; lower is better.

    Words stand between white space. Of several references the one with the lowest rate counts. Against a reference
    without words: 0 for a text without words, else 1. As a reward: 1 - value.
    """

    name = "wer"

    def __init__(self, lowercase: Lowercase = False, no_punct: NoPunct = False) -> None:
        super().__init__(lowercase, no_punct)
        self._watch = Watch("wer", f"{SPACES.partition(', or')[0]}, or use cer")

    @staticmethod
    def _units(text: str) -> list[str]:
        return text.split()


class Cer(_ErrorRate):
    """Character error rate as jiwer computes it, a fraction that can exceed 1: `cer`, edits over characters of all
    references, and `sentence_cer` of each text; lower is better.

    Spaces inside of a text count, those around it do not. Of several references the one with the lowest rate counts.
    Against an empty reference: 0 for an empty text, else 1. As a reward: 1 - value.
    """

    name = "cer"

    def __init__(self, lowercase: Lowercase = False, no_punct: NoPunct = False) -> None:
        super().__init__(lowercase, no_punct)

    @staticmethod
    def _units(text: str) -> str:
        return text.strip()


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the fewest insertions, deletions and substitutions between two sequences (Levenshtein's distance)."""
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for place, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << place
    full, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = full, 0, len(one)  # where the distance is one more, or one less, than in the cell above
    for unit in other:
        match = places.get(unit, 0) | down
        diagonal = (((match & up) + up) ^ up) | match
        more, less = down | ~(diagonal | up) & full, up & diagonal
        distance += bool(more & last) - bool(less & last)
        more = (more << 1 | 1) & full
        up, down = (less << 1 | ~(diagonal | more)) & full, more & diagonal
    return distance


def _rate(count: int, length: int) -> float:
    return count / length if length else float(count > 0)
