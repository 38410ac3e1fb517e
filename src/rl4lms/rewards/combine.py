"""Sums of rewards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rl4lms.config.rewards import SumPart
from rl4lms.errors import ConfigError, RewardError
from rl4lms.rewards.call import RewardOutput, Scores, call_plainly, checked, score
from rl4lms.rewards.faults import STRICT


class Sum:
    """Weighted sum of rewards; every part is reported unweighted.

    A sum with a dense part is dense: the score of a part that gives one number per completion then goes to the last token, where
    sequence scores are placed anyway. A row that one part leaves out (None) is left out of the sum.

    Args:
        parts: the terms.

    Raises:
        ConfigError: two parts have the same key.
    """

    def __init__(self, parts: Sequence[SumPart | dict[str, Any]]) -> None:
        from rl4lms.rewards.resolve import build

        checked = [SumPart.model_validate(part) for part in parts]
        self._keys = [part.key or part.reward.name for part in checked]
        twice = {key for key in self._keys if self._keys.count(key) > 1}
        if twice:
            raise ConfigError(f"reward 'sum': two parts are called {min(twice)!r}; tell them apart with `key`")
        self._weights = [part.weight for part in checked]
        self._rewards = [build(part.reward) for part in checked]

    def __call__(self, **batch: Any) -> Scores:
        return call_plainly(self, batch)

    def composed_score(self, **batch: Any) -> RewardOutput:
        """Arguments and errors as in `rl4lms.rewards.score`."""
        outputs = [_part(key, reward, batch) for key, reward in zip(self._keys, self._rewards, strict=True)]
        parts = dict(zip(self._keys, (output.totals() for output in outputs), strict=True))
        for key, output in zip(self._keys, outputs, strict=True):
            parts |= {f"{key}/{inner}": values for inner, values in output.parts.items()}
        dense = any(output.dense for output in outputs)
        lengths = [len(ids) for ids in batch["completion_ids"]]
        rows: list[Any] = []
        for row, length in enumerate(lengths):
            terms = [output.scores[row] for output in outputs]
            if any(term is None for term in terms):
                rows.append(None)
            elif dense:
                rows.append(self._dense_row(terms, row, length))
            else:
                rows.append(_sum(weight * term for weight, term in zip(self._weights, terms, strict=True)))  # type: ignore[operator]
        total = checked("reward 'sum'", rows, lengths, batch["completions"], batch.get("faults", STRICT))
        below = tuple(fault for output in outputs for fault in output.faults)
        return RewardOutput(total.scores, dense, parts, below + total.faults)

    def _dense_row(self, terms: Sequence[Any], row: int, length: int) -> list[float]:
        if not length:
            raise RewardError(f"reward 'sum': completion {row} has no tokens to put a score on")
        total = [0.0] * length
        for weight, term in zip(self._weights, terms, strict=True):
            if isinstance(term, list):
                total = [value + weight * part for value, part in zip(total, term, strict=True)]
            else:
                total[-1] += weight * term
        return total


def _part(key: str, reward: Any, batch: Mapping[str, Any]) -> RewardOutput:
    """Scores of one part; what goes wrong in it says so."""
    try:
        output = score(reward, **batch)
    except RewardError as error:
        raise RewardError(f"part {key!r} of the sum: {error}") from error
    return replace(output, faults=tuple(replace(fault, message=f"part {key!r} of the sum: {fault.message}") for fault in output.faults))


def _sum(terms: Iterable[float]) -> float:
    """The exact sum; NaN where it cannot be said, as for large weights of opposite signs."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return math.nan
