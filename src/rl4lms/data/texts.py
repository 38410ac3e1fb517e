"""Prompt and completion as one text, where only the two strings may be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from rl4lms.errors import DataError, nth_row
from rl4lms.plugins.options import Option

Join = Annotated[str | None, Option("put between prompt and completion where only strings are known")]


def whole_texts(
    owner: str, prompts: Sequence[str], completions: Sequence[str], texts: Sequence[str] | None, join: str | None
) -> list[str]:
    """Return prompt and completion of each row as one text.

    Args:
        owner: names who asks, in messages.
        prompts, completions: (B,), put together where `texts` is None.
        texts: (B,) what they are together, decoded from their ids.
        join: stands between two strings.

    Raises:
        DataError: only strings are known, `join` is None, and two of them meet without white space: whether some
            belongs there, strings do not say.
    """
    if texts is not None:
        return list(texts)
    rows = list(zip(prompts, completions, strict=True))
    for row, (prompt, completion) in enumerate(rows if join is None else []):
        if touches(prompt, completion):
            raise DataError(
                f"{owner} reads prompt and completion as one text, and {nth_row(row)} has them as two strings without "
                f"white space between: {prompt[-20:]!r} and {completion[:20]!r}; give the data a column of such texts "
                f"(`text` in a file, `texts` in a call), or set the option `join`, to ' ' or ''"
            )
    return [glued(prompt, completion, join or "") for prompt, completion in rows]


def touches(prompt: str, completion: str) -> bool:
    """Return whether two texts would follow each other without white space."""
    return bool(prompt and completion) and not (prompt[-1].isspace() or completion[0].isspace())


def glued(prompt: str, completion: str, join: str) -> str:
    """Return two strings as one; nothing stands between where one is empty."""
    return join.join(text for text in (prompt, completion) if text)
