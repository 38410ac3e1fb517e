"""Exports hold what was answered, load where they should, and come back through the imports."""

from __future__ import annotations

import csv
import io
import json
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rl4lms.errors import DataError
from rl4lms.human_eval.exports import FORMATS, argilla_settings, export, preferences
from rl4lms.human_eval.imports import read_answers_file
from rl4lms.human_eval.table import Answered, comparisons_of, values_of
from tests.unit.human_eval.simulated import BEST_WORST, LIKERT, PAIRWISE, likert_study, pairwise_study, rating

SUFFIX = {"csv": "csv", "parquet": "parquet", "argilla": "json", "label-studio": "json"}
HOSTILE = "=cmd|' /C calc'!A0\n<b>x</b>\u202e,\"quoted\""


def studies() -> dict[str, Answered]:
    random = np.random.default_rng(0)
    answers = [
        rating(r, i, ["a", "b", "c"], {"best": (i + r) % 3, "worst": (i + r + 1) % 3}, order=(2, 0, 1))
        for i in range(4)
        for r in (1, 2)
    ]
    return {
        "likert": likert_study(random, {"a": 2.5, "b": 3.5}, prompts=5),
        "pairwise": pairwise_study(random, {"a": 0.5, "b": 0.0}, prompts=6, ties=0.2),
        "best_worst": Answered("bws", BEST_WORST, answers),
    }


def said(study: Answered) -> set[tuple[object, ...]]:
    """What was said, without the numbers that a file gives to raters and items."""
    values = [(v.prompt, v.system, v.question, v.value) for v in values_of(study)]
    pairs = [(c.prompt, c.first, c.second, c.outcome) for c in comparisons_of(study)]
    rows = [*values, *pairs]
    return {(row, rows.count(row)) for row in rows}


@pytest.mark.parametrize("kind", ["likert", "pairwise", "best_worst"])
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "trl"])
def test_what_was_said_comes_back(tmp_path: Path, kind: str, format: str):
    study = studies()[kind]
    path = tmp_path / f"answers.{SUFFIX.get(format, 'jsonl')}"
    path.write_bytes(export(study, format))
    back = read_answers_file(path)
    assert back.form.kind == study.form.kind
    assert said(back) == said(study)
    assert {r.purpose for r in back.ratings} == {r.purpose for r in study.ratings}


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_our_own_files_lose_nothing(tmp_path: Path, format: str):
    answers = [
        rating(
            7, 3, ["a"], {"quality": 4, "note": HOSTILE}, prompt=HOSTILE, completions=(HOSTILE,), values=({"m": 0.5},)
        ),
        rating(8, 3, ["a"], {"quality": 2}, seconds=3.25, edits=2),
    ]
    study = Answered("own", LIKERT, answers)
    path = tmp_path / f"answers.{format}"
    path.write_bytes(export(study, format))
    back = read_answers_file(path)
    for one, other in zip(back.ratings, answers, strict=True):
        for name in ("rater", "item", "purpose", "prompt_id", "prompt", "answers", "seconds", "edits", "rated_at"):
            assert getattr(one, name) == getattr(other, name)
        assert tuple(one.completions) == tuple(other.completions)
        assert tuple(one.values) == tuple(other.values)
    if format != "csv":  # which has no place for it
        assert back.form == LIKERT


def test_no_cell_of_a_csv_is_a_formula():
    names = ("=1+1", "+x", "-x", "@x")
    answers = [
        rating(1, i, [name], {"quality": 4, "note": name}, prompt=name, completions=(f"\t{name}",))
        for i, name in enumerate(names)
    ]
    text = export(Answered("csv", LIKERT, answers), "csv").decode()
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell.strip()[:1] in ("=", "+", "-", "@")]
    assert sum("=1+1" in cell for cell in cells) >= 4


def test_preferences_load_with_datasets(tmp_path: Path):
    import datasets

    path = tmp_path / "pairs.jsonl"
    path.write_bytes(export(studies()["pairwise"], "trl"))
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert {"prompt", "chosen", "rejected"} <= set(loaded.column_names)
    assert all(isinstance(row["prompt"], str) and row["chosen"] != row["rejected"] for row in loaded)


def test_a_majority_is_preferred_and_a_draw_is_nothing():
    def votes(item: int, *choices: object) -> list[object]:
        return [rating(r, item, ["a", "b"], {"choice": c}) for r, c in enumerate(choices, 1)]

    study = Answered("votes", PAIRWISE, [*votes(1, 0, 0, 1), *votes(2, 1, "tie", 1), *votes(3, 0, 1)])  # type: ignore[list-item]
    rows = preferences(study)
    assert [(r["prompt_id"], r["chosen_system"], r["raters"]) for r in rows] == [("p1", "a", 3), ("p2", "b", 3)]
    assert rows[0]["chosen"] == "text of a for p1"
    assert rows[0]["prompt"] == "prompt of p1"


def test_ratings_make_preferences_where_they_differ_enough():
    answers = [
        rating(1, 1, ["a"], {"quality": 5, "fluency": 1}, prompt_id="p"),
        rating(1, 2, ["b"], {"quality": 3, "fluency": 5}, prompt_id="p"),
        rating(1, 3, ["c"], {"quality": 3, "fluency": 4}, prompt_id="p"),
    ]
    study = Answered("ratings", LIKERT, answers)
    by_quality = preferences(study, gap=2, question="quality")
    assert {(r["chosen_system"], r["rejected_system"]) for r in by_quality} == {("a", "b"), ("a", "c")}
    assert {(r["chosen_system"], r["rejected_system"]) for r in preferences(study, gap=1)} == {("b", "a")}
    with pytest.raises(DataError, match="lower the gap"):
        preferences(study, gap=4)
    with pytest.raises(DataError, match="no such scale"):
        preferences(study, question="cohesion")
    with pytest.raises(DataError, match="above 0"):
        preferences(study, gap=0)


def test_records_of_argilla():
    """rg.Record: fields of text, responses by question with a value and the UUID of a user, flat metadata."""
    study = studies()["likert"]
    records = json.loads(export(study, "argilla"))
    settings = argilla_settings(study)
    fields, questions = ({one["name"] for one in settings[part]} for part in ("fields", "questions"))
    for record in records:
        assert set(record) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
        assert set(record["fields"]) <= fields
        assert all(isinstance(text, str) for text in record["fields"].values())
        assert set(record["responses"]) <= questions
        for given in record["responses"].values():
            users = [uuid.UUID(one["user_id"]) for one in given]
            assert len(set(users)) == len(users)
            assert all(one["value"] in range(1, 6) for one in given)
        assert all(isinstance(value, str | int | float) for value in record["metadata"].values())
    pairs = argilla_settings(studies()["pairwise"])["questions"]
    assert pairs[0]["labels"] == ["a", "b", "tie"]


def test_tasks_of_label_studio():
    """Tasks have data and annotations; a result has id, from_name, to_name, type, and a value named by its type."""
    for kind, known in (("likert", {"number"}), ("pairwise", {"choices"})):
        tasks = json.loads(export(studies()[kind], "label-studio"))
        assert len({task["id"] for task in tasks}) == len(tasks)
        for task in tasks:
            for annotation in task["annotations"]:
                assert {"id", "completed_by", "lead_time", "result"} <= set(annotation)
                for result in annotation["result"]:
                    assert set(result) == {"id", "from_name", "to_name", "type", "value"}
                    assert result["to_name"] in task["data"]
                    assert result["type"] in known
                    assert result["type"] in result["value"]
                    assert isinstance(result["value"][result["type"]], list if kind == "pairwise" else int)


def test_lines_of_potato():
    rows = [json.loads(line) for line in export(studies()["likert"], "potato").splitlines()]
    for row in rows:
        assert {"user", "id", "displayed_text", "label_annotations", "span_annotations"} <= set(row)
        for label, value in row["label_annotations"]["quality"].items():
            assert label == f"scale_{value}"


def test_nothing_to_export():
    with pytest.raises(DataError, match="nothing to export"):
        export(Answered("empty", LIKERT, []), "csv")


def test_surrogates_do_not_break_a_file():
    study = Answered("half", LIKERT, [rating(1, 1, ["a"], {"quality": 1}, completions=("\ud800",))])
    for format in ("csv", "jsonl", "argilla", "label-studio", "potato"):
        export(study, format).decode()  # type: ignore[arg-type]


def test_withdrawn_raters_are_not_there():
    study = studies()["likert"]
    left = replace(study, ratings=[r for r in study.ratings if r.rater != 2])
    assert 'rater-2"' not in export(left, "potato").decode()
