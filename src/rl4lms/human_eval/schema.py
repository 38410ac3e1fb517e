"""The tables of a study, and how a database is brought to them: by Alembic, with the scripts in `migrations/versions`,
whose revisions are numbered 1, 2, ... A database holds one study.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rl4lms.errors import DataError
from rl4lms.plugins.databases import scripts_of
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")
of_extra("alembic")

#: Not Alembic's usual name: a database may hold other programs' tables.
VERSION_TABLE = "human_alembic_version"
_SCRIPTS = Path(__file__).parent / "migrations"

METADATA = sa.MetaData()
LONG = sa.Text().with_variant(importlib.import_module("sqlalchemy.dialects.mysql").LONGTEXT(), "mysql", "mariadb")
_TIME = sa.DateTime(timezone=True)

#: One row: the study. `content` has form and settings; secret and password's hash are apart, for no export.
STUDY = sa.Table(
    "human_study",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("content", LONG, nullable=False),
    sa.Column("secret", sa.String(64), nullable=False),
    sa.Column("password", sa.String(200), nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", _TIME, nullable=False),
)
ITEMS = sa.Table(
    "human_items",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("purpose", sa.String(10), nullable=False),
    sa.Column("prompt_id", sa.Text, nullable=False),
    sa.Column("prompt", LONG, nullable=False),
    sa.Column("stratum", sa.Text, nullable=False),
    sa.Column("repeat_of", sa.Integer),
    sa.Column("context", LONG, nullable=False),
    sa.Column("outputs", LONG, nullable=False),
    sa.Column("expected", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
#: `invite` and `external` are hashes; `quota` is how many items of others a rater may take over; `released_at` is when
#: their own open items were given to others.
RATERS = sa.Table(
    "human_raters",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("invite", sa.String(64), nullable=False, unique=True),
    sa.Column("external", sa.String(64), unique=True),
    sa.Column("quota", sa.Integer, nullable=False),
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("consented_at", _TIME),
    sa.Column("qualified_at", _TIME),
    sa.Column("refused_at", _TIME),
    sa.Column("seen_at", _TIME),
    sa.Column("finished_at", _TIME),
    sa.Column("withdrawn_at", _TIME),
    sa.Column("released_at", _TIME),
    sa.Column("feedback", sa.Text),
)
#: One row is one rating, whoever gives it: so none is given twice, and none more than was planned.
ASSIGNMENTS = sa.Table(
    "human_assignments",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.Integer, sa.ForeignKey("human_items.id"), nullable=False),
    sa.Column("rater_id", sa.Integer, sa.ForeignKey("human_raters.id")),
    sa.Column("position", sa.Integer),
    sa.Column("shown", sa.String(200), nullable=False),
    sa.Column("opened_at", _TIME),
    sa.Column("draft", sa.Text),
    sa.Column("answers", sa.Text),
    sa.Column("seconds", sa.Float),
    sa.Column("edits", sa.Integer, nullable=False, default=0),
    sa.Column("rated_at", _TIME),
    sa.UniqueConstraint("rater_id", "position"),
    sa.UniqueConstraint("rater_id", "item_id"),
    sa.Index("human_assignments_of_item", "item_id"),
)
#: Who is logged in: a rater, or the administrator where there is none. `id` is a hash.
SESSIONS = sa.Table(
    "human_sessions",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("rater_id", sa.Integer, sa.ForeignKey("human_raters.id")),
    sa.Column("expires_at", _TIME, nullable=False),
)
#: Attempts at a password or an invitation that were wrong; `source` is a hash.
ATTEMPTS = sa.Table(
    "human_attempts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.Index("human_attempts_of_source", "kind", "source", "at"),
)


def migrate(connection: Any, where: str) -> None:
    """Bring a database to the newest schema.

    Args:
        connection: of a transaction.
        where: names the database in errors.

    Raises:
        DataError: its schema is newer than the newest that is known here.
    """
    config = scripts_of(connection, _SCRIPTS)
    newest = int(importlib.import_module("alembic.script").ScriptDirectory.from_config(config).get_current_head())
    number = 0
    if VERSION_TABLE in sa.inspect(connection).get_table_names():
        found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        number = int(found or 0)
    if number > newest:
        raise DataError(f"{where}: schema version {number}, this rl4lms knows up to {newest}; update rl4lms")
    if number < newest:
        importlib.import_module("alembic.command").upgrade(config, "head")
