"""Results in a database: SQLite by default, any other that SQLAlchemy knows by its URL.

A database is a copy: the files of the cells are what was measured, and `add` of the same result twice changes nothing.
Texts and values of single prompts stay in Parquet files; the database says where.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.result import SCHEMA, Result, read_result
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")
_DIALECTS = {name: importlib.import_module(f"sqlalchemy.dialects.{name}") for name in ("sqlite", "postgresql")}

_METADATA = sa.MetaData()
_SCHEMA = sa.Table("grue_schema", _METADATA, sa.Column("version", sa.Integer, primary_key=True))
# Which result it is; a later one of the same cell takes its place.
_KEY = ("task", "task_version", "edition", "system", "seed", "decoding", "fingerprint")
_RESULTS = sa.Table(
    "grue_results",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task", sa.String(100), nullable=False),
    sa.Column("task_version", sa.Integer, nullable=False),
    sa.Column("edition", sa.String(20), nullable=False),
    sa.Column("system", sa.String(100), nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("decoding", sa.String(20), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.UniqueConstraint(*_KEY),
)
# One row for each number, for people who ask in SQL.
_VALUES = sa.Table(
    "grue_values",
    _METADATA,
    sa.Column("result_id", sa.ForeignKey("grue_results.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("metric", sa.String(200), primary_key=True),
    sa.Column("mean", sa.Float),
    sa.Column("stderr", sa.Float),
    sa.Column("n", sa.Integer, nullable=False),
)
_BUSY_S = 60


class Store:
    """Results of a grid in a database.

    Args:
        where: a path of an SQLite file, or a URL such as `postgresql+psycopg://user@host/name`.

    Raises:
        ConfigError: the URL is of another kind of database.
        DataError: the database has a newer schema.
        MissingExtraError: its driver is not installed.
    """

    def __init__(self, where: str | Path) -> None:
        url = str(where) if "://" in str(where) else f"sqlite:///{where}"
        self._is_sqlite = url.startswith("sqlite")
        if not (self._is_sqlite or url.startswith("postgresql")):
            raise ConfigError(f"{where}: a store is a file, or the URL of an SQLite or a PostgreSQL database")
        options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_S}} if self._is_sqlite else {}
        self._engine = sa.create_engine(url, **options)
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with self._engine.begin() as connection:
            _METADATA.create_all(connection)
            found = connection.execute(sa.select(_SCHEMA.c.version)).scalar()
            if found is None:
                connection.execute(self._insert(_SCHEMA).values(version=SCHEMA).on_conflict_do_nothing())
            elif found > SCHEMA:
                raise DataError(f"{where}: schema version {found}, this rl4lms knows up to {SCHEMA}; update rl4lms")

    def add(self, results: Iterable[Result], folder: str) -> None:
        """Add results, all or none; one that is there already is replaced.

        Args:
            results: of one cell.
            folder: where its files are.
        """
        with self._engine.begin() as connection:
            for result in results:
                key = {name: getattr(result, name) for name in _KEY}
                row = {**key, "folder": folder, "content": result.model_dump_json()}
                statement = self._insert(_RESULTS).values(**row)
                statement = statement.on_conflict_do_update(
                    index_elements=list(_KEY), set_={"folder": folder, "content": row["content"]}
                ).returning(_RESULTS.c.id)
                number = connection.execute(statement).scalar_one()
                connection.execute(sa.delete(_VALUES).where(_VALUES.c.result_id == number))
                values = [
                    {"result_id": number, "metric": name, "mean": value.mean, "stderr": value.stderr, "n": value.n}
                    for name, value in result.metrics.items()
                ]
                if values:
                    connection.execute(sa.insert(_VALUES), values)

    def results(self) -> list[Result]:
        """Return all results, in the order of task, system, seed and decoding."""
        order = (_RESULTS.c.task, _RESULTS.c.system, _RESULTS.c.seed, _RESULTS.c.decoding, _RESULTS.c.fingerprint)
        with self._engine.connect() as connection:
            rows: Sequence[Any] = connection.execute(sa.select(_RESULTS.c.content).order_by(*order)).scalars().all()
        return [read_result(json.loads(row), f"{self._engine.url}: result {n}") for n, row in enumerate(rows, 1)]

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _insert(self, table: Any) -> Any:
        return _DIALECTS["sqlite" if self._is_sqlite else "postgresql"].insert(table)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    del record
    connection.isolation_level = None  # SQLAlchemy begins transactions itself: immediate ones, which wait their turn
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
