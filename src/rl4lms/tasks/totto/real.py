"""The published ToTTo: JSONL with tables, highlighted cells and sentences, and how a table becomes a text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rl4lms.data.rows import Row
from rl4lms.errors import DataError
from rl4lms.tasks import sources
from rl4lms.types import Split

HUB_ID = "google-research-datasets/totto"
_FILES = {
    "train": "totto_train_data.jsonl",
    "validation": "totto_dev_data.jsonl",
    "test": "unlabeled_totto_test_data.jsonl",
}


def rows(folder: str | None, split: Split) -> Iterator[tuple[str, Row]]:
    """Return the rows of a split, each with its place.

    Raises:
        DataError: a file is absent or damaged.
    """
    if folder is None:
        return sources.hub_rows(HUB_ID, split, revision="refs/convert/parquet")
    return sources.json_lines(sources.find(folder, _FILES[split]))


def sentences(row: Row, place: str, hidden: bool) -> tuple[str, ...]:
    """Return the final sentences of a row.

    Args:
        hidden: a row without annotations, or with empty ones, has none rather than being an error.

    Raises:
        DataError: it has none.
    """
    found = row.get("sentence_annotations") or []
    if isinstance(found, dict):  # as the Hub has it, a list for each key
        texts = found.get("final_sentence") or []
    else:
        texts = [annotation.get("final_sentence") for annotation in found]
    if hidden and not any(texts):
        return ()
    if not texts:
        raise DataError(f"{place}: needs 'sentence_annotations', each with a 'final_sentence'")
    return tuple(sources.text_of({"final_sentence": text}, "final_sentence", place) for text in texts)


def overlap(row: Row, place: str) -> bool | None:
    """Return whether the table's headers are those of a table of train; None where nothing is said, as in train.

    Raises:
        DataError: it is neither true nor false.
    """
    value = row.get("overlap_subset")
    said = {"True": True, "False": False, "None": None, "none": None}  # the Hub has texts
    if str(value) not in said:
        raise DataError(f"{place}: 'overlap_subset' must be true or false, got {value!r:.40}")
    return said[str(value)]


def linearised(row: Row, place: str) -> str:
    """Return titles and highlighted cells as a text, each cell with its column and row headers, as the scripts of the
    data set do it: a header above a cell shares a column with it, spans counted; one beside it stands before it.

    Raises:
        DataError: a highlighted cell is not in the table, or a cell is none.
    """
    parts = [
        _tagged("page_title", row.get("table_page_title")),
        _tagged("section_title", row.get("table_section_title")),
    ]
    try:
        cells = [_cell(row["table"], number, column) for number, column in row["highlighted_cells"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{place}: 'highlighted_cells' must be pairs of a row and a column of 'table', rows of cells with value, "
            f"is_header and column_span ({type(error).__name__}: {error})"
        ) from error
    return " ".join([*(part for part in parts if part), "<table>", *cells, "</table>"])


def _cell(table: list[list[dict[str, Any]]], number: int, column: int) -> str:
    if number < 0 or column < 0:
        raise IndexError("negative index")
    row = table[number]
    start = sum(cell["column_span"] for cell in row[:column])
    end = start + row[column]["column_span"]
    above = [cell for other in table[:number] for cell, left, right in _placed(other) if left < end and right > start]
    headers = [_tagged("col_header", cell["value"]) for cell in above if cell["is_header"]]
    headers += [_tagged("row_header", cell["value"]) for cell in row[:column] if cell["is_header"]]
    return " ".join(["<cell>", row[column]["value"], *(header for header in headers if header), "</cell>"])


def _placed(row: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int, int]]:
    start = 0
    for cell in row:
        yield cell, start, start + cell["column_span"]
        start += cell["column_span"]


def _tagged(tag: str, text: str | None) -> str:
    return f"<{tag}> {text} </{tag}>" if text else ""
