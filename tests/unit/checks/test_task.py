from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from rl4lms.checks import task as checks
from rl4lms.config import recipe_from_dict
from rl4lms.errors import DataError
from rl4lms.tasks import build
from rl4lms.types import Sample
from tests.cli.test_cli import call


@functools.cache
def commongen() -> Any:
    return build("commongen")


class Small:
    """The mini edition of commongen with a few rows, some of them changed."""

    def __init__(self, **changes: Any) -> None:
        self._task = commongen()
        self._rows = {split: list(self._task.samples(split)[:8]) for split in ("train", "validation", "test")}
        self._rows.update(changes.pop("rows", {}))
        self.edition, self.published, self._documents = "mini", {}, None
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def samples(self, split: str) -> list[Sample]:
        if isinstance(self._rows[split], Exception):
            raise self._rows[split]
        return self._rows[split]

    def documents(self, split: str) -> set[str]:
        return {row.prompt for row in self.samples(split)} | {self._documents or split}


def examine(monkeypatch: pytest.MonkeyPatch, task: Small, **settings: Any) -> dict[str, tuple[str, str]]:
    monkeypatch.setattr(checks, "task_of", lambda recipe: task)
    found = checks.check_task(recipe_from_dict({"task": {"name": "commongen"}, **settings}))
    return {verdict.name: (verdict.status, f"{verdict.figure} | {verdict.why}") for verdict in found}


def rows() -> list[Sample]:
    return list(commongen().samples("test")[:8])


def test_a_task_that_is_right(monkeypatch):
    found = examine(monkeypatch, Small())
    assert {status for status, _ in found.values()} == {"ok"}
    assert {"train", "disjoint prompts", "disjoint documents", "lengths", "rouge1", "solved"} <= set(found)
    assert "distinct-2" not in found  # no matter of references


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "same"}, "an id stands twice"),
        ({"prompt": " "}, "an empty prompt"),
        ({"references": ()}, "a prompt without references"),
        ({"references": ("a .", " ")}, "an empty reference"),
        ({"references": ("a .", "a .")}, "a reference stands twice"),
    ],
)
def test_faults_of_texts(monkeypatch, change, message):
    found = examine(monkeypatch, Small(rows={"train": [replace(row, **change) for row in rows()[:2]]}))
    assert found["train"][0] == "fail"
    assert message in found["train"][1]


def test_splits_that_share_prompts_or_documents(monkeypatch):
    found = examine(monkeypatch, Small(rows={"train": rows()}))
    assert found["disjoint prompts"][0] == "fail"
    assert "8 prompts are in train and in test" in found["disjoint prompts"][1]
    found = examine(monkeypatch, Small(_documents="one"))
    assert "1 documents are in train and in validation, such as 'one'" in found["disjoint documents"][1]


@pytest.mark.parametrize(("edition", "status"), [("full", "warn"), ("mini", "fail")])
def test_a_prompt_of_several_documents(monkeypatch, edition, status):
    task = Small(rows={"train": rows()}, edition=edition, documents=lambda split: {split})
    found = examine(monkeypatch, task)
    assert found["disjoint prompts"][0] == status
    assert "some are in two splits | 8 prompts are in train and in test" in found["disjoint prompts"][1]
    assert found["disjoint documents"] == ("ok", "in no two splits | ")


def test_splits_that_cannot_be_read(monkeypatch):
    hidden = DataError("the references of the test split are hidden by those who publish it")
    found = examine(monkeypatch, Small(rows={"test": hidden, "train": DataError("train.txt:3: no sentence")}))
    assert (found["test"][0], found["train"][0]) == ("warn", "fail")
    assert "train.txt:3" in found["train"][1]
    assert found["the rest"] == ("warn", "not checked | mend the splits first")
    assert examine(monkeypatch, Small(rows={"test": hidden}))["rouge1"][0] == "ok"  # of validation


@pytest.mark.parametrize(("count", "status"), [(3, "ok"), (5, "warn"), (2, "fail")])
def test_rows_as_published(monkeypatch, count, status):
    task = Small(edition="full", published={"train": count}, examples=lambda split: iter("abc"))
    assert examine(monkeypatch, task)["train rows"][0] == status


def test_prompts_that_do_not_fit(monkeypatch):
    assert examine(monkeypatch, Small(), prompt={"max_tokens": 3})["lengths"][0] == "fail"
    strange = [replace(row, prompt="zebra") for row in rows()]
    status, why = examine(monkeypatch, Small(rows={"test": strange}))["lengths"]
    assert status == "fail"
    assert "words that the tokenizer does not know" in why


def test_references_that_are_not_about_their_row(monkeypatch):
    same = [replace(row, references=("a dog runs .",)) for row in rows()]
    found = examine(monkeypatch, Small(rows={"test": same}))
    assert found["cider"][0] == "fail"
    assert "the reference of another row scores as well" in found["cider"][1]
    assert found["rouge1"][0] == "ok"  # the best there is
    assert found["concept_coverage"][0] == "fail"


def test_the_command(tmp_path):
    for name, rows in (
        ("train", '{"prompt": "a", "references": "b"}\n'),
        ("test", '{"prompt": "c", "references": ""}\n'),
    ):
        (tmp_path / f"{name}.jsonl").write_text(rows)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "model: lm\nreward: chrf\nevaluation: {metrics: [chrf]}\n"
        f"data: {{train: {tmp_path}/train.jsonl, validation: {tmp_path}/train.jsonl, test: {tmp_path}/test.jsonl}}"
    )
    result = call("check", "task", recipe)
    assert result.exit_code == 1
    assert "an empty reference" in result.output
    assert call("check", "task", "comongen").exit_code == 2
