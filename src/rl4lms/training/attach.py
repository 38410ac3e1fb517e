"""What metrics and rewards cannot know by themselves: the corpus that statistics are taken from, and the policy's tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from rl4lms.config.data import DataConfig
from rl4lms.errors import DataError
from rl4lms.rewards import nested
from rl4lms.tasks.files import FileTask
from rl4lms.types import Task


def attach(components: Iterable[Any], task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    """Gives metrics and rewards, and whatever is inside them, the corpus they name (`fit`) and the tokenizer (`use_tokenizer`).

    Args:
        components: metrics, rewards, None.
        task: has the splits that a corpus may name; anything else is a file of data.
        tokenizer: of the policy.

    Raises:
        DataError: a corpus has no references, or its file cannot be read.
    """
    for component in components:
        for part in nested(component):
            name = getattr(part, "corpus", None)
            if name is not None:
                part.fit(corpus(task, name), name)
            if hasattr(part, "use_tokenizer"):
                part.use_tokenizer(functools.partial(tokenizer.batch_decode, skip_special_tokens=True))


def corpus(task: Task, name: str) -> list[tuple[str, ...]]:
    """The references of a split of the task, or of a file of data: one tuple per prompt, which is one document (Vedantam et al., 2015).

    Raises:
        DataError: there are none.
    """
    if name in ("train", "validation", "test"):
        samples = task.samples(name)  # type: ignore[arg-type]
    else:
        samples = FileTask(DataConfig(train=name, holdout=0)).samples("train")
    of_prompt: dict[str, list[str]] = {}
    for sample in samples:
        of_prompt.setdefault(sample.prompt, []).extend(sample.references)
    documents = [tuple(dict.fromkeys(texts)) for texts in of_prompt.values() if texts]
    if not documents:
        raise DataError(f"the corpus {name!r} has no references to take document frequencies from; name another split, or a file of data")
    return documents
