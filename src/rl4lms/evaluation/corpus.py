"""What metrics and rewards cannot know by themselves: the corpus that statistics are taken from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rl4lms.metrics.corpus import corpus_of_file, documents
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
    if task is None or name not in ("train", "validation", "test"):
        return corpus_of_file(name)
    of_prompt: dict[str, list[str]] = {}
    for sample in task.samples(name):  # type: ignore[arg-type]
        key = repr(sample.messages) if sample.messages else sample.prompt
        of_prompt.setdefault(key, []).extend(sample.references)
    return documents(name, of_prompt.values())
