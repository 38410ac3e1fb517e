"""Conversations at the door: what is one, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl4lms.config.data import DataConfig
from rl4lms.data.conversations import in_trl_form
from rl4lms.data.files import FileTask
from rl4lms.errors import DataError
from rl4lms.types import Sample

USER = {"role": "user", "content": "1 2"}


def samples(tmp_path: Path, *rows: dict[str, Any], name: str = "chat.jsonl") -> list[Sample]:
    path = tmp_path / name
    if name.endswith(".parquet"):
        import datasets

        datasets.Dataset.from_list(list(rows)).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(FileTask(DataConfig(train=str(path), holdout=0)).samples("train"))


def test_the_prompt_of_a_conversation_is_the_last_message_of_the_user(tmp_path: Path) -> None:
    begun = {"role": "assistant", "content": "3"}
    rows = samples(tmp_path, {"prompt": [{"role": "system", "content": "s"}, USER, begun]}, {"prompt": "a text"})
    assert (rows[0].prompt, [m["role"] for m in rows[0].messages]) == ("1 2", ["system", "user", "assistant"])
    assert (rows[1].prompt, rows[1].messages) == ("a text", ())


def test_a_completion_may_be_a_message(tmp_path: Path) -> None:
    (row,) = samples(tmp_path, {"prompt": [USER], "completion": [{"role": "assistant", "content": "3 4"}]})
    assert row.meta["completion"] == "3 4"
    (kept,) = FileTask(DataConfig(train=str(tmp_path / "chat.jsonl"), holdout=0)).supervised("train")
    assert (kept.references, kept.messages) == (("3 4",), (USER,))


def test_columns_that_parquet_fills_with_null_are_none(tmp_path: Path) -> None:
    rows = samples(tmp_path, {"prompt": [USER]}, {"prompt": [{**USER, "name": "ann"}]}, name="chat.parquet")
    assert rows[0].messages == (USER,)
    assert rows[1].messages == ({**USER, "name": "ann"},)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "'prompt' is a conversation without a message"),
        (["1 2"], "'prompt', message 1: must be a mapping with role and content, got str"),
        ([USER, {"role": "assistant"}], "'prompt', message 2: 'content' must be a text, got none"),
        ([{"role": "", "content": "1"}], "'prompt', message 1: 'role' must be a text, got an empty one"),
        ([{"role": "user", "content": ["1"]}], "'prompt', message 1: 'content' must be a text, got list"),
        ([{"role": "system", "content": "1"}], "'prompt' ends with a message of the system"),
        ({"role": "user"}, "'prompt' must be a text or a list of messages, got dict"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(tmp_path: Path, prompt: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        samples(tmp_path, {"prompt": [USER]}, {"prompt": prompt})
    assert str(caught.value).startswith(f"{tmp_path / 'chat.jsonl'}:2: {message}")


def test_a_completion_of_several_messages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'completion' must be a text or a single message of the assistant, got 2"):
        samples(tmp_path, {"prompt": [USER], "completion": [USER, USER]})


def test_conversations_that_end_alike_are_different_rows(tmp_path: Path) -> None:
    for name, first in (("a.jsonl", "1"), ("b.jsonl", "2")):
        samples(tmp_path, {"prompt": [{"role": "user", "content": first}, USER], "references": "5"}, name=name)
    task = FileTask(DataConfig(train=str(tmp_path / "a.jsonl"), validation=str(tmp_path / "b.jsonl"), holdout=0))
    assert task.shared("validation", "train") == 0


def test_what_the_assistant_began_is_a_part_of_the_completion_as_in_trl() -> None:
    begun = {"role": "assistant", "content": "Well, "}
    assert in_trl_form((USER, begun), "no.") == ([USER], [{"role": "assistant", "content": "Well, no."}])
    assert in_trl_form((USER,), "no.") == ([USER], [{"role": "assistant", "content": "no."}])


def test_whole_conversations_are_a_prompt_and_its_answer(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "3 4"}
    (row,) = samples(tmp_path, {"messages": [USER, answer], "topic": "numbers"})
    assert (row.prompt, row.messages, row.references) == ("1 2", (USER,), ("3 4",))
    assert row.meta == {"topic": "numbers", "completion": "3 4"}
    (kept,) = FileTask(DataConfig(train=str(tmp_path / "chat.jsonl"), holdout=0)).supervised("train")
    assert kept.references == ("3 4",)
    (row,) = samples(tmp_path, {"messages": [USER, answer], "references": ["5"]})  # a column of its own wins
    assert (row.references, row.meta["completion"]) == (("5",), "3 4")
    (row,) = samples(tmp_path, {"prompt": "1", "messages": "a column like any other"})
    assert row.meta == {"messages": "a column like any other"}


def test_whole_conversations_are_held_out_by_their_prompts(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    rows = [
        {"messages": [{**USER, "content": str(i % 4)}, {"role": "assistant", "content": str(i)}]} for i in range(16)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = FileTask(DataConfig(train=str(path), holdout=2))
    train, held = ({sample.prompt for sample in task.samples(split)} for split in ("train", "validation"))
    assert held
    assert not train & held


@pytest.mark.parametrize("messages", [[USER], [{"role": "assistant", "content": "3"}]])
def test_whole_conversations_end_with_an_answer_to_somebody(tmp_path: Path, messages: list[dict[str, str]]) -> None:
    with pytest.raises(DataError, match=r"chat\.jsonl:1: 'messages' must end with an answer of the assistant"):
        samples(tmp_path, {"messages": messages})
