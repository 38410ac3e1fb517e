"""The two synthetic measures as rewards; see `rl4lms.metrics.toy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rl4lms.metrics import toy


class IncreasingNumbers(toy.IncreasingNumbers):
    """How much of a text is numbers that go up, in [0, 1]."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:  # type: ignore[override]
        return super().__call__(completions)["increasing_numbers"]


class Dates(toy.Dates):
    """1 where a text has a date written as YYYY-MM-DD, otherwise 0."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:  # type: ignore[override]
        return super().__call__(completions)["dates"]
