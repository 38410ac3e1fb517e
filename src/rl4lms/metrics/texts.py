"""How prompt and completion become one text."""

from __future__ import annotations


def joined(prompt: str, completion: str) -> str:
    """Prompt and completion with white space between them; none is added where there is some already."""
    if not prompt or not completion or prompt[-1].isspace() or completion[0].isspace():
        return prompt + completion
    return f"{prompt} {completion}"
