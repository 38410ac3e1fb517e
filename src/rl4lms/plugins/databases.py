"""Databases of results and of studies: SQLite files by default, any other that SQLAlchemy knows by its URL."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rl4lms.errors import ConfigError
from rl4lms.plugins.packages import of_extra

#: How long a process waits for others that write.
BUSY_S = 60
# Which drivers are tested; those of other databases are whatever SQLAlchemy takes by itself.
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}

_READS = "rl4lms_reads"


def open_engine(where: str) -> Any:
    """Return the engine of a database, whose SQLite transactions are immediate: they wait for their turn.

    Args:
        where: a path of an SQLite file, or a URL such as `postgresql://user@host/name`.

    Raises:
        ConfigError: the URL cannot be read, or is of no known kind of database, or its driver is not installed.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    sa = of_extra("sqlalchemy")
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
        sa.event.listen(engine, "begin", _begin_sqlite)
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


def _begin_sqlite(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READS) else "BEGIN IMMEDIATE")


def _prepare_sqlite(connection: Any, record: Any) -> None:
    del record
    connection.isolation_level = None  # SQLAlchemy begins transactions itself
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what is committed survives a loss of power, too
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted leaves no bytes behind


def empty_log(engine: Any) -> None:
    """Write what SQLite has in its log into the file, so that the log holds no bytes of what was deleted."""
    if engine.dialect.name == "sqlite":
        with contextlib.closing(engine.raw_connection()) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def reading(engine: Any) -> Any:
    """Return a connection that only reads, and waits for nobody who writes."""
    return engine.connect().execution_options(**{_READS: True})


@contextlib.contextmanager
def transaction(engine: Any, lock: str) -> Iterator[Any]:
    """Open a transaction in which no other process writes: by SQLite's immediate transactions and by locks of
    PostgreSQL and MySQL. In other databases it is an ordinary one.

    Args:
        engine: of `open_engine`.
        lock: whose transactions exclude each other; four letters that other programs are unlikely to choose.

    Yields:
        A connection.

    Raises:
        ConfigError: others have been writing for too long.
    """
    sa = of_extra("sqlalchemy")
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(engine.connect())
        if engine.dialect.name in ("mysql", "mariadb"):  # where a lock is of a session, and outlives its transactions
            name = f"rl4lms_{lock}"
            if connection.execute(sa.select(sa.func.get_lock(name, BUSY_S))).scalar() != 1:
                raise ConfigError(f"{engine.url}: other processes have been writing for {BUSY_S} s; try again")
            stack.callback(connection.commit)
            stack.callback(connection.execute, sa.select(sa.func.release_lock(name)))
            connection.commit()
        stack.enter_context(connection.begin())
        if engine.dialect.name == "postgresql":  # whose locks are numbers, and end with the transaction
            number = int.from_bytes(lock.encode()[:4], "big")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
        yield connection


def scripts_of(connection: Any, folder: Path) -> Any:
    """Return the configuration with which Alembic runs the migrations of a folder in a transaction.

    Args:
        connection: of `transaction`; `env.py` in the folder finds it as `config.attributes["connection"]`.
        folder: with `env.py` and `versions/`.
    """
    of_extra("alembic")
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
