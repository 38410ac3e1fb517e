"""What is asked of a study as a whole: how far it is, and what was answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rl4lms.human_eval.answers import right
from rl4lms.human_eval.records import RaterProgress, Rating, progress_of, rating_of
from rl4lms.human_eval.schema import ASSIGNMENTS, ITEMS, RATERS
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")


@dataclass(frozen=True, slots=True)
class Answered:
    """What one rater answered about an item that is rated.

    Attributes:
        rater, item: their numbers.
        answers: see `answers.Answers`.
    """

    rater: int
    item: int
    answers: Mapping[str, Any]


def progress(connection: Any) -> list[RaterProgress]:
    """Return how far every rater is, by their numbers."""
    counted = sa.select(
        ASSIGNMENTS.c.rater_id,
        sa.func.count().label("planned"),
        sa.func.count(ASSIGNMENTS.c.answers).label("rated"),
        sa.func.avg(ASSIGNMENTS.c.seconds).label("seconds"),
    ).group_by(ASSIGNMENTS.c.rater_id)
    checked = (
        sa.select(ASSIGNMENTS.c.rater_id, ASSIGNMENTS.c.answers, ITEMS.c.expected)
        .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
        .where(ITEMS.c.purpose == "check", ASSIGNMENTS.c.answers.is_not(None))
    )
    counts = {row.rater_id: row for row in connection.execute(counted)}
    checks: dict[int, list[bool]] = {}
    for row in connection.execute(checked):
        checks.setdefault(row.rater_id, []).append(right(json.loads(row.expected), json.loads(row.answers)))
    raters = connection.execute(sa.select(RATERS).order_by(RATERS.c.id)).all()
    return [progress_of(row, counts.get(row.id), checks.get(row.id, [])) for row in raters]


def open_ratings(connection: Any) -> tuple[int, int]:
    """Return how many ratings of items are missing, and how many of them have no rater."""
    query = (
        sa.select(sa.func.count(), sa.func.count(ASSIGNMENTS.c.rater_id))
        .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
        .where(ITEMS.c.purpose == "rate", ASSIGNMENTS.c.answers.is_(None))
    )
    missing, given = connection.execute(query).one()
    return int(missing), int(missing) - int(given)


def answers(connection: Any) -> list[Answered]:
    """Return what was answered about the items that are rated."""
    query = (
        sa.select(ASSIGNMENTS.c.rater_id, ASSIGNMENTS.c.item_id, ASSIGNMENTS.c.answers)
        .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
        .where(ITEMS.c.purpose == "rate", ASSIGNMENTS.c.answers.is_not(None))
    )
    return [Answered(row.rater_id, row.item_id, json.loads(row.answers)) for row in connection.execute(query)]


def ratings(connection: Any) -> list[Rating]:
    """Return every answer, by rater and page."""
    query = (
        sa.select(
            ASSIGNMENTS,
            ITEMS.c.purpose,
            ITEMS.c.prompt_id,
            ITEMS.c.prompt,
            ITEMS.c.stratum,
            ITEMS.c.repeat_of,
            ITEMS.c.context,
            ITEMS.c.outputs,
            ITEMS.c.expected,
        )
        .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
        .where(ASSIGNMENTS.c.answers.is_not(None))
        .order_by(ASSIGNMENTS.c.rater_id, ASSIGNMENTS.c.position)
    )
    return [rating_of(row) for row in connection.execute(query).all()]
