"""Two synthetic measures of the original library, good for a first test of an algorithm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from rl4lms.metrics.support import signature
from rl4lms.plugins.options import Option

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class IncreasingNumbers:
    """How much of a text is numbers that go up, in [0, 1].

    The value is the length of the longest strictly increasing prefix of the numbers in the text, divided by the number
    of its tokens, or by `min_tokens / 2` where it has fewer. Tokens are what white space separates; numbers are tokens
    of digits only.
    """

    higher_is_better = True

    def __init__(
        self, min_tokens: Annotated[int, Option("texts shorter than half of this score less", ge=1)] = 20
    ) -> None:
        self.min_tokens = min_tokens
        self.signature = signature("increasing_numbers", min_tokens=min_tokens)

    def __call__(self, completions: Sequence[str], **columns: Any) -> dict[str, list[float]]:
        return {"increasing_numbers": [self._value(text) for text in completions]}

    def _value(self, text: str) -> float:
        tokens = text.split()
        numbers = [int(token) for token in tokens if token.isdecimal()]
        rising = min(len(numbers), 1)
        while 0 < rising < len(numbers) and numbers[rising] > numbers[rising - 1]:
            rising += 1
        return rising / max(len(tokens), self.min_tokens / 2)


class Dates:
    """1 where a text has a date written as YYYY-MM-DD, otherwise 0."""

    higher_is_better = True
    signature = signature("dates")

    def __call__(self, completions: Sequence[str], **columns: Any) -> dict[str, list[float]]:
        return {"dates": [float(_DATE.search(text) is not None) for text in completions]}
