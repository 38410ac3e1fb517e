"""The door for texts and references, whoever gives them: what is no text is an error, and never a wrong number."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Callable, Mapping, Set
from typing import Any

from rl4lms.errors import DataError, nth_row


def texts_given(owner: str, column: str, values: Any, *, conversations: bool = False) -> list[Any]:
    """Return one text per row.

    Args:
        owner: names who asks, in messages.
        column: such as `completions`.
        values: a list of texts, or another sequence of them.
        conversations: whether a row may also be a message or a list of messages, as TRL gives them to rewards.

    Raises:
        DataError: one text where a list should be, or a row that is none; the message counts rows from 1.
    """
    rows = rows_given(owner, column, values)
    for row, value in enumerate(rows):
        if not (isinstance(value, str) or (conversations and isinstance(value, list | tuple | Mapping))):
            remedy = "; write '' for an empty text" if value is None else ""
            raise DataError(f"{owner}: {column} of {nth_row(row)} must be a text, got {_kind(value)}{remedy}")
    return rows


def references_given(owner: str, values: Any) -> list[tuple[str, ...]]:
    """Return the references of each row: a text is one, None and an empty list are none, "" is one that is empty.

    Args:
        owner: names who asks, in messages.
        values: per row a text, a list of texts, or None.

    Raises:
        DataError: it is something else; the message counts rows from 1.
    """
    row = 0

    def where() -> str:
        return f"{owner}: references of {nth_row(row)}"

    found = []
    for row, value in enumerate(rows_given(owner, "references", values)):  # noqa: B007 - `where` reads it
        found.append(references_of(value, where))
    return found


def references_of(value: Any, where: Callable[[], str]) -> tuple[str, ...]:
    """Return the references of one row.

    Args:
        value: a text, a list of texts (or a tuple, or an array of one dimension), or None.
        where: begins messages, such as `train.jsonl:7: 'references'`.

    Raises:
        DataError: it is something else.
    """
    if isinstance(value, str):
        return (value,)
    if value is None:
        return ()
    texts = value.tolist() if getattr(value, "shape", ()) else value  # numpy, as pandas reads lists of Parquet
    if not isinstance(texts, list | tuple):
        raise DataError(f"{where()} must be a text or a list of texts, got {_kind(value)}; None where there is none")
    for text in texts:
        if not isinstance(text, str):
            raise DataError(
                f"{where()} must be a text or a list of texts, got a list with {_kind(text)}; leave it out, or make "
                f"it a text ('' is an empty one)"
            )
    return tuple(texts)


def references_in_cell(cell: str, where: Callable[[], str]) -> tuple[str, ...]:
    """Return the references that a cell of a CSV file holds.

    A list of texts as JSON or Python writes it is several, an empty cell or list none, anything else one text.

    Raises:
        DataError: a list has texts and something else, or texts without commas between, as numpy writes arrays.
    """
    if not cell:
        return ()
    found = _list_in(cell, where)
    if found is None or (found and not any(item is None or isinstance(item, str) for item in found)):
        return (cell,)  # a text; `[1]` may be a footnote
    return references_of(found, where)


def texts_of(row: Mapping[str, Any], column: str, place: Callable[[], str], path: str = "") -> tuple[str, ...]:
    """Return a column that holds a text, a list of texts, or nothing.

    Args:
        row: of a file.
        column: its name.
        place: says where the row stands, in messages.
        path: of the file; cells of CSV and TSV are texts that may write a list.

    Raises:
        DataError: it holds something else.
    """

    def where() -> str:
        return f"{place()}: {column!r}"

    value = row.get(column)
    if isinstance(value, str) and path.lower().endswith((".csv", ".tsv")):
        return references_in_cell(value, where)
    return references_of(value, where)


def rows_given(owner: str, column: str, values: Any) -> list[Any]:
    """Return the rows of any column: a list, a tuple, an array, a Series, a column of `datasets`.

    Raises:
        DataError: it is one text, a mapping or a set, or has no length.
    """
    if isinstance(values, str | bytes):  # its characters would be the rows
        raise DataError(f"{owner}: {column} must be a list with one entry per row, got one text; write [text]")
    if isinstance(values, Mapping | Set) or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise DataError(f"{owner}: {column} must be a list with one entry per row, got {_kind(values)}")
    return list(values)


def _list_in(cell: str, where: Callable[[], str]) -> list[Any] | None:
    """Return the list that a text writes; None where it writes none."""
    text = cell.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("(", ")")):
        return None
    try:
        found = json.loads(text)
        return found if isinstance(found, list) else None
    except (ValueError, RecursionError):
        pass
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(found, list | tuple):
        return None
    strings = sum(token.type == tokenize.STRING for token in tokenize.generate_tokens(io.StringIO(text).readline))
    if strings > len(found) and all(isinstance(item, str) for item in found):  # Python would join 'a' 'b' to one
        raise DataError(
            f"{where()} is a list without commas between its texts, as numpy writes arrays; write lists to CSV by "
            f"json.dumps(list(texts))"
        )
    return list(found)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
