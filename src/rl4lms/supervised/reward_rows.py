"""Rows of data for reward models as texts: columns, prompts, conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl4lms.data.texts import glued
from rl4lms.errors import DataError

#: From the messages of a conversation to its text, by a chat template.
Render = Callable[[list[Any]], str]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns, and how they become texts.

    Attributes:
        prompt: put before a text where the data has it, with `join` between, as TRL does with none.
        text, label, rating: of labelled and rated texts.
        chosen, rejected: of preferences, as in TRL's format; texts or conversations.
        group: rows with the same value stay together when data are split, and pairs are made within it; the prompt, or
            the text where there is none, if None.
        join: stands between prompt and text. Conversations are told apart by a new line whatever it is.
    """

    prompt: str = "prompt"
    text: str = "text"
    label: str = "label"
    rating: str = "rating"
    chosen: str = "chosen"
    rejected: str = "rejected"
    group: str | None = None
    join: str = ""


COLUMNS = Columns()


def has_prompt(row: Mapping[str, Any], columns: Columns, text: str) -> bool:
    """Return a prompt of its own, or a conversation that begins with it (TRL's implicit prompt)."""
    return bool(row.get(columns.prompt)) or (isinstance(row.get(text), list) and len(row[text]) > 1)


def text_and_group(
    row: Mapping[str, Any], place: str, columns: Columns, render: Render | None = None
) -> tuple[str, str]:
    """Return a row's text with its prompt, and the group that it is in."""
    prompt = flat(row.get(columns.prompt) or "", place, columns.prompt)
    text = flat(required(row, columns.text, place), place, columns.text)
    text = whole(row, columns, prompt, text, render, columns.text)
    return text, str(required(row, columns.group, place)) if columns.group else prompt or text


def _is_chat(row: Mapping[str, Any], columns: Columns, name: str) -> bool:
    return isinstance(row.get(columns.prompt), list) or isinstance(row.get(name), list)


def all_chats(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Columns, names: Sequence[str]) -> bool:
    """Return whether the rows are conversations.

    Raises:
        DataError: some are, and others are not.
    """
    chats = [all(_is_chat(row, columns, name) for name in names) for _, row in rows]
    if any(chats) and not all(chats):
        place = rows[chats.index(False)][0]
        raise DataError(f"{place}: a text, where other rows are conversations; make all of them lists of messages")
    return all(chats)


def whole(row: Mapping[str, Any], columns: Columns, prompt: str, text: str, render: Render | None, name: str) -> str:
    """Return a prompt and its text, which stands in the column `name`, as one."""
    if render is not None and _is_chat(row, columns, name):
        given = row.get(columns.prompt) or []
        before = given if isinstance(given, list) else [{"role": "user", "content": given}]
        value = row[name]
        return render([*before, *(value if isinstance(value, list) else [{"role": "assistant", "content": value}])])
    return glued(prompt, text, "\n" if isinstance(row.get(columns.prompt), list) else columns.join)


def required(row: Mapping[str, Any], column: str, place: str) -> Any:
    """Return the value of a column.

    Raises:
        DataError: it is not there, or null.
    """
    if column not in row:
        raise DataError(f"{place}: no column {column!r}; there are: {', '.join(map(str, row))}")
    if row[column] is None:
        raise DataError(f"{place}: the column {column!r} is there but empty (null); fill it in, or leave the row out")
    return row[column]


def flat(value: Any, place: str, column: str) -> str:
    """Return a text, or the contents of a conversation one after the other."""
    if isinstance(value, list):
        return "\n".join(_contents(value, place, column))
    if isinstance(value, Mapping):
        raise DataError(f"{place}: {column} should be a text or a list of messages, got {type(value).__name__}")
    return str(value)


def _contents(messages: Sequence[Any], place: str, column: str) -> Iterator[str]:
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DataError(
                f'{place}: {column} should be a text or a list of messages such as {{"role": "user", "content": "..."}}'
            )
        yield message["content"]
