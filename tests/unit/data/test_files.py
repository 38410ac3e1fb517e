"""Prompts from files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rl4lms.config.data import DataConfig
from rl4lms.data.files import FileTask
from rl4lms.errors import DataError

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
    samples = FileTask(DataConfig(train=write(tmp_path / f"rows{suffix}"), holdout=0)).samples("train")
    assert [s.prompt for s in samples] == [f"p{i}" for i in range(10)]
    assert samples[3].references == ("r3", "other")
    assert samples[3].meta == {"topic": 3}


def test_csv_with_a_byte_order_mark_and_other_column_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["question", "gold"], ["a, b", "c"], ['say "x"', "d"]])
    config = DataConfig(train=str(path), holdout=0, prompt_column="question", references_column="gold")
    assert [(s.prompt, s.references) for s in FileTask(config).samples("train")] == [
        ("a, b", ("c",)),
        ('say "x"', ("d",)),
    ]


@pytest.mark.parametrize("key", ["references_column", "completion_column"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_named_column_that_no_row_of_any_file_has_is_an_error(tmp_path: Path, key: str, suffix: str) -> None:
    def file(name: str, *columns: str) -> str:
        path = tmp_path / (name + suffix)
        rows = [{column: "a" for column in columns}, {"prompt": "b", columns[-1]: "c"}]
        if suffix == ".csv":
            path.write_text("\n".join([",".join(columns), *(",".join(r.get(c, "") for c in columns) for r in rows)]))
        else:
            path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    plain, other = file("plain", "prompt", "answers"), file("other", "prompt", "topic")
    with pytest.raises(
        DataError, match=rf"data\.{key}: no row of .*plain.* or .*other.* has a column 'answer'; .*topic"
    ):
        FileTask(DataConfig(train=plain, validation=other, **{key: "answer"})).samples("train")
    task = FileTask(DataConfig(train=other, validation=plain, **{key: "answers"}))  # one of the files has it
    assert task.samples("validation")[1].prompt == "b"


def test_a_list_of_texts_is_a_list_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('["one", "two"]')
    assert [s.prompt for s in FileTask(DataConfig(train=str(path), holdout=0)).samples("train")] == ["one", "two"]


def test_holdout_is_shuffled_and_disjoint(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    task = FileTask(DataConfig(train=path, holdout=3))
    splits = {name: [s.prompt for s in task.samples(name)] for name in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sorted(prompt for prompts in splits.values() for prompt in prompts) == sorted(f"p{i}" for i in range(10))
    assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (4, 3, 3)
    assert splits["test"] != ["p7", "p8", "p9"]
    again = FileTask(DataConfig(train=path, holdout=3))
    assert [s.prompt for s in again.samples("validation")] == splits["validation"]


@pytest.mark.parametrize(("rows", "train", "held_out"), [(1500, 1244, 128), (40, 32, 4), (3, 1, 1)])
def test_a_train_file_alone_gives_all_three_splits(tmp_path: Path, rows: int, train: int, held_out: int) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": f"p{i}"} for i in range(rows)])
    task, again = FileTask(DataConfig(train=path)), FileTask(DataConfig(train=path))
    splits = {name: [s.prompt for s in task.samples(name)] for name in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert [len(prompts) for prompts in splits.values()] == [train, held_out, held_out]
    assert len({prompt for prompts in splits.values() for prompt in prompts}) == rows
    assert [s.prompt for s in again.samples("validation")] == splits["validation"]


def test_too_few_rows_to_hold_out(tmp_path: Path) -> None:
    two = FileTask(DataConfig(train=write(tmp_path / "two.jsonl", [{"prompt": "a"}, {"prompt": "b"}])))
    assert {two.samples("train")[0].prompt, two.samples("validation")[0].prompt} == {"a", "b"}
    with pytest.raises(DataError, match="no test split"):
        two.samples("test")
    one = FileTask(DataConfig(train=write(tmp_path / "one.jsonl", [{"prompt": "a"}])))
    assert len(one.samples("train")) == 1
    with pytest.raises(DataError, match=r"one\.jsonl has a single row.*data\.validation"):
        one.samples("validation")


def test_nothing_is_held_out_beside_a_validation_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    assert [s.prompt for s in FileTask(DataConfig(train=path, validation=path)).samples("train")] == [
        f"p{i}" for i in range(10)
    ]


def test_ids_name_the_samples_and_reach_the_reward(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": 7}, {"prompt": "b", "id": "seven"}, {"prompt": "c", "id": None}, {"prompt": "d"}]
    samples = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl", rows), holdout=0)).samples("train")
    assert [s.id for s in samples] == ["7", "seven", "3", "4"]
    assert [s.meta.get("id") for s in samples] == [7, "seven", None, None]


def test_targets_of_the_warm_start(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": "c", "references": ["r"]},
        {"prompt": "b", "references": ["r2"]},
        {"prompt": "x"},
    ]
    task = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl", rows), holdout=0))
    assert [s.references for s in task.supervised("train")] == [("c",), ("r2",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{oops\n', r"rows\.jsonl:2: not JSON"),
        ('{"text": "a"}\n', r"rows\.jsonl:1: no column 'prompt'; there are: text"),
        ('{"prompt": 3}\n', r"rows\.jsonl:1: 'prompt' must be a text or a list of messages, got int"),
        (
            '{"prompt": "a", "references": [1]}\n',
            r"rows\.jsonl:1: 'references' must be a text or a list of texts, got a list with int",
        ),
        (
            '{"prompt": "a", "references": 5}\n',
            r"rows\.jsonl:1: 'references' must be a text or a list of texts, got int",
        ),
        (
            '{"prompt": "a", "references": {"r": 1}}\n',
            r"rows\.jsonl:1: 'references' must be a text or a list of texts, got dict",
        ),
        ('{"prompt": "a"}\n{"prompt": "b", "completion": 5}\n', r"rows\.jsonl:2: 'completion' must be a text, got int"),
        ('["a"]\n', r"rows\.jsonl:1: expected an object such as .*, got list"),
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
    task = FileTask(DataConfig(train=write(tmp_path / "rows.jsonl"), holdout=0))
    with pytest.raises(DataError, match=r"no validation split; name a file with data\.validation"):
        task.samples("validation")
    with pytest.raises(DataError, match=r"data\.holdout: 5 rows for test leave none"):
        FileTask(DataConfig(train=write(tmp_path / "rows.jsonl"), holdout=5)).samples("train")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_files_in_another_encoding_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=rf"rows\{suffix}:1: not UTF-8 text \(byte 0xe9\).*save it as UTF-8"):
        FileTask(DataConfig(train=str(path))).samples("train")


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_broken_parquet(tmp_path: Path, damage: str) -> None:
    path = Path(write(tmp_path / "rows.parquet"))
    content = path.read_bytes()
    path.write_bytes(b"no parquet at all" if damage == "header" else content[:8] + b"\xff" * 200 + content[208:])
    with pytest.raises(DataError, match=r"rows\.parquet: not a Parquet file, or a damaged one"):
        FileTask(DataConfig(train=str(path))).samples("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt\na\nb, c\n", "3: more cells than the header has"),
        ("prompt\na\n" + "x" * 200_000, "3: a cell of more than 131,072"),
    ],
)
def test_malformed_csv(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"rows\.csv:{message}"):
        FileTask(DataConfig(train=str(path))).samples("train")


def test_empty_prompts_and_reserved_columns_are_named_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    prompts = ["a", "", "b", " ", "c"]
    path.write_text("".join(json.dumps({"prompt": text, "text": text, "completion": "x"}) + "\n" for text in prompts))
    task = FileTask(DataConfig(train=str(path), holdout=0))
    assert task.empty_prompts() == ""  # nothing is read yet
    assert task.column_among({"prompt", "completions", "references"}) is None
    assert task.column_among({"text", "completions"}) == (str(path), "text")
    assert task.empty_prompts() == f"2 empty prompts, the first at {path}:2"
    path.write_text('{"prompt": "a"}\n')
    whole = FileTask(DataConfig(train=str(path), holdout=0))
    whole.samples("train")
    assert whole.empty_prompts() == ""
