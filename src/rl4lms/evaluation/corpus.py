"""What metrics and rewards cannot know by themselves: the corpus that statistics are taken from."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from rl4lms.data.files import read_rows
from rl4lms.data.given import texts_of
from rl4lms.errors import DataError
from rl4lms.rewards import nested
from rl4lms.types import Task


def give_corpora(components: Iterable[Any], task: Task) -> None:
    """Give metrics and rewards, and whatever is inside them, the corpus they name (`fit`).

    Args:
        components: metrics, rewards, None.
        task: has the splits that a corpus may name; anything else is a file of data.

    Raises:
        DataError: a corpus has no references, or its file cannot be read.
    """
    for component in components:
        for part in nested(component):
            name = getattr(part, "corpus", None)
            if isinstance(name, str) and hasattr(part, "fit"):
                part.fit(corpus(task, name), name)


def corpus(task: Task | None, name: str) -> list[tuple[str, ...]]:
    """Return the references of a split of the task, or of a file of data: one tuple per prompt, which is one document
    (Vedantam et al., 2015).

    Args:
        task: None where there is none; then `name` is a file.
        name: `train`, `validation`, `test`, or a file (or Hub id) with a column `references`; where it has no column
            `prompt`, every row is a document.

    Raises:
        DataError: there are no references, or the file cannot be read.
    """
    of_prompt: dict[str, list[str]] = {}
    if task is not None and name in ("train", "validation", "test"):
        for sample in task.samples(name):  # type: ignore[arg-type]
            of_prompt.setdefault(sample.prompt, []).extend(sample.references)
    else:
        for place, row in read_rows(name):
            of_prompt.setdefault(str(row.get("prompt") or place), []).extend(
                texts_of(row, "references", functools.partial(str, place), name)
            )
    documents = [tuple(dict.fromkeys(texts)) for texts in of_prompt.values() if texts]
    if not documents:
        raise DataError(
            f"the corpus {name!r} has no references to take document frequencies from; name another split, or a file "
            f"of data"
        )
    return documents
