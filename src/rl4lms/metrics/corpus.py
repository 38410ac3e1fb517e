"""The corpus that a metric takes document frequencies from, out of a file of data."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from rl4lms.data.files import read_rows
from rl4lms.data.given import texts_of
from rl4lms.errors import DataError


def corpus_of_file(name: str) -> list[tuple[str, ...]]:
    """Return the references of a file, one tuple per prompt, which is one document (Vedantam et al., 2015).

    Args:
        name: a file (or Hub id) with a column `references`; where it has no column `prompt`, every row is a document.

    Raises:
        DataError: there are no references, or the file cannot be read.
    """
    of_prompt: dict[str, list[str]] = {}
    for place, row in read_rows(name):
        of_prompt.setdefault(str(row.get("prompt") or place), []).extend(
            texts_of(row, "references", functools.partial(str, place), name)
        )
    return documents(name, of_prompt.values())


def documents(name: str, references: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the different references of each document that has any.

    Raises:
        DataError: there are none; `name` is what the message calls the corpus.
    """
    found = [tuple(dict.fromkeys(texts)) for texts in references if texts]
    if not found:
        raise DataError(
            f"the corpus {name!r} has no references to take document frequencies from; name another split, or a file "
            f"of data"
        )
    return found
