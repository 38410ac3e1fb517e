"""Writes and reads the mini edition: a page with a table of three rows, some cells of one of them highlighted, and
sentences that state these. A sentence is read by the same rules, which tell what it says of which column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import pick
from rl4lms.tasks.rules import Reading
from rl4lms.tasks.totto import real
from rl4lms.tasks.totto.table import KINDS, SHAPES, TABLE, Kind

_ROWS = 3
_REFERENCES = 2
_DRAWS = 5
_TAGS = ("page_title", "section_title", "table", "cell", "col_header")


def example(seed: int, index: int) -> Example:
    """Return the row with this index in the world of this seed: titles and two to four highlighted cells, and up to two
    sentences about them.
    """
    rng = Random(f"totto mini {seed} {index}")  # a string seed is hashed by SHA-512: the same on every platform
    section = pick(list(KINDS), rng)
    kind = KINDS[section]
    page = _value(kind.page, rng)
    rows: list[list[str]] = []
    taken = {page}
    while len(rows) < _ROWS:  # no value twice: what a sentence says is said of one cell
        row = [_value(column.upper(), rng) for column in kind.columns]
        if taken.isdisjoint(row):
            rows.append(row)
            taken.update(row)
    chosen = int(rng.random() * _ROWS)
    cells = pick(SHAPES[section], rng)
    given = {kind.page: page, **dict(zip((column.upper() for column in kind.columns), rows[chosen], strict=True))}
    texts = (" ".join(TABLE.write(kind.sentence(cells), rng, given)) for _ in range(_DRAWS))
    columns = {
        "table": [_line(kind.columns, header=True), *(_line(row, header=False) for row in rows)],
        "highlighted_cells": [[chosen + 1, place] for place, name in enumerate(kind.columns) if name in cells],
        "table_page_title": page,
        "table_section_title": section,
        "table_section_text": None,
        "overlap_subset": None,
    }
    prompt = real.linearised(columns, f"totto mini {seed} {index}")
    return Example(document=prompt, prompt=prompt, references=tuple(dict.fromkeys(texts))[:_REFERENCES], meta=columns)


def _value(symbol: str, rng: Random) -> str:
    return " ".join(TABLE.write(symbol, rng))


def _line(values: Sequence[str], header: bool) -> list[dict[str, Any]]:
    return [{"value": value, "is_header": header, "column_span": 1, "row_span": 1} for value in values]


def vocabulary() -> list[str]:
    """Return every word of prompts and sentences, sorted."""
    headers = {name for kind in KINDS.values() for name in kind.columns}
    tags = {tag for name in _TAGS for tag in (f"<{name}>", f"</{name}>")}
    return sorted(TABLE.words | headers | tags | {word for section in KINDS for word in section.split()})


def derivable(text: str) -> bool:
    """Return whether a text is a sentence about cells of any page, its full stop included."""
    return any(_readings(kind, cells, text) for section, kind in KINDS.items() for cells in SHAPES[section])


def faithful(text: str, row: Mapping[str, Any]) -> bool:
    """Return whether a text is a sentence that states the highlighted cells of a row, each as what it is, and nothing
    else but perhaps the title of the page.

    Args:
        text: what is read.
        row: the columns of the row.
    """
    kind = KINDS[row["table_section_title"]]
    header, *_ = row["table"]
    said = {
        (header[place]["value"].upper(), row["table"][number][place]["value"])
        for number, place in row["highlighted_cells"]
    }
    cells = tuple(sorted(name.lower() for name, _ in said))
    page = (kind.page, row["table_page_title"])
    return any(said <= reading <= said | {page} for reading in _readings(kind, cells, text))


def _readings(kind: Kind, cells: tuple[str, ...], text: str) -> set[Reading]:
    words = re.findall(r"\S+", text)
    return TABLE.readings(kind.sentence(cells), words, {kind.page, *(column.upper() for column in kind.columns)})


def grammar_metric(completions: Sequence[str], **columns: Any) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable`: 1.0 where a completion is a sentence of the grammar, else 0.0. `faithful`: 1.0 where it is one that
    states the highlighted cells of its row and nothing else.

    Raises:
        DataError: there are no columns of tables, or the section of a row is none of the mini edition.
    """
    names = ("table", "highlighted_cells", "table_page_title", "table_section_title")
    absent = [name for name in names if name not in columns]
    if absent or not set(columns["table_section_title"]) <= set(KINDS):
        what = f"needs the data columns {', '.join(absent)}" if absent else "knows no such section"
        raise DataError(f"totto_grammar {what}; it measures the mini edition of totto (task: totto)")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]
    return {
        "derivable": [float(derivable(text)) for text in completions],
        "faithful": [float(faithful(text, row)) for text, row in zip(completions, rows, strict=True)],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
