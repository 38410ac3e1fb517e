"""Messages count rows from 1, all of them, because one function says which row it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import rl4lms
from rl4lms.errors import nth_row

PACKAGE = Path(rl4lms.__file__).parent
_BEFORE_A_NUMBER = re.compile(r"\brow #?$", re.IGNORECASE)


def rows_named_by_hand(source: str) -> list[int]:
    """Lines of texts that put a value directly behind the word row: f-strings, `format` and `%`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for before, value in zip(node.values, node.values[1:], strict=False):
                named = isinstance(before, ast.Constant) and _BEFORE_A_NUMBER.search(str(before.value))
                if named and isinstance(value, ast.FormattedValue):
                    found.append(value.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.search(r"\brow #?(\{|%[ds])", node.value):
                found.append(node.lineno)
        elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant):  # a %-format is a text like others
            found += [node.lineno] * bool(_BEFORE_A_NUMBER.search(str(node.left.value)))
    return found


def test_rows_and_tokens_count_from_one():
    assert nth_row(0) == "row 1"
    assert nth_row(4, 0) == "row 5, token 1"


@pytest.mark.parametrize(
    "text", ['f"of row {i}"', 'f"{x}: Row #{i + 1} is"', '"row %d" % i', '"row {}".format(i)', '"row " + str(i)']
)
def test_the_scan_finds_rows_that_are_named_by_hand(text):
    assert rows_named_by_hand(f"x = {text}") == [1]
    assert rows_named_by_hand('x = f"{n} rows of {path}, no row has {column}: {nth_row(i)} is"') == []


def test_no_other_code_names_a_row():
    """The function itself is the one place."""
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := rows_named_by_hand(path.read_text(encoding="utf-8")))
    }
    assert list(found) == ["errors.py"]
