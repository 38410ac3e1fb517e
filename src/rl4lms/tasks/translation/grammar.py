"""The gold measures of the mini editions of `iwslt2017` and `wmt16`: is it German, and is it a translation?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.translation import news, talks

_TOKEN = re.compile(r"\w+|[^\w\s]")


def derivable(text: str) -> bool:
    """Return whether a text is one German sentence of one of the worlds, its full stop included."""
    words = _TOKEN.findall(text)
    return any(world.table.accepts("SENTENCE", words) for world in (talks.WORLD, news.WORLD))


def adequate(text: str, translations: Sequence[str]) -> bool:
    """Return whether a text is German and one of these translations."""
    return derivable(text) and " ".join(_TOKEN.findall(text)) in translations


def grammar_metric(
    completions: Sequence[str], translations: Sequence[Sequence[str]] | None = None, **columns: Any
) -> dict[str, list[float]]:
    """Return the gold measures of the mini editions.

    `derivable`: 1.0 where a completion is a German sentence of the grammar, else 0.0. `adequate`: 1.0 where it also
    says what its source says: it is one of the translations that the synchronous grammar allows.

    Raises:
        DataError: there is no column of translations.
    """
    if translations is None:
        raise DataError(
            "translation_grammar needs the data column 'translations'; it measures the mini editions of iwslt2017 and "
            "wmt16"
        )
    return {
        "derivable": [float(derivable(text)) for text in completions],
        "adequate": [float(adequate(*row)) for row in zip(completions, translations, strict=True)],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
