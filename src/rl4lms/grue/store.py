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
from rl4lms.grue.schema import KEY, RESULTS, VALUES, migrate, transaction
from rl4lms.plugins.databases import open_engine
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")


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
        self._engine = open_engine(str(where))
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
