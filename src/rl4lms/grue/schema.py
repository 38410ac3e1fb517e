"""The schema of a store, and how a database of an earlier one is brought to it: by Alembic, with the scripts in
`migrations/versions`, whose revisions are numbered 1, 2, ...
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

from rl4lms.errors import DataError
from rl4lms.plugins import databases
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")
of_extra("alembic")
_alembic: Any = {name: importlib.import_module(f"alembic.{name}") for name in ("command", "script")}

#: Not Alembic's usual name: a database may hold other programs' tables.
VERSION_TABLE = "grue_alembic_version"
_SCRIPTS = Path(__file__).parent / "migrations"

METADATA = sa.MetaData()
#: Of any length, which MySQL's TEXT is not.
LONG = sa.Text().with_variant(importlib.import_module("sqlalchemy.dialects.mysql").LONGTEXT(), "mysql", "mariadb")
#: What rl4lms without Alembic reads: it refuses a database whose number is above its own.
_NUMBER = sa.Table("grue_schema", METADATA, sa.Column("version", sa.Integer, primary_key=True))
#: Which result it is; a later one of the same cell takes its place.
KEY = ("task", "task_version", "edition", "system", "seed", "decoding", "fingerprint")
RESULTS = sa.Table(
    "grue_results",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task", sa.String(100), nullable=False),
    sa.Column("task_version", sa.Integer, nullable=False),
    sa.Column("edition", sa.String(20), nullable=False),
    sa.Column("system", sa.String(100), nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("decoding", sa.String(20), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("content", LONG, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True)),  # when it was added first; unknown of those of schema 1
    sa.UniqueConstraint(*KEY),
    sa.Index("grue_results_of_system", "task", "system"),
)
#: One row for each number, for people who ask in SQL.
VALUES = sa.Table(
    "grue_values",
    METADATA,
    sa.Column("result_id", sa.Integer, sa.ForeignKey("grue_results.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("metric", sa.String(200), primary_key=True),
    sa.Column("mean", sa.Float),
    sa.Column("stderr", sa.Float),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Index("grue_values_of_metric", "metric"),
)


def transaction(engine: Any) -> contextlib.AbstractContextManager[Any]:
    """Open a transaction in which no other process writes results; see `databases.transaction`."""
    return databases.transaction(engine, "grue")


def migrate(connection: Any, where: str) -> None:
    """Bring a database to the newest schema. Of two processes the second finds the work done. After an error everything
    is as it was, but in MySQL, which has no transactions of schemas: there the next call does what is left.

    Args:
        connection: of `transaction`.
        where: names the database in errors.

    Raises:
        DataError: its schema is newer than the newest that is known here.
    """
    config = databases.scripts_of(connection, _SCRIPTS)
    newest = int(_alembic["script"].ScriptDirectory.from_config(config).get_current_head())
    tables = sa.inspect(connection).get_table_names()
    number = connection.execute(sa.select(_NUMBER.c.version)).scalar() if _NUMBER.name in tables else None
    if number is not None and number > newest:
        raise DataError(f"{where}: schema version {number}, this rl4lms knows up to {newest}; update rl4lms")
    if number == newest:
        return
    if number is not None and VERSION_TABLE not in tables:  # written before there were migrations
        _alembic["command"].stamp(config, str(number))
    _alembic["command"].upgrade(config, "head")
    connection.execute(sa.delete(_NUMBER))
    connection.execute(sa.insert(_NUMBER).values(version=newest))
