"""What the metrics share: their signature strings, and the check that there is something to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rl4lms
from rl4lms.data.cache import cache_folder
from rl4lms.data.given import references_given
from rl4lms.errors import DataError, nth_row

CORPUS = "whose references give the document frequencies: a split of the task, or a file of data"


def signature(name: str, **options: object) -> str:
    """`rouge|stemmer:yes|version:rl4lms-0.1.0`: which implementation computed a number, with which options.

    Args:
        name: of the metric.
        options: everything that changes the number, in the order in which it is shown.
    """
    return "|".join(
        [name, *(f"{key}:{_shown(value)}" for key, value in options.items()), f"version:rl4lms-{rl4lms.__version__}"]
    )


def check_references(name: str, references: Sequence[Any]) -> list[tuple[str, ...]]:
    """Return the references of each row, at least one.

    Args:
        name: of the metric, in messages, which count rows from 1.
        references: see `references_given`.

    Raises:
        DataError: a row has no reference, or something else than texts.
    """
    checked = references_given(name, references)
    for row, texts in enumerate(checked):
        if not texts:
            raise DataError(f"{name} compares with references, and {nth_row(row)} has none")
    return checked


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, str) and Path(value).parent == cache_folder():  # built, and called by a hash of how
        return f"asset:{Path(value).name}"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
