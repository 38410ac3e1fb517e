"""Texts of systems, from wherever people have them, and studies that are made of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rl4lms.cli.main import app
from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.outputs import context_of, read_outputs
from rl4lms.human_eval.store import Study

BOARD = Path(__file__).parents[3] / "reports" / "grue-mini" / "board"


def table(folder, rows, name="texts.csv"):
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def rows_of(prompts=4, systems=("s1", "s2")):
    return [
        {"prompt": f"words {n}", "machine_completion": f"{s} {n}", "algorithm": s}
        for n in range(prompts)
        for s in systems
    ]


def test_the_columns_of_the_original_forms_are_known(tmp_path):
    found = read_outputs([table(tmp_path, rows_of())])
    assert found.task is None
    assert [(one.prompt, one.completion, one.system) for one in found.outputs[:2]] == [
        ("words 0", "s1 0", "s1"),
        ("words 0", "s2 0", "s2"),
    ]


def test_a_table_without_systems_or_prompts_is_refused_with_its_columns(tmp_path):
    with pytest.raises(DataError, match=r"no column system .* it has prompt, output"):
        read_outputs([table(tmp_path, [{"prompt": "a", "output": "b"}])])
    with pytest.raises(DataError, match="neither an id nor a prompt"):
        read_outputs([table(tmp_path, [{"output": "b", "system": "s"}])])


def test_one_id_with_two_prompts_is_refused(tmp_path):
    rows = [{"id": "1", "prompt": p, "output": "t", "system": s} for p, s in (("x", "a"), ("y", "b"))]
    with pytest.raises(DataError, match="prompt '1' is not the same for a and for b"):
        read_outputs([table(tmp_path, rows)])


def test_two_places_of_one_name_are_no_system_twice(tmp_path):
    one = table(tmp_path, rows_of(systems=("s1",)), "one.csv")
    two = table(tmp_path, rows_of(systems=("s1",)), "two.csv")
    with pytest.raises(ConfigError, match="both called 's1'; name one of them"):
        read_outputs([one, two])
    found = read_outputs([one, f"mine={two}"])
    assert {row.system for row in found.outputs} == {"s1", "mine"}
    with pytest.raises(ConfigError, match=r"several systems are there \(s1, s2\), and one name"):
        read_outputs([f"mine={table(tmp_path, rows_of())}"])


def test_a_place_that_is_nowhere_is_told():
    with pytest.raises(ConfigError, match=r"runs/none: there is no such run, grid or file"):
        read_outputs(["runs/none"])


def test_data_of_a_task_is_refused_for_a_table_which_would_not_read_it(tmp_path):
    with pytest.raises(ConfigError, match="is a table with its own prompts; leave it out"):
        read_outputs([table(tmp_path, rows_of())], data="somewhere")


def test_numbers_of_a_table_are_metrics_where_they_are_named(tmp_path):
    rows = [{**row, "bleu": number / 10, "note": "x"} for number, row in enumerate(rows_of())]
    path = table(tmp_path, rows)
    assert {len(one.values) for one in read_outputs([path]).outputs} == {0}
    assert [one.values for one in read_outputs([path], metrics=["bleu"]).outputs][:2] == [{"bleu": 0.0}, {"bleu": 0.1}]
    with pytest.raises(DataError, match=r"texts\.csv:2: note is 'x', and --metric names a column of numbers"):
        read_outputs([path], metrics=["bleu", "note"])
    with pytest.raises(DataError, match=r"texts\.csv:2: no column rouge, which --metric names; it has prompt, "):
        read_outputs([path], metrics=["rouge"])
    folder = tmp_path / "study"
    done = CliRunner().invoke(
        app, ["human", "create", path, "--metric", "bleu", "--items", "2", "--output", str(folder)]
    )
    assert done.exit_code == 0, done.output
    study = Study(folder / "study.sqlite")
    study.consent(1)
    position = study.next_position(1)
    study.open_page(1, position)
    study.save(1, position, {question.key: 3 for question in study.form.scales})
    (rated,) = study.ratings()
    study.close()
    wanted = {row["machine_completion"]: row["bleu"] for row in rows}
    assert list(rated.values) == [{"bleu": wanted[rated.completions[0]]}]


def test_strata_are_thirds_of_the_length_or_a_column(tmp_path):
    rows = [{"prompt": "x" * n, "output": "t", "system": "s", "kind": "odd" if n % 2 else "even"} for n in range(1, 10)]
    path = table(tmp_path, rows)
    assert [one.stratum for one in read_outputs([path]).outputs] == ["short"] * 3 + ["middle"] * 3 + ["long"] * 3
    assert [one.stratum for one in read_outputs([path], stratify="kind").outputs][:2] == ["odd", "even"]
    with pytest.raises(ConfigError, match="--stratify sort: prompts have no such column; they have kind"):
        read_outputs([path], stratify="sort")


@pytest.mark.slow
def test_submissions_are_read_with_prompts_of_their_task_and_metrics_of_their_texts():
    found = read_outputs([str(BOARD)], task="commongen")
    assert found.task == "commongen"
    assert {one.system for one in found.outputs} == {
        "zero_shot",
        "supervised",
        "ppo",
        "nlpo",
        "supervised+ppo",
        "supervised+nlpo",
    }
    assert {one.seed for one in found.outputs} == {0, 1, 2}
    assert all(0 <= one.values["meteor_exact_stem"] <= 1 for one in found.outputs[:50])
    with pytest.raises(ConfigError, match="no texts of the task totoo"):
        read_outputs([str(BOARD)], task="totoo")


def test_what_a_page_can_show_of_a_prompt():
    assert context_of("daily_dialog", "Hi . <EOU> Hello ! <EOU>", {})["turns"] == ["Hi .", "Hello !"]
    assert context_of(None, "x", {"turns": ["a", "b"]})["turns"] == ["a", "b"]
    meta = {
        "table": [[{"value": "Year", "is_header": True, "column_span": 2}], [{"value": "1999"}, {"value": "gold"}]],
        "highlighted_cells": [[1, 1]],
        "table_page_title": "Somebody",
        "table_section_title": "",
    }
    context = context_of("totto", "linearised", meta)
    assert context["title"] == "Somebody"
    assert context["table"][0][0] == {"text": "Year", "header": True, "marked": False, "columns": 2, "rows": 1}
    assert [cell["marked"] for cell in context["table"][1]] == [False, True]


def invoke(*words):
    return CliRunner().invoke(app, ["human", *words])


def test_create_plans_writes_and_tells_what_is_told_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path, rows_of(8))
    words = ["create", "--systems", path, "--items", "6", "--raters", "2", "--people", "3", "--output", "mine"]
    done = invoke(*words, "--form", "pairwise", "--attention", "1", "--pay", "12")
    assert done.exit_code == 0, done.output
    assert "6 about 6 prompts, each rated by 2 of 3 raters" in done.output
    assert "answers   15 (3 of check)" in done.output
    assert "password  " in done.output
    study = Study(tmp_path / "mine" / "study.sqlite")
    assert study.form.name == "general-pairwise"
    assert study.settings.per_item == 2
    again = invoke(*words)
    assert again.exit_code == 2
    assert "a study already" in again.stderr
    done = invoke("invite", "mine", "--spares", "2")
    assert done.output.splitlines()[0].startswith("4  http://127.0.0.1:8000/i/")
    assert len((tmp_path / "mine" / "invites.csv").read_text().splitlines()) == 1 + 3 + 1 + 2
    done = invoke("withdraw", "mine", "1")
    assert "rater 1 is withdrawn; 12 ratings are missing, 4 of them have no rater" in done.output
    assert invoke("withdraw", "mine", "9").exit_code == 2
    word = invoke("password", "mine").output.split()[1]
    assert study.doors.is_password(word)


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke("create", table(tmp_path, rows_of(8)), "--items", "6", "--dry-run")
    assert done.exit_code == 0
    assert "cost " in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["texts.csv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["texts.csv", "--items", "9"], "--items 9, and 8 prompts"),
        (["texts.csv", "--items", "3", "--people", "2"], "2 raters cannot give 3 ratings"),
        (["texts.csv", "--items", "3", "--form", "own.yaml"], "own.yaml"),
        (["texts.csv", "--items", "3", "--checks", "checks.jsonl"], "checks.jsonl:1: an example answers 'choice'"),
        (["texts.csv", "--items", "3", "--database", "nosql://x/y"], "knows no such database"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, rows_of(8))
    (tmp_path / "checks.jsonl").write_text(json.dumps({"completion": "t", "answers": {"choice": 1}}) + "\n")
    done = invoke("create", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("studies/*/*"))
