"""A study in a database: who has rated what, and what they may do next.

Everything that changes is done in transactions that take turns, and each rating is a row that was there from the
beginning: so none is lost or double, whatever raters do at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError
from rl4lms.human_eval import queries
from rl4lms.human_eval.answers import right
from rl4lms.human_eval.doors import Doors
from rl4lms.human_eval.forms import Form
from rl4lms.human_eval.records import (
    Page,
    Rater,
    RaterProgress,
    Rating,
    Refused,
    Settings,
    now,
    page_of,
    rater_of,
    utc,
)
from rl4lms.human_eval.schema import ASSIGNMENTS, ITEMS, RATERS, SESSIONS, STUDY, migrate
from rl4lms.plugins.databases import empty_log, open_engine, reading, transaction
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")


#: A rater who goes from page to page is not noted at each of them.
_SEEN_AGAIN = timedelta(minutes=1)


class Study:
    """A study that was created by `create_study`.

    Args:
        where: a path of an SQLite file, or the URL of a database.

    Attributes:
        form, settings: of the study.
        doors: who may come in.
        name: of the database, for people.

    Raises:
        ConfigError: the database is not there or holds no study.
        DataError: it was written by a newer version.
    """

    def __init__(self, where: str | Path) -> None:
        self._engine = open_engine(str(where))
        self.name = str(self._engine.url)
        file = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and not Path(file or "").is_file():
            raise ConfigError(f"{where}: there is no such study; rl4lms human create writes one")
        try:
            with transaction(self._engine, "human") as connection:
                migrate(connection, self.name)
                row = connection.execute(sa.select(STUDY)).first()
        except sa.exc.DBAPIError as error:
            raise ConfigError(f"{self.name}: this database cannot be opened: {error.orig}") from error
        if row is None:
            raise ConfigError(f"{self.name}: there is no study in this database; rl4lms human create writes one")
        content = json.loads(row.content)
        self.form = Form.model_validate(content["form"])
        self.settings = Settings.model_validate(content["settings"])
        self.doors = Doors(self._engine, row.secret, content["platform"])
        self.created_at: datetime = utc(row.created_at) or now()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with transaction(self._engine, "human") as connection:
            yield connection

    def rater(self, rater: int) -> Rater:
        """Return a rater.

        Raises:
            Refused: there is none of that number.
        """
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(RATERS).where(RATERS.c.id == rater)).first()
        if row is None:
            raise Refused(f"there is no rater {rater}")
        return rater_of(row)

    @property
    def paused(self) -> bool:
        """Whether nothing can be answered for now."""
        with reading(self._engine) as connection:
            return bool(connection.execute(sa.select(STUDY.c.paused)).scalar())

    def pause(self, paused: bool) -> None:
        """Pause the study, or go on with it."""
        with self._writing() as connection:
            connection.execute(sa.update(STUDY).values(paused=paused))

    def consent(self, rater: int) -> None:
        """Note that a rater takes part; where there is no practice they are qualified by that."""
        values: dict[str, Any] = {"consented_at": now(), "seen_at": now()}
        if not self.form.practice:
            values["qualified_at"] = now()
        with self._writing() as connection:
            self._allowed(connection, rater, consented=False)
            connection.execute(
                sa.update(RATERS).where(RATERS.c.id == rater, RATERS.c.consented_at.is_(None)).values(**values)
            )

    def counts(self, rater: int) -> tuple[int, int]:
        """Return how many items a rater has answered, and how many there are in their list."""
        query = sa.select(sa.func.count(ASSIGNMENTS.c.answers), sa.func.count()).where(ASSIGNMENTS.c.rater_id == rater)
        with reading(self._engine) as connection:
            done, planned = connection.execute(query).one()
        return int(done), int(planned)

    def next_position(self, rater: int) -> int | None:
        """Return where a rater goes on; None where there is nothing left for them.

        Who has answered their own items and may take others gets one that was left by somebody.
        """
        own = sa.select(sa.func.min(ASSIGNMENTS.c.position)).where(
            ASSIGNMENTS.c.rater_id == rater, ASSIGNMENTS.c.answers.is_(None)
        )
        with reading(self._engine) as connection:
            found = connection.execute(own).scalar()
            may_take = connection.execute(sa.select(RATERS.c.quota).where(RATERS.c.id == rater)).scalar()
        if found is not None:
            return int(found)
        return self._take(rater, own) if may_take else None

    def _take(self, rater: int, own: Any) -> int | None:
        mine = sa.select(ASSIGNMENTS.c.item_id).where(ASSIGNMENTS.c.rater_id == rater)
        free = (
            sa.select(ASSIGNMENTS.c.id)
            .where(ASSIGNMENTS.c.rater_id.is_(None), ASSIGNMENTS.c.item_id.not_in(mine))
            .order_by(ASSIGNMENTS.c.id)
            .limit(1)
        )
        with self._writing() as connection:
            row = self._allowed(connection, rater)
            given = connection.execute(own).scalar()  # by another request of theirs, meanwhile
            if given is not None or row.qualified_at is None or row.quota < 1:
                return None if given is None else int(given)
            found = connection.execute(free).scalar()
            if found is None and self._reclaim(connection, rater):
                found = connection.execute(free).scalar()
            if found is None:
                return None
            last = connection.execute(
                sa.select(sa.func.max(ASSIGNMENTS.c.position)).where(ASSIGNMENTS.c.rater_id == rater)
            ).scalar()
            position = int(last or 0) + 1
            connection.execute(
                sa.update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == found).values(rater_id=rater, position=position)
            )
            connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(quota=RATERS.c.quota - 1))
        return position

    def _reclaim(self, connection: Any, rater: int) -> bool:
        """Free the items of the rater who has been away longest, if that is long enough."""
        before = now() - timedelta(hours=self.settings.reclaim_hours)
        seen = sa.func.coalesce(RATERS.c.seen_at, self.created_at)
        open_items = sa.select(ASSIGNMENTS.c.rater_id).where(ASSIGNMENTS.c.answers.is_(None))
        away = connection.execute(
            sa.select(RATERS.c.id)
            .where(RATERS.c.id != rater, RATERS.c.quota == 0, seen < before, RATERS.c.id.in_(open_items))
            .order_by(seen, RATERS.c.id)
            .limit(1)
        ).scalar()
        if away is None:
            return False
        _release(connection, away)
        return True

    def open_page(self, rater: int, position: int) -> Page:
        """Return a page of a rater's list, and note when it was first seen.

        Raises:
            Refused: the rater has no such page, or has not come so far yet.
        """
        with reading(self._engine) as connection:
            who = self._allowed(connection, rater, paused=False)
            row = self._assignment(connection, rater, position)
        at = now()
        seen, opened = utc(who.seen_at), utc(row.opened_at)
        if opened is None or seen is None or at - seen > _SEEN_AGAIN:
            with self._writing() as connection:
                self._allowed(connection, rater, paused=False)
                row = self._assignment(connection, rater, position)
                connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(seen_at=at))
                opened = utc(row.opened_at)
                if opened is None:
                    opened = at
                    connection.execute(sa.update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.id).values(opened_at=at))
        return page_of(row, opened)

    def read_page(self, rater: int, position: int) -> Page:
        """Return a page of a rater's list, and write nothing.

        Raises:
            Refused: see `open_page`.
        """
        with reading(self._engine) as connection:
            self._allowed(connection, rater, paused=False)
            row = self._assignment(connection, rater, position)
        return page_of(row, utc(row.opened_at))

    def save_draft(self, rater: int, position: int, fields: Mapping[str, Sequence[str]]) -> None:
        """Keep the fields of a page as they are.

        Raises:
            Refused: see `open_page`.
        """
        text = json.dumps({name: list(values) for name, values in fields.items()}, ensure_ascii=False)
        with self._writing() as connection:
            self._allowed(connection, rater)
            row = self._assignment(connection, rater, position)
            connection.execute(sa.update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.id).values(draft=text))

    def save(self, rater: int, position: int, answers: Mapping[str, Any], active: float | None = None) -> None:
        """Keep an answer, or change it. When this returns it is on the disk.

        Args:
            rater, position: whose, and of which page.
            answers: as `answers.read_answers` returns them.
            active: seconds that the page counted; no more than have passed since it was opened are believed.

        Raises:
            Refused: see `open_page`; also where a practice item was answered before.
        """
        with self._writing() as connection:
            self._allowed(connection, rater)
            row = self._assignment(connection, rater, position)
            if row.answers is not None and row.purpose == "practice":
                raise Refused("what was practised cannot be changed")
            at = now()
            passed = max((at - (utc(row.opened_at) or at)).total_seconds(), 0.0)
            seconds = passed if active is None else min(max(active, 0.0), passed)
            values: dict[str, Any] = {"answers": json.dumps(dict(answers), ensure_ascii=False), "draft": None}
            if row.answers is None:
                values |= {"rated_at": at, "seconds": seconds}
            elif json.loads(row.answers) != dict(answers):  # a page that was sent twice is no change
                values["edits"] = row.edits + 1  # which says nothing about how long the item took
            connection.execute(sa.update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.id).values(**values))
            connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(seen_at=at))
            if row.purpose == "practice":
                self._qualify(connection, rater)

    def _qualify(self, connection: Any, rater: int) -> None:
        """Decide whether a rater goes on, where all of their practice is answered."""
        of_practice = (
            sa.select(ASSIGNMENTS.c.answers, ITEMS.c.expected)
            .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
            .where(ASSIGNMENTS.c.rater_id == rater, ITEMS.c.purpose == "practice")
        )
        rows = connection.execute(of_practice).all()
        if any(row.answers is None for row in rows):
            return
        share = sum(right(json.loads(row.expected), json.loads(row.answers)) for row in rows) / len(rows)
        passed = share >= self.form.pass_share
        values = {"qualified_at": now()} if passed else {"refused_at": now(), "quota": 0}
        connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(**values))
        if not passed:
            _free(connection, rater)

    def finish(self, rater: int, feedback: str | None = None) -> None:
        """Note that a rater has seen the last page, and what they wrote there."""
        values: dict[str, Any] = {"finished_at": sa.func.coalesce(RATERS.c.finished_at, now())}
        if feedback is not None:
            values["feedback"] = feedback
        with self._writing() as connection:
            self._allowed(connection, rater, paused=False)
            connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(**values))

    def withdraw(self, rater: int) -> None:
        """Remove everything that a rater answered, and let others rate their items; their invitation is spent."""
        with self._writing() as connection:
            mine = ASSIGNMENTS.c.rater_id == rater
            connection.execute(
                sa.update(ASSIGNMENTS)
                .where(mine)
                .values(answers=None, draft=None, seconds=None, rated_at=None, opened_at=None, edits=0)
            )
            _free(connection, rater)
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.rater_id == rater))
            connection.execute(
                sa.update(RATERS)
                .where(RATERS.c.id == rater)
                .values(
                    withdrawn_at=now(),
                    external=None,
                    feedback=None,
                    quota=0,
                    consented_at=None,
                    qualified_at=None,
                    seen_at=None,
                    finished_at=None,
                    released_at=None,
                )
            )
        empty_log(self._engine)

    def release(self, rater: int) -> None:
        """Give a rater's open items to others; what they answered stays."""
        with self._writing() as connection:
            _release(connection, rater)

    def _allowed(self, connection: Any, rater: int, *, consented: bool = True, paused: bool = True) -> Any:
        """Return the row of a rater who may answer now."""
        row = connection.execute(sa.select(RATERS).where(RATERS.c.id == rater)).first()
        if row is None or row.withdrawn_at is not None or row.refused_at is not None:
            raise Refused("this rater takes no part in the study any more")
        if consented and row.consented_at is None:
            raise Refused("this rater has not agreed to take part yet")
        if paused and connection.execute(sa.select(STUDY.c.paused)).scalar():
            raise Refused("the study is paused")
        return row

    def _assignment(self, connection: Any, rater: int, position: int) -> Any:
        """Return a page that was answered, or the next one."""
        mine = ASSIGNMENTS.c.rater_id == rater
        query = (
            sa.select(ASSIGNMENTS, ITEMS.c.purpose, ITEMS.c.context, ITEMS.c.outputs, ITEMS.c.expected, ITEMS.c.why)
            .join(ITEMS, ITEMS.c.id == ASSIGNMENTS.c.item_id)
            .where(mine, ASSIGNMENTS.c.position == position)
        )
        row = connection.execute(query).first()
        earlier = sa.select(sa.func.min(ASSIGNMENTS.c.position)).where(mine, ASSIGNMENTS.c.answers.is_(None))
        following = connection.execute(earlier).scalar()
        if row is None or (row.answers is None and position != following):
            raise Refused(f"page {position} is not open")
        return row

    def progress(self) -> list[RaterProgress]:
        """Return how far every rater is, by their numbers."""
        with reading(self._engine) as connection:
            return queries.progress(connection)

    def open_ratings(self) -> tuple[int, int]:
        """Return how many ratings of items are missing, and how many of them have no rater."""
        with reading(self._engine) as connection:
            return queries.open_ratings(connection)

    def answers(self) -> list[queries.Answered]:
        """Return what was answered about the items that are rated, and nothing of the items themselves."""
        with reading(self._engine) as connection:
            return queries.answers(connection)

    def ratings(self) -> list[Rating]:
        """Return every answer, by rater and page."""
        with reading(self._engine) as connection:
            return queries.ratings(connection)


def _release(connection: Any, rater: int) -> None:
    """Take a rater's open items away, and note that there were some: who was not fast enough has not finished."""
    open_items = sa.select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.rater_id == rater, ASSIGNMENTS.c.answers.is_(None))
    if connection.execute(open_items.limit(1)).first() is None:
        return
    _free(connection, rater)
    connection.execute(sa.update(RATERS).where(RATERS.c.id == rater).values(released_at=now()))


def _free(connection: Any, rater: int) -> None:
    """Take a rater's open items away: those that others are to rate, and the rest altogether."""
    mine = sa.and_(ASSIGNMENTS.c.rater_id == rater, ASSIGNMENTS.c.answers.is_(None))
    to_rate = sa.select(ITEMS.c.id).where(ITEMS.c.purpose == "rate")
    connection.execute(sa.delete(ASSIGNMENTS).where(mine, ASSIGNMENTS.c.item_id.not_in(to_rate)))
    connection.execute(
        sa.update(ASSIGNMENTS).where(mine).values(rater_id=None, position=None, opened_at=None, draft=None)
    )
