"""Results in a database: SQLite by default, any other that SQLAlchemy knows by its URL.

A database is a copy: the files of the cells are what was measured, and `add` of the same result twice changes nothing.
Texts and values of single prompts stay in Parquet files; the database says where.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError
from rl4lms.grue.result import Result, read_result
from rl4lms.grue.schema import BUSY_S, KEY, RESULTS, VALUES, migrate, transaction
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")
# Which drivers are tested; those of other databases are whatever SQLAlchemy takes by itself.
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}


class Store:
    """Results of a grid in a database, which is brought to the newest schema when it is opened.

    Args:
        where: a path of an SQLite file, or a URL such as `postgresql://user@host/name`. PostgreSQL and MariaDB are
            tested.
        create: make an SQLite file that is not there.

    Raises:
        ConfigError: the URL is of no known kind of database, or the database is not there or cannot be opened.
        DataError: the database has a newer schema.
        MissingExtraError: its driver is not installed.
    """

    def __init__(self, where: str | Path, *, create: bool = True) -> None:
        self._engine = _engine(str(where))
        self.name = str(where) if "://" not in str(where) else str(self._engine.url)  # which hides a password
        file = self._engine.url.database
        if not create and self._engine.dialect.name == "sqlite" and not Path(file or "").is_file():
            raise ConfigError(f"{self.name}: there is no such store; rl4lms grue run writes one")
        try:
            with transaction(self._engine) as connection:
                migrate(connection, self.name)
        except sa.exc.DBAPIError as error:  # no such server, no right to, or a file that is none of SQLite
            raise ConfigError(f"{self.name}: this database cannot be opened: {error.orig}") from error

    def add(self, results: Iterable[Result], folder: str) -> None:
        """Add results, all or none; one that is there already is replaced.

        Args:
            results: of one cell.
            folder: where its files are, as an absolute path.
        """
        with transaction(self._engine) as connection:
            for result in results:
                key = {name: getattr(result, name) for name in KEY}
                content = {"folder": folder, "content": result.model_dump_json()}
                same = sa.and_(*(RESULTS.c[name] == value for name, value in key.items()))
                if not connection.execute(sa.update(RESULTS).where(same).values(**content)).rowcount:
                    connection.execute(sa.insert(RESULTS).values(**key, **content, created_at=datetime.now(UTC)))
                number = connection.execute(sa.select(RESULTS.c.id).where(same)).scalar_one()
                connection.execute(sa.delete(VALUES).where(VALUES.c.result_id == number))
                values = [
                    {"result_id": number, "metric": name, "mean": value.mean, "stderr": value.stderr, "n": value.n}
                    for name, value in result.metrics.items()
                ]
                if values:
                    connection.execute(sa.insert(VALUES), values)

    def results(self) -> list[Result]:
        """Return all results, in the order of task, system, seed and decoding."""
        return [result for _, result in self.places()]

    def places(self) -> list[tuple[Path, Result]]:
        """Return all results with the folders of their files, in the order of task, system, seed and decoding."""
        columns = RESULTS.c
        order = (columns.task, columns.system, columns.seed, columns.decoding, columns.fingerprint)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(columns.folder, columns.content).order_by(*order)).all()
        return [
            (Path(folder), read_result(json.loads(content), f"{self.name}: result {number}"))
            for number, (folder, content) in enumerate(rows, 1)
        ]

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _engine(where: str) -> Any:
    try:
        url = sa.make_url(where if "://" in where else sa.URL.create("sqlite", database=where))
    except (sa.exc.ArgumentError, ValueError) as error:  # not shown: there may be a password in it
        raise ConfigError(
            f"the URL of a store cannot be read ({error}); such as postgresql://user:password@host:5432/name"
        ) from error
    kind = url.get_backend_name()
    if kind == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_S})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    if url.drivername == "postgresql":  # its driver depends on the version of SQLAlchemy
        url = url.set(drivername=_DRIVERS[kind])
    try:
        if url.get_driver_name() == "psycopg":
            of_extra("psycopg")
        return sa.create_engine(url)
    except sa.exc.NoSuchModuleError as error:
        raise ConfigError(
            f"{url}: SQLAlchemy knows no such database or driver; a store is a file, or a URL such as "
            f"{_DRIVERS.get(kind, _DRIVERS['postgresql'])}://user:password@host/name"
        ) from error
    except ImportError as error:
        tested = f"; the tested driver is that of {_DRIVERS[kind]}://..." if kind in _DRIVERS else ""
        raise ConfigError(f"{url}: {error}; install this driver{tested}") from error


def _prepare_sqlite(connection: Any, record: Any) -> None:
    del record
    connection.isolation_level = None  # SQLAlchemy begins transactions itself: immediate ones, which wait their turn
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
