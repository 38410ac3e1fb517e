"""How much of a test set stands in other texts: n-grams of words, after Brown et al., 2020 (arXiv 2005.14165, appendix
C), who took 13 of them; 8 find more in the short texts of these tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from rl4lms.types import Sample

#: Words of an n-gram.
N = 8
_WORD = re.compile(r"\w+")


class Overlap(BaseModel):
    """How many texts share an n-gram with others. Texts of fewer words than n are left out, since they have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(N, ge=1, description="words of an n-gram")
    texts: int = Field(ge=0, description="that have n words or more")
    shared: int = Field(ge=0, description="of them, those that share an n-gram")

    def __str__(self) -> str:
        return f"{self.shared:,} of {self.texts:,} share {self.n} words in a row"


def ngrams(text: str, n: int = N) -> set[tuple[str, ...]]:
    """Return every n words in a row of a text, in lower case and without punctuation."""
    words = _WORD.findall(text.lower())
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def of_training(training: Iterable[str], samples: Sequence[Sample], n: int = N) -> Overlap:
    """Count prompts of a test set of which the prompt or a reference shares an n-gram with training texts.

    Args:
        training: texts, read once and not kept.
        samples: the test set.
        n: words.
    """
    of_samples = [set().union(*(ngrams(text, n) for text in (row.prompt, *row.references))) for row in samples]
    wanted = set().union(*of_samples)
    found: set[tuple[str, ...]] = set()
    for text in training:
        found |= ngrams(text, n) & wanted
    return Overlap(n=n, texts=sum(map(bool, of_samples)), shared=sum(bool(own & found) for own in of_samples))


def of_outputs(completions: Iterable[tuple[str, str]], samples: Mapping[str, Sample], n: int = N) -> Overlap:
    """Count completions that share an n-gram with a reference of their prompt which does not stand in the prompt: words
    that a system can only have guessed, or seen before.

    Args:
        completions: (prompt's id, completion).
        samples: by id.
        n: words.
    """
    texts = shared = 0
    for name, completion in completions:
        said, sample = ngrams(completion, n), samples[name]
        if said:
            gold = set().union(*(ngrams(text, n) for text in sample.references)) - ngrams(sample.prompt, n)
            texts, shared = texts + 1, shared + bool(said & gold)
    return Overlap(n=n, texts=texts, shared=shared)
