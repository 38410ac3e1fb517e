"""Texts that do nothing in a terminal or in a spreadsheet but stand there."""

from __future__ import annotations

import unicodedata


def inert_formula(text: str) -> str:
    """Keep a spreadsheet from reading a text as a formula."""
    text = plain(text)
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@＝＋－＠") else text


def plain(text: str) -> str:
    """Return a text without line ends, escapes of terminals and signs that turn the direction of writing."""
    return "".join("�" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)
