from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.tasks.totto import real
from tests.unit.tasks.full import check_defaults, skip_without, train_one_iteration


def cell(value: str, header: bool = False, span: int = 1) -> dict[str, Any]:
    return {"value": value, "is_header": header, "column_span": span, "row_span": 1}


def row(**changes: Any) -> dict[str, Any]:
    table = [
        [cell("No", True), cell("Office", True, 2), cell("Party", True)],
        [cell("7", True), cell("1999"), cell("2003"), cell("Green")],
    ]
    return {
        "table": table,
        "highlighted_cells": [[1, 2], [1, 3]],
        "table_page_title": "A town",
        "table_section_title": "Mayors",
        "table_webpage_url": "http://x/town",
        "sentence_annotations": [{"final_sentence": "It ended in 2003."}, {"final_sentence": "2003 was the end."}],
    } | changes


def write(folder: Path, **rows: list[dict[str, Any]]) -> Path:
    for split, name in real._FILES.items():
        given = rows.get(split, [row(table_webpage_url=split, table_page_title=split)])
        (folder / name).write_text("".join(json.dumps(one) + "\n" for one in given))
    return folder


@pytest.fixture
def published(test_data: Path, tmp_path: Path) -> Path:
    """The samples of the data set under its names; of the test set the form, which has no sentences."""
    source = test_data / "totto"
    skip_without(source)
    (tmp_path / "totto_train_data.jsonl").symlink_to(source / "train_sample.jsonl")
    (tmp_path / "totto_dev_data.jsonl").symlink_to(source / "dev_first50.jsonl")
    hidden = json.loads((source / "dev_sample.jsonl").read_text().splitlines()[0])
    del hidden["sentence_annotations"]
    (tmp_path / "unlabeled_totto_test_data.jsonl").write_text(json.dumps(hidden))
    return tmp_path


def test_published_rows(published):
    task = build("totto", edition="full", data_dir=str(published))
    train, validation = task.samples("train"), task.samples("validation")
    assert (len(train), len(validation)) == (3, 50)
    assert all(sample.prompt.endswith("</table>") and "<page_title>" in sample.prompt for sample in validation)
    assert all(1 <= len(sample.references) <= 3 for sample in validation)
    assert {sample.meta["overlap_subset"] for sample in validation} == {True, False}
    for sample in validation:
        for number, column in sample.meta["highlighted_cells"]:
            assert f"<cell> {sample.meta['table'][number][column]['value']} " in sample.prompt
    with pytest.raises(DataError, match="references of the test split are hidden"):
        task.samples("test")


def test_cells_have_the_headers_of_their_columns_and_rows():
    assert real.linearised(row(), "x:1") == (
        "<page_title> A town </page_title> <section_title> Mayors </section_title> <table> "
        "<cell> 2003 <col_header> Office </col_header> <row_header> 7 </row_header> </cell> "
        "<cell> Green <col_header> Party </col_header> <row_header> 7 </row_header> </cell> </table>"
    )


def test_equal_prompts_are_merged_and_a_table_is_in_one_split(tmp_path):
    other = row(sentence_annotations={"final_sentence": ["It was 2003."]})  # as the Hub has it
    shared = row(table_webpage_url="validation", highlighted_cells=[[1, 1]])
    task = build("totto", edition="full", data_dir=str(write(tmp_path, train=[row(), other, shared])))
    assert [sample.references for sample in task.samples("train")] == [
        ("It ended in 2003.", "2003 was the end.", "It was 2003.")
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"highlighted_cells": [[5, 0]]}, r"totto_train_data\.jsonl:2: 'highlighted_cells' must be pairs"),
        ({"overlap_subset": "maybe"}, r"totto_train_data\.jsonl:2: 'overlap_subset' must be true or false"),
        ({"sentence_annotations": []}, r"totto_train_data\.jsonl:2: needs 'sentence_annotations'"),
        ({"sentence_annotations": [{"final_sentence": ""}]}, r"totto_train_data\.jsonl:2: 'final_sentence' must be"),
    ],
)
def test_damaged_files(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        build("totto", edition="full", data_dir=str(write(tmp_path, train=[row(), row(**changes)]))).samples("train")


@pytest.mark.slow
def test_presets_are_recipes():
    check_defaults("totto", ("seq2seq", "causal", "chat"))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "form"), [("t5", "seq2seq"), ("gpt2", "causal")])
def test_a_tiny_model_is_trained(tmp_path, published, test_data, family, form):
    numbers = train_one_iteration(
        tmp_path, test_data, family, name="totto", edition="full", data_dir=str(published), form=form
    )
    assert {"eval/totto_bleu", "eval/totto_parent"} <= numbers.keys()
