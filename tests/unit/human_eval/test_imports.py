"""Answers of other tools, and files that are wrong, too large or hostile."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval import imports
from rl4lms.human_eval.analysis import analyse
from rl4lms.human_eval.imports import read_answers_file
from rl4lms.human_eval.reading import read_answered
from rl4lms.human_eval.table import comparisons_of, values_of
from tests.unit.human_eval.simulated import rating


def table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def turk(worker: str, system: str, coherence: int, **more: object) -> dict[str, Any]:
    row = {"HITId": "H", "WorkerId": worker, "AssignmentStatus": "Approved", "WorkTimeInSeconds": "31"}
    row |= {"Input.prompt": "a dog", "Input.machine_completion": f"by {system}", "Input.algorithm": system}
    return {**row, "Answer.coherence": coherence, "Answer.sentiment": 2, "Answer.feedback": "", **more}


def test_likert_results_of_mechanical_turk(tmp_path: Path):
    rows = [turk("W1", "ppo", 4), turk("W2", "ppo", 5), turk("W1", "nlpo", 3, **{"Answer.feedback": "odd"})]
    found = read_answers_file(table(tmp_path / "Batch_1_batch_results.csv", rows))
    assert found.form.kind == "likert"
    values = {(v.rater, v.system, v.question): v.value for v in values_of(found)}
    assert values == {
        (1, "ppo", "coherence"): 4,
        (2, "ppo", "coherence"): 5,
        (1, "nlpo", "coherence"): 3,
        (1, "ppo", "sentiment"): 2,
        (2, "ppo", "sentiment"): 2,
        (1, "nlpo", "sentiment"): 2,
    }
    assert found.ratings[0].seconds == 31
    assert found.ratings[2].answers["feedback"] == "odd"
    assert "W1" not in repr(found)  # who they are at the platform is not kept
    assert len({r.item for r in found.ratings}) == 2
    assert analyse(found).questions[0].key == "coherence"


def test_pairs_of_mechanical_turk_are_one_item_whichever_side_they_stood_on(tmp_path: Path):
    def row(worker: str, left: str, right: str, chosen: str) -> dict[str, Any]:
        about = {
            "WorkerId": worker,
            "Input.concept": "dog ball",
            "Input.choice_A": f"by {left}",
            "Input.choice_B": f"by {right}",
        }
        return {**about, "Input.choice_A_id": left, "Input.choice_B_id": right, "Answer.explanation_option": chosen}

    rows = [
        row("W1", "supervised", "pref_model", "2"),
        row("W2", "pref_model", "supervised", "1"),
        row("W3", "supervised", "pref_model", "1"),
    ]
    found = read_answers_file(table(tmp_path / "pairs.csv", rows))
    assert [(c.first, c.second, c.outcome, c.first_left) for c in comparisons_of(found)] == [
        ("pref_model", "supervised", 1, False),
        ("pref_model", "supervised", 1, True),
        ("pref_model", "supervised", 0, False),
    ]
    assert len({r.item for r in found.ratings}) == 1


def test_answers_in_one_column_and_rejected_ones(tmp_path: Path):
    rows = [
        {**turk("W1", "ppo", 4), "AssignmentStatus": "Rejected"},
        {**turk("W2", "ppo", 4), "AssignmentStatus": "Rejected"},
        {
            **turk("W3", "ppo", 4),
            "Answer.coherence": "",
            "Answer.sentiment": "",
            "Answer.taskAnswers": json.dumps([{"coherence": "2"}]),
        },
    ]
    found = read_answers_file(table(tmp_path / "batch.csv", rows))
    assert [v.value for v in values_of(found)] == [2]
    assert found.notes == ["2 rejected assignments are left out"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"WorkerId": ""}, "batch.csv:3: no WorkerId"),
        ({"Input.algorithm": ""}, "batch.csv:3: no Input.algorithm"),
        ({"Answer.coherence": "good", "Answer.sentiment": ""}, "batch.csv:3: no Answer column holds a whole number"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict[str, str], message: str):
    path = table(tmp_path / "batch.csv", [turk("W1", "ppo", 4), {**turk("W2", "ppo", 3), **change}])
    with pytest.raises(DataError, match=message):
        read_answers_file(path)


def test_a_pair_without_a_choice(tmp_path: Path):
    row = {"WorkerId": "W", "Input.choice_A": "x", "Input.choice_B": "y", "Answer.explanation_option": "7"}
    with pytest.raises(DataError, match=r"pairs.csv:2: no Answer column says which"):
        read_answers_file(table(tmp_path / "pairs.csv", [row]))


def test_label_studio_as_the_tool_exports_it(tmp_path: Path):
    """Ratings as stars, a user as an object, a cancelled annotation."""
    result = {"from_name": "Overall quality", "to_name": "text", "type": "rating", "value": {"rating": 4}}
    task = {
        "id": 12,
        "data": {"text": "a text", "system": "ppo", "prompt": "x"},
        "annotations": [
            {"id": 1, "completed_by": {"id": 3, "email": "x@y.z"}, "lead_time": 12.5, "result": [result]},
            {"id": 2, "completed_by": 4, "was_cancelled": True, "result": []},
        ],
        "predictions": [],
    }
    path = tmp_path / "project.json"
    path.write_text(json.dumps([task]))
    found = read_answers_file(path)
    assert [(v.system, v.question, v.value) for v in values_of(found)] == [("ppo", "overall_quality", 4)]
    assert found.ratings[0].seconds == 12.5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "data": [], "annotations": []}, "a task has data"),
        ({"id": 1, "data": {"text": "x"}, "annotations": [{"result": []}]}, "says who wrote"),
        ({"id": 1, "data": {"system": "a"}, "annotations": []}, "no text"),
        (
            {"id": 1, "data": {"text": "x", "system": "a"}, "annotations": [{"result": [{"value": 3}]}]},
            "a result without",
        ),
        (
            {
                "fields": {"text_a": "x", "text_b": "y"},
                "metadata": {"system_a": "a", "system_b": "b"},
                "responses": {"choice": [{"value": "z z"}]},
            },
            "choice is 'z z'",
        ),
        ({"fields": [], "responses": {}}, "are mappings"),
        ({"label_annotations": []}, "is no mapping"),
        ({"anything": 1}, "no known kind of answers"),
    ],
)
def test_files_of_tools_that_are_wrong(tmp_path: Path, row: dict[str, Any], message: str):
    path = tmp_path / "wrong.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_answers_file(path)
    assert "wrong.jsonl" in str(caught.value)


def own(**changes: object) -> dict[str, Any]:
    from rl4lms.human_eval.exports import rating_row

    return {**rating_row(rating(1, 1, ["a", "b"], {"choice": 0})), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": {"choice": 5}}, "choice 5 is none of 2 texts"),
        ({"answers": {"choice": -1}}, "choice -1 is none"),
        ({"order": [0, 0]}, "is none of 2 texts"),
        ({"systems": ["a"]}, "there must be as many"),
        ({"purpose": "other"}, "no answer of a study: purpose"),
        ({"rater": "x"}, "no answer of a study: rater"),
    ],
)
def test_our_own_rows_are_checked(tmp_path: Path, changes: dict[str, object], message: str):
    path = tmp_path / "own.jsonl"
    head = {"rl4lms_study": 1, "name": "x", "form": None}
    from tests.unit.human_eval.simulated import PAIRWISE

    head["form"] = PAIRWISE.model_dump(mode="json")
    path.write_text(json.dumps(head) + "\n" + json.dumps(own(**changes)) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_answers_file(path)
    assert "own.jsonl:2" in str(caught.value)


def test_archives_and_folders_are_not_opened(tmp_path: Path):
    path = tmp_path / "answers.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.csv", "x")
    with pytest.raises(ConfigError, match="archives are not unpacked"):
        read_answers_file(path)
    assert not (tmp_path.parent.parent / "evil.csv").exists()
    with pytest.raises(ConfigError, match="there is no such file"):
        read_answered(str(tmp_path / "absent.csv"))
    with pytest.raises(ConfigError, match="there is no study"):
        read_answered(str(tmp_path / "absent.sqlite"))


def test_files_that_grow_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import pyarrow
    import pyarrow.parquet

    bomb = tmp_path / "bomb.parquet"
    # a dictionary would hide how large it is
    values = pyarrow.table({"data": ["x" * 2000] * 20_000})
    pyarrow.parquet.write_table(values, bomb, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(imports, "MOST_BYTES", 1_000_000)
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(DataError, match="once it is read"):
        read_answers_file(bomb)
    large = tmp_path / "large.csv"
    large.write_bytes(b"x\n" * 600_000)
    with pytest.raises(DataError, match="1,200,000 bytes"):
        read_answers_file(large)
    monkeypatch.setattr(imports, "MOST_ROWS", 10)
    many = tmp_path / "many.csv"
    many.write_text("x\n" + "1\n" * 20)
    with pytest.raises(DataError, match="20 rows are more than 10"):
        read_answers_file(many)


def test_deep_json_is_refused(tmp_path: Path):
    path = tmp_path / "deep.csv"
    path.write_text("data\n" + "[" * 100_000 + "\n")
    with pytest.raises(DataError, match="data is not JSON"):
        read_answers_file(path)


def test_a_damaged_parquet_file(tmp_path: Path):
    path = tmp_path / "damaged.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_answers_file(path)
