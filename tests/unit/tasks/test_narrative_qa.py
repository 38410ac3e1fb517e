from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.narrative_qa import real
from tests.unit.tasks.full import check_defaults, check_splits, skip_without, train_one_iteration


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    skip_without(test_data / "narrativeqa")
    return test_data / "narrativeqa"


def write(folder: Path, questions: list[tuple[str, str, str, str, str]] | None = None) -> Path:
    """The data set's own CSV files."""
    stories = {"s1": "train", "s2": "valid", "s3": "test"}
    given = questions or [
        ("s1", "train", "Who  is Mark?", "A student", "a Student"),
        ("s1", "train", "Who is mark?", "A boy", "A boy"),
        ("s2", "valid", "Where?", "Here", "There"),
        ("s3", "test", "When?", "Now", "Then"),
    ]
    with (folder / "qaps.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("document_id", "set", "question", "answer1", "answer2"), *given])
    with (folder / "summaries.csv").open("w", newline="") as stream:
        rows = [(name, part, f"Story {name},\nin two lines.") for name, part in stories.items()]
        csv.writer(stream).writerows([("document_id", "set", "summary"), *rows])
    return folder


@pytest.mark.slow
def test_published_counts_and_splits(folder):
    assert sum(1 for _ in real.questions(str(folder), "validation")) == 3_461
    assert sum(1 for split in ("train", "test") for _ in real.questions(str(folder), split)) == 10_557
    task = build("narrative_qa", edition="full", data_dir=str(folder))
    check_splits(task, (7_502, 3_418, 2_958))
    stories = {
        split: {sample.prompt.split(" \\n ", 1)[1] for sample in task.samples(split)}
        for split in ("train", "validation", "test")
    }
    assert [len(stories[split]) for split in stories] == [255, 115, 100]
    assert not stories["train"] & stories["test"]


def test_own_files(tmp_path):
    task = build("narrative_qa", edition="full", data_dir=str(write(tmp_path)))
    check_splits(task, (1, 1, 1))
    sample = task.samples("train")[0]
    assert sample.prompt == "who is mark? \\n story s1, in two lines."
    assert sample.references == ("a student", "a boy")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (("s9", "train", "Who?", "A", "B"), r"qaps\.csv:2: .*summaries\.csv has no summary of the story s9"),
        (("s1", "train", "", "A", "B"), r"qaps\.csv:2: 'question' must be a text"),
        (("s1", "train", "Who?", "A", ""), r"qaps\.csv:2: 'answer2' must be a text"),
    ],
)
def test_damaged_files(tmp_path, question, message):
    with pytest.raises(DataError, match=message):
        build("narrative_qa", edition="full", data_dir=str(write(tmp_path, [question]))).samples("train")


def test_a_damaged_file_of_stories(tmp_path):
    whole = gzip.compress(b'{"summary": "a", "qas": []}\n')
    (tmp_path / "valid.jsonl.gz").write_bytes(whole)
    (tmp_path / "test.jsonl.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"test\.jsonl\.gz:1: the file is damaged from here on"):
        build("narrative_qa", edition="full", data_dir=str(tmp_path)).samples("train")
    (tmp_path / "test.jsonl.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"test\.jsonl\.gz:1: 'qas' must be a list"):
        build("narrative_qa", edition="full", data_dir=str(tmp_path)).samples("train")


@pytest.mark.slow
def test_presets_are_recipes():
    check_defaults("narrative_qa", ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal")])
def test_a_tiny_model_is_trained(tmp_path, folder, test_data, family, form):
    numbers = train_one_iteration(
        tmp_path, test_data, family, name="narrative_qa", edition="full", data_dir=str(folder), form=form
    )
    assert {"eval/rouge_l_max", "eval/token_f1"} <= numbers.keys()
