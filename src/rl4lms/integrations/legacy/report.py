"""What a conversion says on a terminal, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rl4lms.integrations.legacy.convert import Conversion
from rl4lms.integrations.legacy.old_file import Note

_WIDTH, _LABEL = 79, 9


def report(found: Conversion, everything: bool = True) -> Iterator[str]:
    """Return what is to be told.

    Args:
        found: the conversion.
        everything: also what was decided, and which keys there is nothing to set for.
    """
    notes = found.notes
    if found.rollouts:
        yield from _wrapped("rollouts", found.rollouts)
    for note in notes.faults:
        yield from _wrapped("fault", f"{_line(note)}: {note.key} {note.text}. Repaired: {note.repair}")
    for note in notes.to_do:
        yield from _wrapped("to do", f"{_line(note)}: {note.text}")
    if everything:
        for note in notes.decided:
            yield from _wrapped("decided", f"{_line(note)}: {note.text}")
        if notes.unneeded:
            yield from _wrapped("no need", f"to set {', '.join(dict.fromkeys(notes.unneeded))} (docs/migration.md)")


def _line(note: Note) -> str:
    return f"line {note.place.rpartition(':')[2]}"


def _wrapped(label: str, text: str) -> list[str]:
    indent = " " * (_LABEL + 2)
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"  {label:<{_LABEL}}", subsequent_indent=indent, break_on_hyphens=False
    )
