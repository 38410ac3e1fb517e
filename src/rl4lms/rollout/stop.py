"""Stop strings: texts with which a completion ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rl4lms.models.generate import Stop
from rl4lms.rollout.texts import Decoder

# Tokens before those that a string can have: a character of several bytes, white space that depends on what is before.
_CONTEXT = 8


def stop_at(decoder: Decoder, strings: Sequence[str]) -> Stop:
    """Return what says which completions end with the token that completes one of the texts.

    What is looked at is the text that rewards see, at its end: `StopStringCriteria` of transformers puts the pieces of
    the vocabulary together instead, and fails for tokenizers that cannot write the word it tries them with.
    """
    window = max(len(string.encode()) for string in strings) + _CONTEXT

    def ended(completion_ids: Tensor) -> Tensor:
        tails = completion_ids[:, -window:].tolist()
        pairs = zip(decoder(tails), decoder([tail[:-1] for tail in tails]), strict=True)
        found = [any(_completed(string, text, before) for string in strings) for text, before in pairs]
        return torch.tensor(found, device=completion_ids.device)

    return ended


def _completed(string: str, text: str, before: str) -> bool:
    """Return whether the string is in a text and ends in what was added to what was there before."""
    known = next((i for i, (new, old) in enumerate(zip(text, before, strict=False)) if new != old), len(before))
    return text.find(string, max(0, known - len(string) + 1)) >= 0
