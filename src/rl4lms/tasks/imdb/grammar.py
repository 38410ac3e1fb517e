"""Writes and reads the mini edition: a review is a function of (seed, index), and a text is parsed by the same rules.

The gold measures of the edition live here: which sentences are derivable, and what the true sentiment of a text is.
They are reported and never serve as a reward.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from rl4lms.data.texts import Join, whole_texts
from rl4lms.tasks.imdb.table import TABLE

MIN_WORDS, MAX_WORDS = 20, 45

_TOKEN = re.compile(r"\w+|[^\w\s]")
_POLARITY = {"TURN<pos>": 1, "TURN<neg>": -1, "PLOT": 0, "ASIDE": 0}


@dataclass(frozen=True, slots=True)
class Review:
    """A generated review. `text` is lower case with a space around every token; `positive` is its label."""

    text: str
    positive: bool


@dataclass(frozen=True, slots=True)
class Parse:
    """A review that the grammar derives.

    Attributes:
        positive: the label.
        polarities: 1, -1 or 0 for each sentence.
    """

    positive: bool
    polarities: tuple[int, ...]


def review(seed: int, index: int) -> Review:
    """Return the review with this index in the world of this seed, `MIN_WORDS` to `MAX_WORDS` tokens long."""
    rng = Random(f"imdb mini {seed} {index}")  # a string seed is hashed by SHA-512: the same on every platform
    positive = rng.random() < 0.5
    while True:
        words = TABLE.write(f"REVIEW<{'pos' if positive else 'neg'}>", rng)
        if MIN_WORDS <= len(words) <= MAX_WORDS:
            return Review(" ".join(words), positive)


def halves(text: str) -> tuple[str, str]:
    """Return the first half of the words (the prompt, as in the paper) and the rest."""
    words = text.split()
    middle = len(words) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def vocabulary() -> list[str]:
    """Return every word and punctuation mark of the language, sorted."""
    return sorted(TABLE.words)


def tokens(text: str) -> list[str]:
    """Words and punctuation marks; the spacing around punctuation does not matter."""
    return _TOKEN.findall(text)


def split_sentences(text: str) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return the complete sentences of a text, as words with the full stop, and what follows the last full stop (maybe
    nothing).
    """
    sentences: list[tuple[str, ...]] = []
    current: list[str] = []
    for word in tokens(text):
        current.append(word)
        if word == ".":
            sentences.append(tuple(current))
            current = []
    return sentences, tuple(current)


def parse(text: str) -> Parse | None:
    """Read a whole review; None where the grammar does not derive it. The length limits of `review` are not part of the
    grammar.
    """
    sentences, rest = split_sentences(text)
    if rest or not 2 <= len(sentences) <= 4:
        return None
    words = [word for sentence in sentences for word in sentence]
    for name, positive in (("pos", True), ("neg", False)):
        if TABLE.accepts(f"REVIEW<{name}>", words):
            polarities = (_polarity(sentence) for sentence in sentences)
            return Parse(positive, tuple(polarity for polarity in polarities if polarity is not None))
    return None


def is_derivable(sentence: str) -> bool:
    """Return whether this is one complete sentence of the grammar, its full stop included."""
    return _polarity(tuple(tokens(sentence))) is not None


def label(text: str) -> float | None:
    """Return the true sentiment of a review, or of part of one: 1.0 or 0.0, that of its last derivable sentence with a
    polarity.

    Sentences that are not derivable, and a last sentence that is not finished, do not count. None where nothing is
    left.
    """
    for sentence in reversed(split_sentences(text)[0]):
        polarity = _polarity(sentence)
        if polarity:
            return 1.0 if polarity > 0 else 0.0
    return None


def derivable_share(text: str, completion: str) -> float:
    """Share of derivable ones among the sentences of a text that end inside the completion, its last part; 0 where none
    ends there.

    The first of them may begin before it, in the prompt. An unfinished last sentence is left out.
    """
    finished = completion.count(".")
    if not finished:
        return 0.0
    sentences = split_sentences(text)[0][-finished:]
    return sum(_polarity(sentence) is not None for sentence in sentences) / finished


def grammar_metric(
    prompts: Sequence[str],
    completions: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    join: Join = None,
    **columns: Any,
) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable` is the share of derivable sentences (see `derivable_share`); `gold_sentiment` is the true label of
    prompt and completion together (see `label`), 0.5 where the text has none.

    Raises:
        DataError: see `whole_texts`.
    """
    read = whole_texts("imdb_grammar", prompts, completions, texts, join)
    golds = [label(text) for text in read]
    return {
        "derivable": [derivable_share(*row) for row in zip(read, completions, strict=True)],
        "gold_sentiment": [0.5 if gold is None else gold for gold in golds],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]


@lru_cache(maxsize=1 << 15)  # sampled texts repeat sentences
def _polarity(sentence: tuple[str, ...]) -> int | None:
    """1, -1 or 0 for a derivable sentence, None for any other."""
    return next((value for symbol, value in _POLARITY.items() if TABLE.accepts(symbol, sentence)), None)
