"""A store as rl4lms wrote it before there were migrations: its statements, as that code gave them to the database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tests.unit.grue.made_up import result

# `{id}`: a column that numbers rows
STATEMENTS = (
    "CREATE TABLE grue_schema (version INTEGER NOT NULL, PRIMARY KEY (version))",
    "CREATE TABLE grue_results (id {id} NOT NULL, task VARCHAR(100) NOT NULL, task_version INTEGER NOT NULL, "
    "edition VARCHAR(20) NOT NULL, system VARCHAR(100) NOT NULL, seed INTEGER NOT NULL, decoding VARCHAR(20) NOT NULL, "
    "fingerprint VARCHAR(64) NOT NULL, folder TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (id), "
    "UNIQUE (task, task_version, edition, system, seed, decoding, fingerprint))",
    "CREATE TABLE grue_values (result_id INTEGER NOT NULL, metric VARCHAR(200) NOT NULL, mean FLOAT, stderr FLOAT, "
    "n INTEGER NOT NULL, PRIMARY KEY (result_id, metric), "
    "FOREIGN KEY(result_id) REFERENCES grue_results (id) ON DELETE CASCADE)",
    "INSERT INTO grue_schema (version) VALUES (1)",
)
_INSERT = (
    "INSERT INTO grue_results (task, task_version, edition, system, seed, decoding, fingerprint, folder, content) "
    "VALUES (:task, :task_version, :edition, :system, :seed, :decoding, :fingerprint, 'cells/old', :content)"
)
_VALUES = (
    "INSERT INTO grue_values (result_id, metric, mean, stderr, n) SELECT id, 'chrf', 0.5, 0.1, 4 FROM grue_results"
)
SEEDS = range(50)


def write(url: str) -> None:
    """Write a store of the first schema, with the results of `SEEDS`."""
    engine = sa.create_engine(url)
    number = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER"
    with engine.begin() as connection:
        for statement in STATEMENTS:
            connection.exec_driver_sql(statement.format(id=number))
        for seed in SEEDS:
            one = result(seed=seed)
            row: dict[str, Any] = one.model_dump(exclude={"content"})
            connection.execute(sa.text(_INSERT), {**_flat(row), "content": one.model_dump_json()})
        connection.exec_driver_sql(_VALUES)
    engine.dispose()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if isinstance(value, str | int)}
