"""A batch of made-up completions, and rewards with known scores."""

from __future__ import annotations

from typing import Any

from rl4lms.rewards import score


def batch(*completions: str, prompts: list[str] | None = None, **columns: Any) -> dict[str, Any]:
    """Completions of one token per word, with references that nobody reads."""
    return {
        "prompts": prompts or [f"prompt {i}" for i in range(len(completions))],
        "completions": list(completions),
        "completion_ids": [list(range(len(text.split()))) for text in completions],
        "references": [("a b c d",)] * len(completions),
        "columns": columns,
    }


def giving(*scores: Any) -> Any:
    """A reward that returns these scores, whatever it is asked."""

    def fixed(completions: Any) -> list[Any]:
        return list(scores)

    return fixed


def scored(reward: Any, *completions: str, **options: Any) -> Any:
    """The output for these completions."""
    return score(reward, **batch(*completions), **options)
