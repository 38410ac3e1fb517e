"""Texts that do nothing in a terminal or in a spreadsheet but stand there."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence


def inert_formula(text: str) -> str:
    """Keep a spreadsheet from reading a text as a formula."""
    text = plain(text)
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@＝＋－＠") else text


def comma_separated(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV; no line of a text is a formula."""

    def inert(cell: object) -> object:
        return "\n".join(map(inert_formula, cell.replace("\r\n", "\n").split("\n"))) if isinstance(cell, str) else cell

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(inert, row) for row in rows)
    return out.getvalue()


def plain(text: str) -> str:
    """Return a text without line ends, escapes of terminals and signs that turn the direction of writing."""
    return "".join("�" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)
