"""Calling a reward: arguments by name, results checked."""

from __future__ import annotations

import asyncio
import inspect
import math
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rl4lms import components
from rl4lms.core.padding import unpad
from rl4lms.errors import RewardError, Rl4lmsError
from rl4lms.metrics.call import check_columns, name_of
from rl4lms.types import Rollout

# What TRL also hands to reward functions. Functions that name one get a harmless stand-in.
_TRL_EXTRAS = ("trainer_state", "log_extra", "log_metric")
RESERVED = frozenset({"prompts", "completions", "completion_ids", "references", *_TRL_EXTRAS})

Scores = list[float | None] | list[list[float] | None]


@dataclass(frozen=True, slots=True)
class RewardOutput:
    """Checked scores of B completions.

    Attributes:
        scores: one number per row, or, if `dense`, one list per row with one number per completion token. None leaves the row out.
        dense: whether there is one number per token.
        parts: per-row values of the terms of a composed reward, for logs; None where a term left the row out.
    """

    scores: Scores
    dense: bool
    parts: dict[str, list[float | None]] = field(default_factory=dict)

    def totals(self) -> list[float | None]:
        """One number per row: the score, or the sum of a dense row."""
        return [math.fsum(row) if isinstance(row, list) else row for row in self.scores]


@runtime_checkable
class Composed(Protocol):
    """A reward made of others, which calls `score` on its parts itself."""

    def composed_score(self, **batch: Any) -> RewardOutput: ...


def score(
    reward: Callable[..., Any] | Composed,
    *,
    prompts: Sequence[str],
    completions: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    references: Sequence[tuple[str, ...]],
    columns: Mapping[str, Sequence[Any]],
) -> RewardOutput:
    """Calls a reward on B completions and checks what it returns.

    Args:
        reward: gets those of the arguments below that it names, and all of them where it takes `**columns`. May be `async`.
        prompts, completions, references: (B,) texts.
        completion_ids: (B,) token ids without padding.
        columns: every other column of the data, (B,) each.

    Raises:
        DataError: lengths differ, a column has a reserved name, or the reward needs a column that is not there.
        RewardError: the reward raised an error, or its result has the wrong length or type, or is not finite.
    """
    owner, n = f"reward {name_of(reward)!r}", len(completions)
    check_columns(columns, RESERVED)
    batch: dict[str, Any] = {
        "prompts": list(prompts),
        "completions": list(completions),
        "completion_ids": [list(ids) for ids in completion_ids],
        "references": list(references),
        **{name: list(values) for name, values in columns.items()},
    }
    for name, values in batch.items():
        if len(values) != n:
            raise RewardError(f"{owner}: {name} has {len(values)} rows for {n} completions")
    if isinstance(reward, Composed):
        return reward.composed_score(
            prompts=prompts, completions=completions, completion_ids=completion_ids, references=references, columns=columns
        )
    named = inspect.signature(reward).parameters
    extras = {name: _stand_in(name) for name in _TRL_EXTRAS if name in named}
    arguments = components.taken_arguments(owner, reward, {**batch, **extras})
    return checked(owner, _returned(owner, reward, arguments), [len(ids) for ids in batch["completion_ids"]])


def _returned(owner: str, reward: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        returned = reward(**arguments)
        return _wait(returned) if inspect.isawaitable(returned) else returned
    except Rl4lmsError:
        raise
    except Exception as error:  # a reward is anybody's code and may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise RewardError(f"{owner} raised {type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})") from error


def score_rollout(reward: Callable[..., Any] | Composed, rollout: Rollout) -> RewardOutput:
    """`score` on the completions of a rollout."""
    return score(reward, completion_ids=unpad(rollout.completion_ids, rollout.completion_mask), **rollout.columns())


def checked(owner: str, returned: Any, lengths: Sequence[int]) -> RewardOutput:
    """What a reward returned, as plain finite numbers.

    Args:
        owner: names the reward in messages.
        returned: a sequence, an array or a tensor.
        lengths: (B,) tokens of each completion.

    Raises:
        RewardError: wrong length or type, or not finite.
    """
    rows = _plain(returned)
    if not isinstance(rows, list):
        raise RewardError(f"{owner} returned {_shown(returned)}; expected a list with one number per completion")
    if len(rows) != len(lengths):
        raise RewardError(f"{owner} returned {len(rows)} values for {len(lengths)} completions")
    rows = [_plain(row) for row in rows]
    if not any(isinstance(row, list) for row in rows):
        return RewardOutput([None if row is None else _number(owner, f"row {i}", row) for i, row in enumerate(rows)], dense=False)
    dense: list[list[float] | None] = []
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row is not None and not isinstance(row, list):
            raise RewardError(f"{owner}: row {i} is {_shown(row)} where other rows are lists; return one list per completion, or none")
        if row is not None and len(row) != length:
            raise RewardError(f"{owner}: row {i} has {len(row)} values for the {length} tokens of its completion")
        dense.append(None if row is None else [_number(owner, f"row {i}, token {t}", _plain(value)) for t, value in enumerate(row)])
    return RewardOutput(dense, dense=True)


def _plain(value: Any) -> Any:
    """Arrays, tensors and numpy scalars as Python lists and numbers; tuples as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _number(owner: str, where: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise RewardError(f"{owner}: {where} is {_shown(value)}; expected a number")
    if not math.isfinite(value):
        raise RewardError(f"{owner}: {where} is {value}; rewards are finite, return None to leave a row out")
    return float(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _stand_in(name: str) -> Any:
    if name == "trainer_state":
        from transformers import TrainerState

        return TrainerState()
    return _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Takes the place of TRL's logging hooks: composed rewards log their parts instead."""


def _wait(awaitable: Awaitable[Any]) -> Any:
    """Runs an async reward to its end, also from inside a running event loop (a notebook has one)."""

    async def result() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result())
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(result())).result()


def call_plainly(reward: Composed, batch: Mapping[str, Any]) -> Scores:
    """`reward(prompts=..., completions=..., **columns)` for a composed reward: what the `Reward` protocol asks for."""
    columns = dict(batch)
    completions = columns.pop("completions")
    n = len(completions)
    output = reward.composed_score(
        prompts=columns.pop("prompts", [""] * n),
        completions=completions,
        completion_ids=columns.pop("completion_ids", [[]] * n),
        references=columns.pop("references", [()] * n),
        columns={name: values for name, values in columns.items() if name not in _TRL_EXTRAS},
    )
    return output.scores
