"""Texts to score, from files: rows with columns, or plain text with one text per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl4lms.data.files import read_rows
from rl4lms.data.given import texts_of
from rl4lms.data.rows import SUFFIXES, read_text
from rl4lms.errors import ConfigError, DataError

#: How the name of a file ends that has one text per line.
PLAIN = ".txt"


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns.

    Attributes:
        completion: the text to score.
        references: with a text or a list of them each; what all of them hold are the references of a row.
        prompt: prompt or source.
        text: prompt and completion as one text; `none` says that no column is.
    """

    completion: str = "completion"
    references: tuple[str, ...] = ("references",)
    prompt: str = "prompt"
    text: str = "text"


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a file, one entry per row in every list.

    Attributes:
        path: the file.
        places: where each row stands, for messages.
        ids: of the column `id`, None where a row has none.
        prompts: what the policy saw; "" where a row has none.
        full_prompts: before they were cut.
        has_prompts: whether any row has a prompt.
        completions, references: of each row.
        texts: prompt and completion as one; None where not all rows have them.
        columns: every other column.
    """

    path: str
    places: list[str]
    ids: list[Any]
    prompts: list[str]
    full_prompts: list[str]
    has_prompts: bool
    completions: list[str]
    references: list[tuple[str, ...]]
    texts: list[str] | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.completions)

    def batch(self) -> dict[str, Any]:
        """Return what metrics are called with; see `rl4lms.metrics.compute`."""
        names = ("prompts", "full_prompts", "completions", "references", "texts", "columns")
        return {name: getattr(self, name) for name in names}

    def rows(self, order: Sequence[int]) -> Texts:
        """Return some rows, in some order."""

        def of(values: list[Any]) -> list[Any]:
            return [values[row] for row in order]

        return Texts(
            self.path,
            of(self.places),
            of(self.ids),
            of(self.prompts),
            of(self.full_prompts),
            self.has_prompts,
            of(self.completions),
            of(self.references),
            None if self.texts is None else of(self.texts),
            {name: of(values) for name, values in self.columns.items()},
        )


def is_local(path: str) -> bool:
    """Return whether this names a file, and not a data set of the Hub."""
    return Path(path).suffix.lower() in (*SUFFIXES, PLAIN)


def read_texts(
    path: str, columns: Columns | None = None, *, references: Sequence[str] = (), prompts: str | None = None
) -> Texts:
    """Read the texts of a file, and what they are compared with.

    Args:
        path: JSONL, JSON, CSV, TSV or Parquet with a row per completion, plain text (.txt) with one per line, or a Hub
            id.
        columns: what the columns of such files are called.
        references: files with the references of each row, in the same order: plain text, an empty line for none, or
            rows with the columns of references. They replace those of `path`.
        prompts: a file with the prompts or sources, likewise.

    Raises:
        DataError: a file cannot be read, has no rows or another number of them, no row has a column that was named, or
            a row has no completion.
    """
    named = columns or Columns()
    own = Columns() if Path(path).suffix.lower() == PLAIN else named  # a line has no other columns
    raw = _rows(path, own.completion)
    read = {"prompt": prompts is None, "references": not references}
    _refuse_absent_columns(path, raw, own, read)
    rows = [_row(path, place, row, own) for place, row in raw]
    if references:
        found = [_references_of(file, named, path, len(rows)) for file in references]
        gold = [tuple(text for texts in each for text in texts) for each in zip(*found, strict=True)]
    else:
        gold = [row["references"] for row in rows]
    seen = [row["prompts"] for row in rows]
    full = [row["full_prompts"] or row["prompts"] or "" for row in rows]
    if prompts is not None:
        seen = full = _prompts_of(prompts, named, path, len(rows))
    names = sorted({name for row in rows for name in row["columns"]})
    return Texts(
        path,
        [place for place, _ in raw],
        [row.get("id") for _, row in raw],
        [text or "" for text in seen],
        [text or "" for text in full],
        any(text is not None for text in seen),
        [row["completions"] for row in rows],
        gold,
        _whole_texts(path, own, raw, rows),
        {name: [row["columns"].get(name) for row in rows] for name in names},
    )


def refuse_columns_of_nothing(
    paths: Sequence[str], named: Columns, references: Sequence[str], prompts: str | None
) -> None:
    """Refuse names of columns where every file they could be of is plain text.

    Raises:
        ConfigError: there is such a name.
    """

    def plain(files: Sequence[str]) -> bool:
        return all(Path(file).suffix.lower() == PLAIN for file in files)

    usual = Columns()
    for what, files in (
        ("completion", paths),
        ("references", list(references) or paths),
        ("prompt", paths if prompts is None else [prompts]),
        ("text", paths),
    ):
        column = getattr(named, what)
        if column != getattr(usual, what) and plain(files) and (what, column) != ("text", "none"):
            raise ConfigError(
                f"{what}_column {column!r}: {' and '.join(files)} is plain text, which has no columns; leave it out"
            )


def _rows(path: str, column: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return rows with their places; a line of plain text is a row with the one column."""
    if Path(path).suffix.lower() == PLAIN:
        return [(f"{path}:{number}", {column: line}) for number, line in enumerate(_lines(path), 1)]
    raw = list(read_rows(path))
    if not raw:
        raise DataError(f"{path}: there are no rows")
    return list(raw)


def _lines(path: str) -> list[str]:
    """Return the texts of a file that has one per line; the end of the last line begins no other."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    text = read_text(path).replace("\r\n", "\n")
    if not text:
        raise DataError(f"{path}: the file is empty; one text per line is expected")
    return text.removesuffix("\n").split("\n")


def _same_number(path: str, other: str, there: int, here: int) -> None:
    if there != here:
        raise DataError(
            f"{path} has {there} texts and {other} {here}; they belong together line by line, so their numbers must be "
            f"the same"
        )


def _references_of(file: str, columns: Columns, path: str, n: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]]
    if Path(file).suffix.lower() == PLAIN:
        found = [(line,) if line else () for line in _lines(file)]
    else:
        raw = _rows(file, "")
        _refuse_missing(file, raw, columns.references, "references")
        found = [_all_references(row, columns.references, place, file) for place, row in raw]
    _same_number(file, path, len(found), n)
    return found


def _prompts_of(file: str, columns: Columns, path: str, n: int) -> list[str]:
    if Path(file).suffix.lower() == PLAIN:
        found = _lines(file)
    else:
        raw = _rows(file, "")
        for place, row in raw:
            if not isinstance(row.get(columns.prompt), str):
                raise DataError(f"{place}: no text in a column {columns.prompt!r}; there are: {_names(row)}")
        found = [row[columns.prompt] for _, row in raw]
    _same_number(file, path, len(found), n)
    return found


def _all_references(row: Mapping[str, Any], names: Sequence[str], place: str, path: str) -> tuple[str, ...]:
    return tuple(text for name in names for text in texts_of(row, name, lambda: place, path))


def _refuse_absent_columns(path: str, raw: list[Any], named: Columns, read: Mapping[str, bool]) -> None:
    """Refuse names other than the usual ones that no row has."""
    usual = Columns()
    for what in ("references", "prompt", "text"):
        value = getattr(named, what)
        if value != getattr(usual, what) and (what, value) != ("text", "none") and read.get(what, True):
            _refuse_missing(path, raw, (value,) if isinstance(value, str) else value, what)


def _refuse_missing(path: str, raw: list[Any], names: Sequence[str], what: str) -> None:
    for name in names:
        if not any(name in row for _, row in raw):
            there = _names(raw[0][1]) if raw else "none"
            raise DataError(f"{path}: no row has the column {name!r} ({what}_column); there are: {there}")


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row))


def _row(path: str, place: str, row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    completion = row.get(columns.completion)
    if not isinstance(completion, str):
        found = "no column" if columns.completion not in row else f"{type(completion).__name__} in the column"
        raise DataError(
            f"{place}: {found} {columns.completion!r}, where the text to score should be; there are: {_names(row)}"
        )
    # a column that is called like what metrics are given, while another one was named for it, is not meant
    own = {columns.completion, *columns.references, columns.prompt, "prompts", "completions", "references"}
    for name in (columns.prompt, "full_prompt"):
        if not isinstance(row.get(name), str | None):
            raise DataError(f"{place}: {name!r} must be a text, got {type(row[name]).__name__}")
    return {
        "prompts": row.get(columns.prompt),
        "full_prompts": row.get("full_prompt"),
        "completions": completion,
        "references": _all_references(row, columns.references, place, path),
        "columns": {name: value for name, value in row.items() if name not in own},
    }


def _whole_texts(path: str, columns: Columns, raw: list[Any], rows: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return prompt and completion of each row as one text; None where the file does not have them all.

    Raises:
        DataError: the column is something else.
    """
    if columns.text == columns.completion:
        return None
    for place, row in raw:
        if not isinstance(row.get(columns.text), str | None):
            raise DataError(f"{place}: {columns.text!r} must be a text, got {type(row[columns.text]).__name__}")
    texts: list[Any] = [row.get(columns.text) for _, row in raw]
    if not all(isinstance(text, str) for text in texts):
        return None
    completions = [row["completions"].strip() for row in rows]
    if any(completions) and not any(
        t.endswith(c) for t, c in zip(map(str.strip, texts), completions, strict=True) if c
    ):
        raise DataError(
            f"{path}: the column {columns.text!r} should have prompt and completion as one text, and none of its texts "
            f"ends with the completion; name another with --text-column"
        )
    return texts
