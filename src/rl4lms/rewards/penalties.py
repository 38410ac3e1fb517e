"""Penalties, to be added to other rewards, and a factor to multiply them by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from rl4lms.errors import ConfigError, DataError
from rl4lms.metrics.coverage import Concepts, concepts_of, missing_concepts
from rl4lms.metrics.words import Watch
from rl4lms.plugins.options import Option

# Chinese and Japanese characters are words: they have no spaces between.
_HAN_KANA = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_HAN_KANA}]|(?:(?![{_HAN_KANA}])\w)+|[^\w\s]")


class LengthPenalty:
    """0 for a completion of a wanted length, otherwise -slope for each unit too few or too many, down to -1."""

    in_background = True

    def __init__(
        self,
        unit: Annotated[
            Literal["words", "tokens", "characters"],
            Option("words between white space, tokens with EOS, or characters"),
        ] = "words",
        at_least: Annotated[int, Option("the shortest wanted length", ge=0)] = 0,
        at_most: Annotated[int | None, Option("the longest wanted length; null: none", ge=0)] = None,
        slope: Annotated[float, Option("penalty for each unit too few or too many", gt=0)] = 0.1,
    ) -> None:
        self.check_options(at_least, at_most)
        self._unit, self._at_least, self._at_most, self._slope = unit, at_least, at_most, slope
        self._watch = Watch("length_penalty", "set unit: characters or tokens")

    @staticmethod
    def check_options(at_least: int, at_most: int | None) -> None:
        """Refuse bounds that leave no length, or every length, unpunished."""
        if not at_least and at_most is None:
            raise ConfigError("name at_least, at_most or both")
        if at_most is not None and at_most < at_least:
            raise ConfigError(f"at_most {at_most} must not be below at_least {at_least}")

    def __call__(
        self, completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[float]:
        if self._unit == "words":
            self._watch.look(completions, str.split)
        texts: Sequence[Any] = completion_ids if self._unit == "tokens" else completions
        lengths = [len(text.split()) if self._unit == "words" else len(text) for text in texts]
        return [max(-1.0, -self._slope * self._off(length)) for length in lengths]

    def _off(self, length: int) -> int:
        beyond = 0 if self._at_most is None else max(0, length - self._at_most)
        return max(self._at_least - length, beyond, 0)


class RepetitionPenalty:
    """Minus the share of a completion's n-grams that occurred in it before, in [-1, 0].

    Words are lower-cased, punctuation marks and Chinese and Japanese characters are words.
    """

    in_background = True

    def __init__(self, n: Annotated[int, Option("length of the n-grams", ge=1)] = 3) -> None:
        self._n = n

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        return [self._penalty(_WORD.findall(text.lower())) for text in completions]

    def _penalty(self, words: list[str]) -> float:
        ngrams = list(zip(*(words[shift:] for shift in range(self._n)), strict=False))
        return len(set(ngrams)) / len(ngrams) - 1 if ngrams else 0.0


class CommonGenPenalty:
    """-1 for a completion that copies the concepts in a row, the instruction, or the words "generate" or "sentence";
    otherwise 0.

    The original library's shaping for CommonGen: without it a model learns to repeat its prompt. Case does not matter
    here.
    """

    in_background = True

    def __init__(
        self,
        column: Concepts = "concepts",
        instruction: Annotated[str, Option("what prompts begin with")] = "generate a sentence with:",
    ) -> None:
        self._column, self._instruction = column, instruction.lower().strip()

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """Score each completion.

        Raises:
            DataError: the data has no such column.
        """
        copied = ["generate", "sentence", *([self._instruction] if self._instruction else [])]
        scores = []
        for text, concepts in zip(completions, _concepts("commongen_penalty", self._column, columns), strict=True):
            in_a_row = " ".join(concepts).lower()
            hits = [*copied, *([in_a_row] if in_a_row else [])]
            scores.append(-1.0 if any(hit in text.lower() for hit in hits) else 0.0)
        return scores


class ConceptPenalty:
    """1 / (1 + weight * number of concepts that a completion lacks): the factor that the paper's CommonGen preference
    reward has.
    """

    in_background = True

    def __init__(
        self,
        column: Concepts = "concepts",
        weight: Annotated[float, Option("0 makes the factor 1", ge=0)] = 1.0,
        inflect: Annotated[bool, Option("inflected forms are not missing")] = True,
    ) -> None:
        self._column, self._weight, self._inflect = column, weight, inflect

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """Score each completion.

        Raises:
            DataError: the data has no such column.
        """
        rows = zip(completions, _concepts("concept_penalty", self._column, columns), strict=True)
        return [
            1 / (1 + self._weight * len(missing_concepts(text, concepts, self._inflect))) for text, concepts in rows
        ]


def _concepts(owner: str, column: str, columns: dict[str, Any]) -> list[list[str]]:
    if column not in columns:
        raise DataError(f"{owner} needs the data column {column!r}; there are: {', '.join(sorted(columns))}")
    return [concepts_of(value, f"{owner}: {column}") for value in columns[column]]
