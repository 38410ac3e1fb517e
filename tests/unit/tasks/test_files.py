"""Prompts from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rl4lms.config.data import DataConfig
from rl4lms.errors import DataError
from rl4lms.tasks.files import FileTask

ROWS = [{"prompt": f"p{i}", "references": [f"r{i}", "other"], "topic": i} for i in range(10)]


def write(path: Path, rows: list[dict[str, object]] = ROWS) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_columns(tmp_path: Path, suffix: str) -> None:
    samples = FileTask(DataConfig(train=write(tmp_path / f"rows{suffix}"))).samples("train")
    assert [s.prompt for s in samples] == [f"p{i}" for i in range(10)]
    assert samples[3].references == ("r3", "other")
    assert samples[3].meta == {"topic": 3}


def test_csv_with_a_byte_order_mark_and_other_column_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["question", "gold"], ["a, b", "c"], ['say "x"', "d"]])
    config = DataConfig(train=str(path), prompt_column="question", references_column="gold")
    assert [(s.prompt, s.references) for s in FileTask(config).samples("train")] == [("a, b", ("c",)), ('say "x"', ("d",))]


def test_a_list_of_texts_is_a_list_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('["one", "two"]')
    assert [s.prompt for s in FileTask(DataConfig(train=str(path))).samples("train")] == ["one", "two"]


def test_holdout_is_shuffled_and_disjoint(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    task = FileTask(DataConfig(train=path, holdout=3))
    splits = {name: [s.prompt for s in task.samples(name)] for name in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sorted(prompt for prompts in splits.values() for prompt in prompts) == sorted(f"p{i}" for i in range(10))
    assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (4, 3, 3)
    assert splits["test"] != ["p7", "p8", "p9"]
    again = FileTask(DataConfig(train=path, holdout=3))
    assert [s.prompt for s in again.samples("validation")] == splits["validation"]


def test_targets_of_the_warm_start(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "c", "references": ["r"]}, {"prompt": "b", "references": ["r2"]}, {"prompt": "x"}]
    task = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl", rows)))
    assert [s.references for s in task.supervised("train")] == [("c",), ("r2",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{oops\n', r"rows\.jsonl:2: not JSON"),
        ('{"text": "a"}\n', r"row 1: no column 'prompt'; there are: text"),
        ('{"prompt": 3}\n', r"row 1: 'prompt' must be a text, got int"),
        ('{"prompt": "a", "references": [1]}\n', r"row 1: 'references' must be a text or a list of texts"),
        ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}\n', r"row 2: the id '1' appears twice"),
        ('["a"]\n', r"row 1: expected a mapping of columns, got list"),
        ("", r"no rows"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        FileTask(DataConfig(train=str(path))).samples("train")


def test_missing_files_and_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        FileTask(DataConfig(train=str(tmp_path / "none.jsonl"))).samples("train")
    task = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl")))
    with pytest.raises(DataError, match=r"no validation split; name a file with data\.validation"):
        task.samples("validation")
    with pytest.raises(DataError, match=r"data\.holdout: 5 rows for test leave none"):
        FileTask(DataConfig(train=write(tmp_path / "rows.jsonl"), holdout=5)).samples("train")
