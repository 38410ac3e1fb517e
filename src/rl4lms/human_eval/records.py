"""What a study holds, as plain values, and how its rows are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.plan import Purpose

State = Literal["consent", "rate", "refused", "withdrawn"]


class Settings(BaseModel):
    """What belongs to a study beside its form and plan.

    Attributes:
        name: of the study.
        task: that the texts are of, where it is known.
        per_item: raters of each item.
        seed: of the plan.
        seconds, pay_per_hour: what an answer was estimated to take, and what an hour is paid.
        reclaim_hours: from when items of raters who do not come back may be given to others.
        feedback: whether raters are asked for it at the end.
        identical: by pair of systems, `A|B` as JSON list, the prompts for which both wrote the same.
        sources: where the texts were read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    task: str | None = None
    per_item: int
    seed: int = 0
    seconds: float = 30.0
    pay_per_hour: float = 0.0
    reclaim_hours: float = 48.0
    feedback: bool = True
    identical: list[tuple[str, str, list[str]]] = Field(default_factory=list)
    sources: list[str] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rater:
    """A rater, without anything that says who it is.

    Attributes:
        id: from 1.
        state: what they may do.
        qualified: whether they have passed the practice.
        finished: whether they have seen the last page.
        released: whether items of theirs were given to others.
        quota: how many items of others they may still take.
        code: that they get at the end.
    """

    id: int
    state: State
    qualified: bool
    finished: bool
    released: bool
    quota: int
    code: str


@dataclass(frozen=True, slots=True)
class Page:
    """An item as one rater sees it.

    Attributes:
        position: from 1, in the rater's own list.
        purpose, context, why, expected: of the item.
        texts: of the outputs, in the order of the item.
        order: the outputs in the order of the page.
        answers: what was answered; None before.
        draft: fields of the page as they were last kept; None where there are none.
        opened_at: when it was first seen.
    """

    position: int
    purpose: Purpose
    context: Mapping[str, Any]
    texts: Sequence[str]
    order: Sequence[int]
    expected: Mapping[str, Any]
    why: str
    answers: Mapping[str, Any] | None
    draft: Mapping[str, list[str]] | None
    opened_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rating:
    """What one rater answered about one item, with everything that raters are not told.

    Attributes:
        rater, item: their numbers; `item` of a repeat is that of the repeat.
        purpose, prompt_id, prompt, stratum, repeat_of, expected: of the item.
        context: of the page.
        systems, completions, seeds, values: of the outputs, in the order of the item; `values` are automatic metrics.
        order: the outputs in the order of the page.
        answers: see `answers.Answers`.
        seconds, edits, rated_at: how long it took, how often it was changed, and when it was given.
    """

    rater: int
    item: int
    purpose: Purpose
    prompt_id: str
    prompt: str
    stratum: str
    repeat_of: int | None
    expected: Mapping[str, Any]
    context: Mapping[str, Any]
    systems: Sequence[str | None]
    completions: Sequence[str]
    seeds: Sequence[int | None]
    values: Sequence[Mapping[str, float]]
    order: Sequence[int]
    answers: Mapping[str, Any]
    seconds: float
    edits: int
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class RaterProgress:
    """How far a rater is, for the administrator.

    Attributes:
        rater: its number.
        planned, rated: its pages, and how many are answered.
        seconds: mean of an answer; None before the first.
        checks, checks_right: answered checks of attention, and how many as expected.
        state: `invited`, `practising`, `rating`, `finished`, `refused` or `withdrawn`.
        seen_at: when a page was last asked for.
        feedback: what they wrote at the end.
        code: that they get at the end.
    """

    rater: int
    planned: int
    rated: int
    seconds: float | None
    checks: int
    checks_right: int
    state: str
    seen_at: datetime | None
    feedback: str
    code: str


class Refused(ConfigError):
    """What somebody asked for is not open to them, or not any more."""


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def utc(time: datetime | None) -> datetime | None:
    """Return a time of the database, which may have forgotten its zone."""
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def rater_of(row: Any) -> Rater:
    """Return the rater of a row of `RATERS`."""
    state: State = "rate" if row.consented_at is not None else "consent"
    if row.refused_at is not None:
        state = "refused"
    if row.withdrawn_at is not None:
        state = "withdrawn"
    return Rater(
        row.id,
        state,
        row.qualified_at is not None,
        row.finished_at is not None,
        row.released_at is not None,
        row.quota,
        row.code,
    )


def progress_of(row: Any, counts: Any, checks: Sequence[bool]) -> RaterProgress:
    """Return how far the rater of a row is.

    Args:
        row: of `RATERS`.
        counts: `planned`, `rated` and `seconds`; None where nothing is assigned.
        checks: whether each answered check is right.
    """
    rater = rater_of(row)
    state: str = rater.state
    if state == "consent":
        state = "invited"
    elif state == "rate":
        state = "finished" if rater.finished else "rating" if rater.qualified else "practising"
    planned, rated = (0, 0) if counts is None else (counts.planned, counts.rated)
    seconds = None if counts is None or counts.seconds is None else float(counts.seconds)
    return RaterProgress(
        row.id, planned, rated, seconds, len(checks), sum(checks), state, utc(row.seen_at), row.feedback or "", row.code
    )


def page_of(row: Any, opened_at: datetime | None) -> Page:
    """Return the page of a row of `ASSIGNMENTS` with what its item has."""
    return Page(
        row.position,
        row.purpose,
        json.loads(row.context),
        [output["completion"] for output in json.loads(row.outputs)],
        json.loads(row.shown),
        json.loads(row.expected),
        row.why,
        None if row.answers is None else json.loads(row.answers),
        None if row.draft is None else json.loads(row.draft),
        opened_at,
    )


def rating_of(row: Any) -> Rating:
    """Return the rating of a row of `ASSIGNMENTS` with what its item has."""
    outputs = json.loads(row.outputs)
    rated = utc(row.rated_at)
    if rated is None:
        raise DataError(f"assignment {row.id}: an answer without a time")
    return Rating(
        row.rater_id,
        row.item_id,
        row.purpose,
        row.prompt_id,
        row.prompt,
        row.stratum,
        row.repeat_of,
        json.loads(row.expected),
        json.loads(row.context),
        [output["system"] for output in outputs],
        [output["completion"] for output in outputs],
        [output["seed"] for output in outputs],
        [output["values"] for output in outputs],
        json.loads(row.shown),
        json.loads(row.answers),
        float(row.seconds or 0.0),
        int(row.edits),
        rated,
    )
