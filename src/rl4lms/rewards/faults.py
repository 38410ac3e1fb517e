"""What goes wrong in a reward while a run goes on: kept apart from bugs, counted, and dealt with as the recipe says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.errors import RewardError

Kind = Literal["exception", "timeout", "non_finite"]

#: Rewards that are called without a recipe, as in a notebook: every fault is an error.
STRICT = RewardFaultsConfig()

_COUNTERS: dict[Kind, str] = {
    "exception": "reward_exceptions",
    "timeout": "reward_timeouts",
    "non_finite": "reward_non_finite",
}
_SHOWN = 200  # characters of a completion in a record


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong in a reward, and did not stop the run.

    Attributes:
        kind: `exception` and `timeout` are of a whole call, `non_finite` is of one row.
        message: in plain words; names the reward, or the part of a sum.
        row: index in the batch; None for a whole call.
        completion: the text of that row.
    """

    kind: Kind
    message: str
    row: int | None = None
    completion: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the fault as a line of `faults.jsonl`, whose row counts from 1, as that of its message does."""
        shown = None if self.completion is None else self.completion[:_SHOWN]
        row = None if self.row is None else self.row + 1
        return asdict(self) | {"row": row, "completion": shown}


def counts(faults: Iterable[Fault]) -> dict[str, float]:
    """Return how many faults of each kind, by log key; every kind is there."""
    kinds = [fault.kind for fault in faults]
    return {key: float(kinds.count(kind)) for kind, key in _COUNTERS.items()}


def for_evaluation(config: RewardFaultsConfig) -> RewardFaultsConfig:
    """Return the same settings with `mask` for `constant`: a score that was made up is no measurement."""
    kinds = ("exception", "non_finite", "timeout")
    masked = {kind: "mask" for kind in kinds if getattr(config, kind) == "constant"}
    return config.model_copy(update=masked)


def replacement(config: RewardFaultsConfig, fault: Fault) -> float | None:
    """Return what stands in for a score that is not there: None leaves the row out.

    Raises:
        RewardError: the recipe says `error` to this kind of fault.
    """
    policy = getattr(config, fault.kind)
    if policy == "error":
        where = "" if fault.completion is None else f" (completion {quoted(fault.completion)})"
        raise RewardError(fault.message + where)
    return config.constant if policy == "constant" else None


def whole_call(
    config: RewardFaultsConfig, kind: Kind, error: RewardError, rows: int
) -> tuple[Sequence[float | None], Fault]:
    """Return the scores of a call that gave none, and the fault.

    Raises:
        RewardError: the recipe says `error` to this kind of fault; the cause is that of `error`.
    """
    fault = Fault(kind, str(error))
    try:
        return [replacement(config, fault)] * rows, fault
    except RewardError as plain:
        raise plain from error.__cause__


def quoted(text: str) -> str:
    """Return a text as messages show it: on one line, not too long."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
