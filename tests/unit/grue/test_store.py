from __future__ import annotations

import json
import sqlite3

import pytest
from jsonschema import Draft202012Validator

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.result import read_results, schema, write_results
from rl4lms.grue.store import Store
from tests.unit.grue.made_up import result


def test_results_come_back_as_they_were(tmp_path):
    path = tmp_path / "results.json"
    results = [result(decoding="own"), result(decoding="shared", absent={"spice": "no Java"})]
    write_results(path, results)
    assert read_results(path) == results
    for row in json.loads(path.read_text()):
        Draft202012Validator(schema()).validate(row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema version 3, this rl4lms reads up to 2; update rl4lms"),
        ({"prompts": 0}, "result 1: prompts"),
        ({"sytem": "x"}, "result 1: sytem: unknown key; did you mean 'system'"),
        ({"decoding": "greedy"}, "result 1: decoding"),
        ({"metrics": {"rouge1": {"mean": "high", "stderr": None, "n": 1}}}, r"metrics\.rouge1\.mean"),
    ],
)
def test_a_result_of_another_schema_is_refused(tmp_path, change, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([result().model_dump(mode="json") | change]))
    with pytest.raises(DataError, match=message):
        read_results(path)


def test_a_file_that_is_none(tmp_path):
    for text, message in (("{", "not JSON"), ("{}", "must be a list")):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_results(tmp_path / "results.json")


def test_a_store_keeps_one_result_of_each_cell(tmp_path):
    store = Store(tmp_path / "results.sqlite")
    store.add([result(), result(decoding="shared")], "cells/a")
    store.add([result(), result(decoding="shared")], "cells/a")
    store.add([result(seed=1, absent={"spice": "no Java"})], "cells/b")
    assert store.results() == [result(), result(decoding="shared"), result(seed=1, absent={"spice": "no Java"})]
    again = result(metrics={})
    store.add([again], "cells/a")
    assert store.results()[0] == again
    store.close()
    rows = sqlite3.connect(tmp_path / "results.sqlite")
    assert rows.execute("select count(*) from grue_values").fetchone() == (2,)
    assert rows.execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_transaction_is_all_or_nothing(tmp_path):
    store = Store(tmp_path / "results.sqlite")

    def half():
        yield result()
        raise RuntimeError("the process ends here")

    with pytest.raises(RuntimeError):
        store.add(half(), "cells/a")
    assert store.results() == []


def test_a_newer_database_is_refused(tmp_path):
    Store(tmp_path / "results.sqlite").close()
    with sqlite3.connect(tmp_path / "results.sqlite") as rows:
        rows.execute("update grue_schema set version = 9")
    with pytest.raises(DataError, match="schema version 9, this rl4lms knows up to 2"):
        Store(tmp_path / "results.sqlite")
    with pytest.raises(ConfigError, match=r"the tested driver is that of mysql\+pymysql"):
        Store("mysql://somewhere/else")
