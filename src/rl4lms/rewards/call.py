"""Calling a reward: arguments by name, results checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rl4lms.config.rewards import RewardFaultsConfig
from rl4lms.core.advantages import place_last
from rl4lms.core.padding import unpad
from rl4lms.data.conversations import Message, in_trl_form
from rl4lms.data.given import references_given, texts_given
from rl4lms.errors import RewardError, nth_row
from rl4lms.metrics.call import check_columns, comparable, metric_attribute, name_of, spread
from rl4lms.plugins import calling
from rl4lms.rewards import guard
from rl4lms.rewards.faults import STRICT, Fault, Kind, quoted, replacement, whole_call
from rl4lms.types import CorpusValue, Rollout

# What TRL also hands to reward functions. Functions that name one get a harmless stand-in.
_TRL_EXTRAS = ("trainer_state", "log_extra", "log_metric")
GIVEN = ("prompts", "full_prompts", "completions", "texts", "prompt_ids", "completion_ids", "references")
RESERVED = frozenset({*GIVEN, *_TRL_EXTRAS})

Scores = list[float | None] | list[list[float] | None]


@dataclass(frozen=True, slots=True)
class RewardOutput:
    """Checked scores of B completions.

    Attributes:
        scores: one number per row, or, if `dense`, one list per row with one number per completion token. None leaves
            the row out.
        dense: whether there is one number per token.
        parts: per-row values of the terms of a composed reward, for logs; None where a term left the row out.
        faults: what went wrong on the way and did not stop the run.
        numbers: about the call as a whole, for logs, such as how many requests it took.
    """

    scores: Scores
    dense: bool
    parts: dict[str, list[float | None]] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)

    def totals(self) -> list[float | None]:
        """Return one number per row: the score, or the sum of a dense row."""
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
    references: Sequence[str | Sequence[str] | None],
    columns: Mapping[str, Sequence[Any]],
    texts: Sequence[str] | None = None,
    full_prompts: Sequence[str] | None = None,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    conversations: Sequence[Sequence[Message]] | None = None,
    full_conversations: Sequence[Sequence[Message]] | None = None,
    faults: RewardFaultsConfig = STRICT,
    training: bool = True,
) -> RewardOutput:
    """Call a reward on B completions and check what it returns.

    Args:
        reward: gets those of the arguments below that it names, and all of them where it takes `**columns`. May be
            `async`.
        prompts, completions: (B,) texts; prompts as far as the policy saw them.
        references: (B,) of each row a text or several, None or () where there is none. A reward that
            `needs_references`, as metrics may, leaves such a row out.
        completion_ids: (B,) token ids without padding.
        columns: every other column of the data, (B,) each. The reward gets copies of everything, down to nested lists.
        texts: (B,) prompt and completion as one text; None where only the two strings are known. A reward that names
            `texts` without a default then cannot be used.
        full_prompts: (B,) prompts before they were cut; `prompts` where None.
        prompt_ids: (B,) token ids without padding, where they are known.
        conversations, full_conversations: (B,) messages of each prompt as far as the policy saw them, and all of them;
            () where a prompt is a text. A reward gets such rows in TRL's form: `prompts` are lists of messages, and
            each of `completions` is a list with one message of the assistant. The rewards and metrics of this library
            read texts.
        faults: what to do when the reward raises an error, is too slow, or gives a row no finite score.
        training: False in evaluations, which change no running statistics and report scores before they are
            standardised.

    Raises:
        DataError: a text is none, lengths differ, a column has a reserved name or cannot be copied, or the reward needs
            a column that is not there, or references that no row has.
        RewardError: the result has the wrong length or type; or a fault, where `faults` says `error`.
    """
    owner = f"reward {name_of(reward)!r}"
    check_columns(columns, RESERVED)
    said = {"prompts": prompts, "completions": completions}
    said["full_prompts"] = prompts if full_prompts is None else full_prompts
    batch: dict[str, Any] = {
        name: texts_given(owner, name, values, conversations=True) for name, values in said.items()
    }
    batch |= {"completion_ids": completion_ids, "references": references_given(owner, references)}
    batch |= {} if texts is None else {"texts": texts_given(owner, "texts", texts)}
    batch |= {} if prompt_ids is None else {"prompt_ids": prompt_ids}
    n = len(batch["completions"])
    given: dict[str, Any] = {**batch, **columns}
    for name, values in given.items():
        if len(values) != n:
            raise RewardError(f"{owner}: {name} has {len(values)} rows for {n} completions")
    chats = {} if conversations is None else {"conversations": conversations}
    chats |= {} if full_conversations is None else {"full_conversations": full_conversations}
    if isinstance(reward, Composed):
        return reward.composed_score(**batch, **chats, columns=columns, faults=faults, training=training)
    given |= _of_conversations(owner, reward, batch, chats)
    given, rows = comparable(owner, reward, given, n)
    extras = {name: _stand_in(name) for name in _TRL_EXTRAS if name in calling.parameters_of(owner, reward)}
    taken = calling.taken_arguments(owner, reward, {**given, **extras})
    own = calling.detached(owner, {name: values for name, values in taken.items() if name in given})
    try:
        returned = guard.call(owner, reward, taken | own, faults.timeout_s)
    except (guard.RewardRaised, guard.RewardTimedOut) as error:
        kind: Kind = "timeout" if isinstance(error, guard.RewardTimedOut) else "exception"
        if chats and isinstance(error.__cause__, AttributeError | TypeError):
            error.args = (f"{error.args[0]}; {_OF_MESSAGES}",)
        scores, fault = whole_call(faults, kind, error, n)
        return RewardOutput(list(scores), dense=False, faults=(fault,))
    if isinstance(returned, Mapping):  # a metric
        returned = values_per_text(owner, reward, returned)
    if _size(returned) == len(rows) < n:
        returned = spread(_items(owner, returned), rows, n)
    return checked(owner, returned, [len(ids) for ids in completion_ids], completions, faults)


_OF_MESSAGES = (
    "prompts are conversations here, and each completion a list with one message, as in TRL: the text is "
    "completion[0]['content']"
)


def _of_conversations(
    owner: str, reward: Callable[..., Any], batch: Mapping[str, Any], chats: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a reward is given in another form where prompts are conversations."""
    if not chats:
        return {}
    if not str(getattr(reward, "__module__", "")).startswith("rl4lms."):
        return dict(_as_messages(batch, **chats))
    return dict(chats) if "conversations" in calling.parameters_of(owner, reward) else {}


def _as_messages(
    batch: Mapping[str, Any],
    conversations: Sequence[Sequence[Message]],
    full_conversations: Sequence[Sequence[Message]] | None = None,
) -> dict[str, list[Any]]:
    """Return prompts and completions with the rows of conversations in TRL's form, and the others as they are."""
    found = {name: list(batch[name]) for name in ("prompts", "full_prompts", "completions")}
    for row, messages in enumerate(conversations):
        if messages:
            text = batch["completions"][row]
            found["prompts"][row], found["completions"][row] = in_trl_form(messages, text)
            whole = messages if full_conversations is None else full_conversations[row]
            found["full_prompts"][row] = in_trl_form(whole, text)[0]
    return found


def values_per_text(owner: str, metric: Any, returned: Mapping[str, Any], key: str | None = None) -> list[float | None]:
    """Take the values per text out of what a metric returned, on the scale of rewards.

    Args:
        owner: names the metric in messages.
        metric: may say which of its values is the reward (`reward_key`), how to scale it (`as_reward`), and whether
            lower is better; then values get a minus sign.
        returned: by key.
        key: which values; None where there is only one, or the metric says which.

    Raises:
        RewardError: there are no such values, or several and none is chosen.
    """
    key = key or getattr(metric, "reward_key", None)
    values = {name: value for name, value in returned.items() if not isinstance(value, int | float | CorpusValue)}
    if not values:
        raise RewardError(f"{owner} gives one value for a whole set of texts; a reward needs one per text")
    if key is None and len(values) > 1:
        raise RewardError(f"{owner} has several values per text; choose one with the option `key`: {', '.join(values)}")
    key = key or next(iter(values))
    if key not in values:
        raise RewardError(f"{owner} has no values per text called {key!r}; it has: {', '.join(values)}")
    scaled = getattr(metric, "as_reward", None)
    sign = -1 if metric_attribute(metric, "higher_is_better", key) is False else 1
    return [None if v is None else float(scaled(key, v)) if scaled is not None else sign * v for v in values[key]]


def score_rollout(
    reward: Callable[..., Any] | Composed,
    rollout: Rollout,
    faults: RewardFaultsConfig = STRICT,
    *,
    training: bool = True,
) -> RewardOutput:
    """`score` on the completions of a rollout."""
    prompt_ids = unpad(rollout.prompt_ids, rollout.prompt_mask)
    ids = unpad(rollout.completion_ids, rollout.completion_mask)
    given = {"prompt_ids": prompt_ids, "completion_ids": ids, **rollout.columns()}
    if any(rollout.conversations):
        given |= {"conversations": rollout.conversations}
        given |= {"full_conversations": [sample.messages for sample in rollout.samples]}
    return score(reward, **given, faults=faults, training=training)


def checked(
    owner: str, returned: Any, lengths: Sequence[int], completions: Sequence[str], faults: RewardFaultsConfig = STRICT
) -> RewardOutput:
    """Return what a reward returned, as plain finite numbers.

    Args:
        owner: names the reward in messages.
        returned: a sequence, an array or a tensor.
        lengths: (B,) tokens of each completion.
        completions: (B,) texts, for messages.
        faults: what to do about a row without a finite score.

    Raises:
        RewardError: wrong length or type; or not finite, where `faults` says `error`.
    """
    size = _size(returned)
    if size is None:
        raise RewardError(f"{owner} returned {_shown(returned)}; expected a list with one number per completion")
    rows = _items(owner, returned) if size == len(lengths) else []
    if len(rows) != len(lengths):  # looked at again: a thread of the reward may still be writing to its list
        raise RewardError(f"{owner} returned {size} value{'' if size == 1 else 's'} for {len(lengths)} completions")
    sizes = [_size(row) for row in rows]
    dense = any(size is not None for size in sizes)
    scores: list[Any] = []
    found: list[Fault] = []
    for i, (row, size, length) in enumerate(zip(rows, sizes, lengths, strict=True)):
        if row is None:
            scores.append(None)
            continue
        if dense and size is None:
            raise RewardError(
                f"{owner}: {nth_row(i)} is {_shown(row)} where other rows are lists; return one list per "
                f"completion, or none"
            )
        if dense and size != length:
            raise RewardError(f"{owner}: {nth_row(i)} has {size} values for the {length} tokens of its completion")
        values = enumerate(_items(owner, row)) if dense else [(None, row)]
        numbers = [_number(owner, value, i, token, completions[i]) for token, value in values]
        wrong = [(t, reason) for t, number in enumerate(numbers) if (reason := _not_finite(number))]
        if not wrong:
            scores.append([float(number) for number in numbers] if dense else float(numbers[0]))
            continue
        where = nth_row(i, wrong[0][0] if dense else None)
        message = f"{owner}: {where} is {wrong[0][1]}; rewards are finite numbers, or None to leave a row out"
        found.append(Fault("non_finite", message, i, completions[i]))
        constant = replacement(faults, found[-1])
        scores.append(_on_last(constant, length) if dense and constant is not None else constant)
    return RewardOutput(scores, dense, faults=tuple(found))


def _on_last(value: float, length: int) -> list[float]:
    return [0.0] * (length - 1) + [value] * min(length, 1)


def _size(value: Any) -> int | None:
    """Return the length of a list, a tuple, or an array with dimensions; None for anything else."""
    if isinstance(value, list | tuple):
        return len(value)
    shape = getattr(value, "shape", ()) if hasattr(value, "tolist") else ()
    return int(shape[0]) if isinstance(shape, tuple) and shape else None


def _items(owner: str, value: Any) -> list[Any]:
    """Return the items of what has a length."""
    if isinstance(value, list | tuple):
        return list(value)
    try:
        # not all of an array at once, which a wrong shape would make huge
        return value.tolist() if len(value.shape) == 1 else [value[i] for i in range(len(value))]
    except Exception as error:
        raise RewardError(
            f"{owner} returned a {type(value).__name__} that cannot be read: {type(error).__name__}: {error}"
        ) from error


def _number(owner: str, value: Any, row: int, token: int | None, completion: str) -> float:
    """Return a number as Python has it; arrays without dimensions and numbers of other libraries count as one."""
    if hasattr(value, "tolist") and _size(value) is None:
        try:
            value = value.tolist()
        except Exception as error:
            where = nth_row(row, token)
            raise RewardError(f"{owner}: {where} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(value, int | float):
        where = nth_row(row, token)
        raise RewardError(f"{owner}: {where} is {_shown(value)}; expected a number (completion {quoted(completion)})")
    return value


def _not_finite(value: float) -> str | None:
    """Return what is wrong with a number that is no score."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of about {round(value.bit_length() * math.log10(2))} digits, too large for float32"
    if not math.isfinite(value):
        return str(value)
    return f"{value:g}, too large for float32" if abs(value) > _LARGEST else None


# The largest float32: scores are float32 from here on, where anything larger is infinite.
_LARGEST = 3.4028234663852886e38


def _shown(value: Any) -> str:
    kind = type(value).__name__
    if not isinstance(value, str | bytes | bool | int | float | complex | list | tuple | dict | None):
        return kind  # the repr of anything else is somebody's code
    try:
        text = repr(value)
    except Exception as error:
        raise RewardError(f"a reward returned {kind} that cannot be shown ({type(error).__name__})") from error
    return f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"


def _stand_in(name: str) -> Any:
    if name == "trainer_state":
        from transformers import TrainerState

        return TrainerState()
    return _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Take the place of TRL's logging hooks: composed rewards log their parts instead."""


def call_plainly(reward: Composed, batch: Mapping[str, Any]) -> Scores:
    """`reward(prompts=..., completions=..., **columns)` for a composed reward: what the `Reward` protocol asks for."""
    n = len(batch["completions"])
    given: dict[str, Any] = {"prompts": [""] * n, "completion_ids": [[]] * n, "references": [()] * n}
    given |= {name: batch[name] for name in GIVEN if name in batch}
    columns = {name: values for name, values in batch.items() if name not in RESERVED}
    return reward.composed_score(**{"full_prompts": given["prompts"], **given}, columns=columns).scores


def place_scores(output: RewardOutput, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Put scores on tokens: sequence scores on the last real one, dense ones in place.

    Returns:
        Scores, float32 (B, T), and which rows have one, bool (B,).
    """
    device = completion_mask.device
    row_mask = torch.tensor([s is not None for s in output.scores], dtype=torch.bool, device=device)
    if output.dense:
        scores = torch.zeros(completion_mask.shape, dtype=torch.float32)
        for i, row in enumerate(output.scores):
            if row is not None:
                scores[i, : len(row)] = torch.tensor(row, dtype=torch.float32)  # type: ignore[arg-type]
        return scores.to(device) * completion_mask, row_mask
    flat = torch.tensor([0.0 if s is None else s for s in output.scores], dtype=torch.float32, device=device)
    return place_last(flat, completion_mask), row_mask
