"""Stores in SQLite, PostgreSQL and MariaDB: the same in all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.schema import METADATA, VERSION_TABLE
from rl4lms.grue.store import Store
from rl4lms.grue.stored import read_stored
from tests.cli.test_cli import call
from tests.marks import slow_but
from tests.unit.grue import mariadb, old_store, postgres
from tests.unit.grue.made_up import result, write_cell

KINDS = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="module")
def mariadb_server() -> Iterator[str]:
    with mariadb.server() as url:
        yield url


@pytest.fixture
def url(request, tmp_path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'results.sqlite'}"
        return
    pattern = request.getfixturevalue(f"{request.param}_server")
    name = f"test_{abs(hash(request.node.name))}"
    first = "postgres" if request.param == "postgresql" else "mysql"
    engine = sa.create_engine(_psycopg(pattern.replace("NAME", first)), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
    engine.dispose()
    yield pattern.replace("NAME", name)


def _psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(_psycopg(url))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(statement)]
    engine.dispose()
    return found


def interrupt_migration(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open a store in a process that ends once the schema is changed, before that is written down."""
    upgrade = command.upgrade

    def fail(*arguments: object) -> None:
        upgrade(*arguments)
        raise RuntimeError("the machine stops here")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(RuntimeError, match="stops here"):
        Store(url)
    monkeypatch.undo()


# Where there were stores before there were migrations, and a migration is a transaction.
OLD = ["sqlite", "postgresql"]
of_old = pytest.mark.parametrize("url", slow_but(OLD, ["sqlite"]), indirect=True)
everywhere = pytest.mark.parametrize("url", slow_but(KINDS, ["sqlite"]), indirect=True)


@everywhere
def test_a_result_is_replaced_and_keeps_when_it_was_added(url):
    store = Store(url)
    before = datetime.now(UTC).replace(microsecond=0)  # MariaDB keeps whole seconds
    store.add([result(), result(decoding="shared"), result(seed=1)], "/a")
    store.close()
    first = rows(url, "select id, created_at from grue_results order by id")
    again = result(metrics={}, prompts=5)
    store = Store(url)
    store.add([again], "/b")
    assert [(str(place), one) for place, one in store.places()] == [
        ("/b", again),
        ("/a", result(decoding="shared")),
        ("/a", result(seed=1)),
    ]
    store.close()
    assert rows(url, "select id, created_at from grue_results order by id") == first
    assert rows(url, "select count(*) from grue_values") == [(2,)]
    when = first[0][1]
    when = datetime.fromisoformat(when) if isinstance(when, str) else when
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    assert before <= when <= before + timedelta(minutes=5)


@everywhere
def test_a_failed_add_leaves_nothing(url):
    def half() -> Iterator[object]:
        yield result(seed=1)
        raise RuntimeError("the process ends here")

    store = Store(url)
    store.add([result()], "/a")
    with pytest.raises(RuntimeError, match="ends here"):
        store.add(half(), "/b")
    assert store.places() == [(Path("/a"), result())]
    store.close()


@everywhere
def test_migrated_tables_are_those_of_the_code(url):
    store = Store(url)
    with store._engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    store.close()
    assert rows(url, f"select version_num from {VERSION_TABLE}") == [("2",)]
    assert rows(url, "select version from grue_schema") == [(2,)]


@of_old
def test_a_store_of_the_first_schema_is_adopted(url):
    old_store.write(_psycopg(url))
    store = Store(url)
    assert store.results() == [result(seed=seed) for seed in old_store.SEEDS]
    store.add([result(seed=3, prompts=9)], "/new")
    assert len(store.results()) == len(old_store.SEEDS)
    with store._engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    store.close()
    assert rows(url, "select count(*), count(created_at) from grue_results") == [(50, 0)]  # nobody knows when
    assert rows(url, "select count(*) from grue_values") == [(50,)]
    assert rows(url, "select version from grue_schema") == [(2,)]


@of_old
def test_a_failed_migration_leaves_the_store_as_it_was(url, monkeypatch):
    old_store.write(_psycopg(url))
    interrupt_migration(url, monkeypatch)
    assert rows(url, "select version from grue_schema") == [(1,)]
    assert "created_at" not in {name for (name,) in rows(url, _columns(url))}
    store = Store(url)
    assert len(store.results()) == len(old_store.SEEDS)
    store.close()


def _columns(url: str) -> str:
    if url.startswith("sqlite"):
        return "select name from pragma_table_info('grue_results')"
    return "select column_name from information_schema.columns where table_name = 'grue_results'"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_where_a_migration_is_no_transaction_a_half_made_one_is_finished(url, monkeypatch):
    interrupt_migration(url, monkeypatch)
    store = Store(url)
    store.add([result()], "/a")
    assert store.results() == [result()]
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("url", ["mariadb"], indirect=True)
def test_a_long_result_is_kept_whole_and_a_busy_store_says_so(url, monkeypatch):
    store = Store(url)
    long = result(absent={f"metric-{n}": "not installed " * 20 for n in range(500)})
    store.add([long], "/a")
    assert store.results() == [long]
    monkeypatch.setattr("rl4lms.plugins.databases.BUSY_S", 1)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("select get_lock('rl4lms_grue', 1)")
        with pytest.raises(ConfigError, match="other processes have been writing for 1 s"):
            store.add([result(seed=5)], "/b")
    engine.dispose()
    store.add([result(seed=5)], "/b")
    assert len(store.results()) == 2
    store.close()


@everywhere
def test_a_newer_store_is_refused(url):
    Store(url).close()
    engine = sa.create_engine(_psycopg(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("update grue_schema set version = 9")
    engine.dispose()
    with pytest.raises(DataError, match="schema version 9, this rl4lms knows up to 2; update rl4lms"):
        Store(url)


WRITER = """
import json, sys
from rl4lms.grue.result import Result
from rl4lms.grue.store import Store
name, url, content = sys.argv[1:]
content = json.loads(content)
def result(system, seed, decoding, **more):
    return Result(**(content | {"system": system, "seed": seed, "decoding": decoding} | more))
for seed in range(20):
    store = Store(url)
    store.add([result(name, seed, "own"), result(name, seed, "shared")], "/x")
    store.add([result("together", seed, "own", prompts=len(name))], "/x")
    store.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "old"),
    [*((kind, False) for kind in KINDS), *((kind, True) for kind in OLD)],
    indirect=["url"],
)
def test_eight_processes_open_and_write_at_once(url, old):
    if old:
        old_store.write(_psycopg(url))
    content = result().model_dump_json()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, f"system-{n}", url, content]) for n in range(8)]
    assert [writer.wait() for writer in writers] == [0] * 8
    store = Store(url)
    found = store.results()
    store.close()
    assert len(found) == len({(one.system, one.seed, one.decoding) for one in found})
    assert {(one.system, one.seed) for one in found if one.decoding == "shared"} == {
        (f"system-{n}", seed) for n in range(8) for seed in range(20)
    }
    assert len(found) == 8 * 20 * 2 + 20 + (len(old_store.SEEDS) if old else 0)
    assert rows(url, f"select version_num from {VERSION_TABLE}") == [("2",)]


@everywhere
def test_the_table_of_a_store_is_that_of_its_grid(url, tmp_path):
    grid = tmp_path / "grid"
    store = Store(url)
    for system, values in (("ppo", [0.1, 0.4]), ("zero_shot", [0.1, 0.2])):
        for seed in range(2):
            place = write_cell(grid, system, seed, [value + seed / 10 for value in values])
            store.add(_results_of(place), str(place))
    store.close()
    ours = call("grue", "table", "--store", url, "--format", "csv")
    theirs = call("grue", "table", grid, "--format", "csv")
    assert ours.exit_code == theirs.exit_code == 0, ours.output
    assert ours.output == theirs.output
    assert "zero_shot" in ours.output


def _results_of(place: Path) -> list[object]:
    from rl4lms.grue.result import read_results

    return list(read_results(place / "results.json"))


def test_a_store_that_no_longer_says_what_the_files_do(tmp_path):
    store = Store(tmp_path / "results.sqlite")
    with pytest.raises(ConfigError, match="no results are stored"):
        read_stored(store)
    place = write_cell(tmp_path, "ppo", 0, [0.1, 0.2])
    store.add(_results_of(place), str(place))
    assert {path for path, _ in read_stored(store)} == {place}
    store.add([result(fingerprint="1" * 16)], "/other")
    with pytest.raises(ConfigError, match=r"different settings, from .*seed-0 and from /other"):
        read_stored(store)
    store.close()
    store = Store(tmp_path / "second.sqlite")
    store.add([result(prompts=3)], str(place))
    with pytest.raises(DataError, match="has another result than the store"):
        read_stored(store)
    store.add([result(prompts=3)], "/gone")
    with pytest.raises(DataError, match=r"/gone/results\.json is not there"):
        read_stored(store)
    store.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/x", "--store", "x.sqlite"], "a table is of one of them"),
        (["--store", "nowhere.sqlite"], "nowhere.sqlite: there is no such store"),
        (["--store", "nothing://me:secret@here/x"], "SQLAlchemy knows no such database or driver"),
        (["--store", "mysql+pyodbc://me:secret@here/x"], "the tested driver is that of mysql+pymysql"),
        (["--store", "postgresql://me:secret@127.0.0.1:1/x"], "cannot be opened"),
        (["--store", "postgresql+nothing://me:secret@here/x"], "such as postgresql+psycopg://user"),
        (["--store", "postgresql://me:secret@here:port/x"], "the URL of a store cannot be read"),
    ],
)
def test_a_store_that_cannot_be_read(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    said = call("grue", "table", *arguments)
    assert said.exit_code == 2, said.output
    assert message in said.output
    assert "secret" not in said.output
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "x").write_text("no database, but a text that is long enough " * 20)
    with pytest.raises(ConfigError, match="x: this database cannot be opened: file is not a database"):
        Store(tmp_path / "x")
