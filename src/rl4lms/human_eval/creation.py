"""Writes a new study into a database."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError
from rl4lms.human_eval.doors import hash_of, password_hash
from rl4lms.human_eval.forms import Form
from rl4lms.human_eval.plan import Plan
from rl4lms.human_eval.records import Settings, now
from rl4lms.human_eval.schema import ASSIGNMENTS, ITEMS, RATERS, SESSIONS, STUDY, migrate
from rl4lms.plugins.databases import open_engine, reading, transaction
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")


@dataclass(frozen=True, slots=True)
class Created:
    """A new study: what is told once, and of which only hashes are kept.

    Attributes:
        password: of the administrator.
        invites: a secret for each planned rater, then for each spare.
        platform: the secret of links for a crowdsourcing platform.
    """

    password: str
    invites: list[str]
    platform: str


def create_study(where: str | Path, form: Form, settings: Settings, plan: Plan) -> Created:
    """Write a study into a new database.

    Args:
        where: a path of an SQLite file, or the URL of a database.
        form, settings, plan: of the study.

    Raises:
        ConfigError: there is a study already, or the database cannot be opened.
    """
    engine = open_engine(str(where))
    made = Created(
        password=secrets.token_urlsafe(12),
        invites=[secrets.token_urlsafe(24) for _ in range(plan.raters + plan.spares)],
        platform=secrets.token_urlsafe(24),
    )
    content: dict[str, Any] = {"form": form.model_dump(mode="json"), "settings": settings.model_dump(mode="json")}
    content["platform"] = hash_of(made.platform)
    share = -(-len([1 for item in plan.items if item.purpose == "rate"]) * plan.per_item // plan.raters)
    try:
        with transaction(engine, "human") as connection:
            migrate(connection, str(engine.url))
            if connection.execute(sa.select(STUDY.c.id)).first():
                raise ConfigError(f"{engine.url}: there is a study already; a database holds one")
            connection.execute(
                sa.insert(STUDY).values(
                    id=1,
                    content=json.dumps(content, ensure_ascii=False),
                    secret=secrets.token_hex(32),
                    password=password_hash(made.password, secrets.token_bytes(16)),
                    paused=False,
                    created_at=now(),
                )
            )
            connection.execute(
                sa.insert(RATERS),
                [
                    {
                        "id": number + 1,
                        "invite": hash_of(invite),
                        "quota": 0 if number < plan.raters else share,
                        "code": secrets.token_hex(4).upper(),
                    }
                    for number, invite in enumerate(made.invites)
                ],
            )
            connection.execute(
                sa.insert(ITEMS),
                [
                    {
                        "id": item.number + 1,
                        "purpose": item.purpose,
                        "prompt_id": item.prompt_id,
                        "prompt": item.prompt,
                        "stratum": item.stratum,
                        "repeat_of": None if item.repeat_of is None else item.repeat_of + 1,
                        "context": json.dumps(dict(item.context), ensure_ascii=False),
                        "outputs": json.dumps([asdict(output) for output in item.outputs], ensure_ascii=False),
                        "expected": json.dumps(dict(item.expected), ensure_ascii=False),
                        "why": item.why,
                    }
                    for item in plan.items
                ],
            )
            connection.execute(sa.insert(ASSIGNMENTS), _assigned(plan))
    except sa.exc.DBAPIError as error:
        raise ConfigError(f"{engine.url}: this database cannot be written: {error.orig}") from error
    finally:
        engine.dispose()
    return made


def _assigned(plan: Plan) -> list[dict[str, Any]]:
    positions: Counter[int] = Counter()
    rows = []
    for given in plan.assignments:
        positions[given.rater] += 1
        rows.append(
            {
                "item_id": given.item + 1,
                "rater_id": given.rater + 1,
                "position": positions[given.rater],
                "shown": json.dumps(list(given.order)),
                "edits": 0,
            }
        )
    return rows


def invite_spares(where: str | Path, count: int) -> dict[int, str]:
    """Return by their numbers secrets of invitations for further raters of a study, who take over what others left.

    Args:
        where: the database of the study.
        count: how many.

    Raises:
        ConfigError: there is no study.
    """
    engine = _opened(where)
    made = [secrets.token_urlsafe(24) for _ in range(count)]
    rated = sa.select(ITEMS.c.id).where(ITEMS.c.purpose == "rate")
    loads = sa.select(sa.func.count()).where(ASSIGNMENTS.c.item_id.in_(rated)).group_by(ASSIGNMENTS.c.rater_id)
    shared = sa.select(ITEMS.c.id, ITEMS.c.outputs).where(ITEMS.c.purpose.in_(("practice", "check")))
    with transaction(engine, "human") as connection:
        last = int(connection.execute(sa.select(sa.func.max(RATERS.c.id))).scalar_one())
        most = max(connection.execute(loads).scalars())
        rows = connection.execute(shared.order_by(ITEMS.c.id)).all()
        for number, invite in enumerate(made, last + 1):
            code = secrets.token_hex(4).upper()
            connection.execute(sa.insert(RATERS).values(id=number, invite=hash_of(invite), quota=most, code=code))
            own = [
                {
                    "item_id": row.id,
                    "rater_id": number,
                    "position": position,
                    "shown": json.dumps(list(range(len(json.loads(row.outputs))))),
                    "edits": 0,
                }
                for position, row in enumerate(rows, 1)
            ]
            if own:
                connection.execute(sa.insert(ASSIGNMENTS), own)
    engine.dispose()
    return dict(enumerate(made, last + 1))


def new_password(where: str | Path) -> str:
    """Return a new password of the administrator, in place of the old one, whose sessions end.

    Raises:
        ConfigError: there is no study.
    """
    engine = _opened(where)
    made = secrets.token_urlsafe(12)
    with transaction(engine, "human") as connection:
        connection.execute(sa.update(STUDY).values(password=password_hash(made, secrets.token_bytes(16))))
        connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.rater_id.is_(None)))
    engine.dispose()
    return made


def _opened(where: str | Path) -> Any:
    engine = open_engine(str(where))
    with reading(engine) as connection:
        there = STUDY.name in sa.inspect(connection).get_table_names()
    if not there:
        raise ConfigError(f"{engine.url}: there is no study in this database; rl4lms human create writes one")
    return engine
