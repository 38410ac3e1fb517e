from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.summarization import real
from tests.unit.tasks.full import check_defaults, check_splits, prompts, skip_without, train_one_iteration


@pytest.fixture
def articles(test_data: Path, tmp_path: Path) -> Path:
    """100 published rows of the train set, 80, 10 and 10 to a split, in the files that people have."""
    archive = test_data / "cnndm" / "train_sample.zip"
    skip_without(archive)
    with zipfile.ZipFile(archive) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file.open("train_sample.csv"), "utf-8", newline="")))
    assert len(rows) == 100
    for split, part in (("train", rows[:80]), ("validation", rows[80:90]), ("test", rows[90:])):
        write(tmp_path, split, part)
    return tmp_path


@pytest.fixture
def dialogues(test_data: Path, tmp_path: Path) -> Path:
    """The published validation and test sets; the train set is written here."""
    source = test_data / "dialogsum"
    skip_without(source)
    for name in ("dialogsum.dev.jsonl", "dialogsum.test.jsonl"):
        (tmp_path / name).symlink_to(source / name)
    held_out = json.loads((source / "dialogsum.dev.jsonl").read_text().splitlines()[0])
    rows = [{"dialogue": f"#Person1#: {n}.\n#Person2#: Yes.", "summary": f"It is {n}."} for n in range(20)]
    (tmp_path / "dialogsum.train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, held_out]))
    return tmp_path


def write(folder: Path, split: str, rows: list[dict[str, str]]) -> None:
    with (folder / f"{split}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "article", "highlights"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_articles(articles):
    task = build("cnn_daily_mail", edition="full", data_dir=str(articles))
    check_splits(task, (80, 10, 10))
    assert any("\n" in sample.references[0] for sample in task.samples("test"))  # a line for each highlight
    assert not prompts(task, "train") & prompts(task, "test")


def test_dialogues_and_published_counts(dialogues):
    assert [sum(1 for _ in real.dialogues(str(dialogues), split)) for split in ("validation", "test")] == [500, 500]
    task = build("dialogsum", data_dir=str(dialogues))
    check_splits(task, (20, 500, 500))  # the twenty-first of train is evaluated on
    assert {len(sample.references) for sample in task.samples("validation")} == {1}
    assert {len(sample.references) for sample in task.samples("test")} <= {2, 3}  # equal ones are one
    assert sum(len(sample.references) == 3 for sample in task.samples("test")) == 490
    assert all("#Person1#" in sample.prompt and "\n" in sample.prompt for sample in task.samples("test"))


def test_rows_of_one_text_are_merged(tmp_path):
    row = {"article": "A", "highlights": "first"}
    for split in ("validation", "test"):
        write(tmp_path, split, [{"article": split, "highlights": "h"}])
    write(tmp_path, "train", [row, {**row, "highlights": "second"}, {"article": "test", "highlights": "h"}])
    task = build("cnn_daily_mail", edition="full", data_dir=str(tmp_path))
    assert [(sample.prompt, sample.references) for sample in task.samples("train")] == [("A", ("first", "second"))]


def test_damaged_files(tmp_path):
    for split in ("validation", "test"):
        write(tmp_path, split, [{"article": split, "highlights": "h"}])
    write(tmp_path, "train", [{"article": "A", "highlights": "first"}, {"article": "B", "highlights": ""}])
    with pytest.raises(DataError, match=r"train\.csv:3: 'highlights' must be a text"):
        build("cnn_daily_mail", edition="full", data_dir=str(tmp_path)).samples("train")
    (tmp_path / "train.csv").write_text('article,highlights\nA,a\nB,"never closed')
    with pytest.raises(DataError, match=r"train\.csv:3: a quotation mark is opened here"):
        build("cnn_daily_mail", edition="full", data_dir=str(tmp_path)).samples("train")
    (tmp_path / "dialogsum.train.jsonl").write_text('{"dialogue": "d", "summary": "s"}\n{"dialogue": "d"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:2: 'summary' must be a text"):
        build("dialogsum", data_dir=str(tmp_path)).samples("train")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn_daily_mail", "dialogsum"])
def test_presets_are_recipes(name):
    check_defaults(name, ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal")])
def test_a_tiny_model_is_trained(tmp_path, articles, test_data, family, form):
    numbers = train_one_iteration(
        tmp_path, test_data, family, name="cnn_daily_mail", edition="full", data_dir=str(articles), form=form
    )
    assert {"eval/rougeL", "eval/meteor_exact_stem"} <= numbers.keys()
