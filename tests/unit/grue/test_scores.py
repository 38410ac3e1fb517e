from __future__ import annotations

import math

import numpy as np
import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.scores import documents_of, read_scores, write_scores
from rl4lms.tasks import build
from rl4lms.tasks.dataset import Example
from rl4lms.types import Sample

DOCUMENTS = {"a": "d1", "b": "d1", "c": "d2"}


def record(name: str, prompt: str, text: str | None = None, **more: object) -> dict[str, object]:
    return {"id": name, "prompt": prompt, "completion": "und so", "text": text, "references": ["secret"], **more}


def test_what_was_seen_and_the_text_of_both_come_back_from_the_prompts_of_the_task(tmp_path):
    samples = {
        "a": Sample("a", "a long prompt that is cut", ("r",)),
        "b": Sample("b", "seen whole", ("r",)),
        "c": Sample("c", "in other  words", ("r",)),
    }
    records = [
        record("a", "that is cut", "that is cut und so", full_prompt=samples["a"].prompt),
        record("b", "seen whole", "seen wholly"),  # the tokenizer joins what follows with the last word
        record("c", "in other words", None, full_prompt=samples["c"].prompt),
    ]
    path = tmp_path / "own.parquet"
    write_scores(path, records, DOCUMENTS)
    found = read_scores(path).predictions(samples)
    assert [(row.id, row.prompt, row.text) for row in found] == [
        ("a", "that is cut", "that is cut und so"),
        ("b", "seen whole", "seen wholly"),
        ("c", "in other words", None),
    ]
    texts = read_scores(path).texts
    assert texts["seen"] == [None, None, "in other words"]
    assert texts["tail"] == [" und so", "ly", None]
    assert b"secret" not in path.read_bytes()
    assert b"cut" not in path.read_bytes()


def test_values_are_by_prompt_and_prompts_by_document(tmp_path):
    path = tmp_path / "own.parquet"
    values = [("a", 1.0), ("a", 3.0), ("b", None), ("b", 5.0), ("c", None)]
    write_scores(path, [record(name, name, meteor=value) for name, value in values], DOCUMENTS)
    scores = read_scores(path)
    assert scores.ids == ["a", "b", "c"]
    assert scores.documents == ["d1", "d1", "d2"]
    np.testing.assert_array_equal(scores.values("meteor"), [2.0, 5.0, math.nan])
    assert scores.values("distinct-2") is None


def test_files_that_are_none(tmp_path):
    path = tmp_path / "own.parquet"
    with pytest.raises(ConfigError, match="metric 'tail'"):
        write_scores(path, [record("a", "a", tail=1.0)], DOCUMENTS)
    with pytest.raises(DataError, match="has half a character"):
        write_scores(path, [{**record("a", "a"), "completion": "x \ud800"}], DOCUMENTS)
    assert not path.exists()
    path.write_text("no")
    with pytest.raises(DataError, match="no Parquet file"):
        read_scores(path)
    write_scores(path, [record("a", "a", meteor=1.0)], DOCUMENTS)
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.drop_columns(["kept"]), path)
    with pytest.raises(DataError, match="no column 'kept'"):
        read_scores(path)


def test_the_document_of_each_prompt_is_that_of_the_data(monkeypatch):
    task = build("narrative_qa")
    rows = [
        Example(document=story, prompt=f"question {number} about {story}", references=("r",))
        for number, story in enumerate(["one", "one", "two"])
    ]
    monkeypatch.setattr(task, "_parts", {"train": [], "validation": [], "test": rows})
    first, second, third = documents_of(task, "test").values()
    assert first == second != third
    imdb = documents_of(build("imdb"), "test")  # does not tell: every prompt is its own
    assert len(set(imdb.values())) == len(imdb)
