"""What the mini edition's models are trained on. Every split has its own range of review indices, so none shares a
review.

The base model learns from mixed text, part of it broken, so that training has room above it. The judge reads clean text
of its own split. The classifiers read whole reviews and single sentences, part of them broken: they will score what a
model wrote.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from rl4lms.tasks.imdb import grammar
from rl4lms.tasks.imdb.table import TABLE
from rl4lms.tasks.mini import pick

RANGE = 100_000
SPLITS = {
    name: range(number * RANGE, (number + 1) * RANGE)
    for number, name in enumerate(
        ("base", "judge", "sentiment", "evaluator", "train", "validation", "development", "test")
    )
}

_NUMBERED = (
    "BE",
    "DO",
    "SHOW",
    "THIS",
    "MOVIE",
    "MOMENT",
    "PERSON",
    "FOLLOWS",
    "RETURN",
    "SEARCH",
    "FIND",
    "MEET",
    "WANT",
)
_OTHER_NUMBER = {
    word: other
    for symbol in _NUMBERED
    for one, many in zip(TABLE.lexicon(f"{symbol}<sg>"), TABLE.lexicon(f"{symbol}<pl>"), strict=True)
    for word, other in ((one, many), (many, one))
}
# Dropping one of these would change the sentiment and with it the label.
_KEPT = (
    {
        "not",
        "never",
        "hardly",
        "no",
        "lacked",
        "without",
        "far",
        "from",
        "anything",
        "but",
        "although",
        "despite",
        "even",
        "though",
    }
    | {
        word
        for symbol in ("ADJ", "QUALITY", "MOVED", "MOVE", "LIKED", "LIKE<sg>", "LIKE<pl>", "PRIZE")
        for polarity in ("pos", "neg")
        for word in TABLE.lexicon(f"{symbol}<{polarity}>")
    }
    | {"failed", "managed", "miss", "recommend", "gladly", "happily"}
)


def indices(split: str, count: int) -> range:
    """Return the first `count` review indices of a split.

    Raises:
        ValueError: the split has fewer.
    """
    if not 0 <= count <= RANGE:
        raise ValueError(f"a split of the mini edition has {RANGE} reviews, {count} were asked for")
    return SPLITS[split][:count]


def pairs(*, split: str, count: int, seed: int = 0, broken: float = 0.0, whole: bool = False) -> list[tuple[str, str]]:
    """(first half, second half) of `count` reviews of both sentiments; a share `broken` of them has errors in it.

    With `whole`, the first part is one word only: a decoder then learns from every other word, in half the steps.
    """
    texts = [text for text, _ in _texts(split, count, seed, broken)]
    return (
        [(text.partition(" ")[0], text.partition(" ")[2]) for text in texts]
        if whole
        else [grammar.halves(text) for text in texts]
    )


def labelled(*, split: str, count: int, seed: int = 0, broken: float = 0.0) -> list[tuple[str, str]]:
    """(text, `positive` or `negative`): whole reviews and single sentences in turn.

    From whole reviews alone a small classifier hardly learns.
    """
    rows = []
    for row, (text, positive) in enumerate(_texts(split, count, seed, broken)):
        if row % 2:
            text, positive = _one_sentence(text, positive)
        rows.append((text, "positive" if positive else "negative"))
    return rows


def break_text(text: str, rng: Random) -> str:
    """Return the text with an error in about two thirds of its sentences: words shuffled or dropped, or an agreement
    error.

    Words that carry the sentiment stay.
    """
    sentences, rest = grammar.split_sentences(text)
    words: list[str] = []
    for sentence in sentences:
        body = list(sentence[:-1])
        if rng.random() < 0.67:
            pick((_shuffle, _drop, _disagree), rng)(body, rng)
        words += [*body, sentence[-1]]
    return " ".join([*words, *rest])


def _texts(split: str, count: int, seed: int, broken: float) -> list[tuple[str, bool]]:
    rows = []
    for index in indices(split, count):
        review = grammar.review(seed, index)
        rng = Random(f"imdb broken {seed} {index}")
        rows.append((break_text(review.text, rng) if rng.random() < broken else review.text, review.positive))
    return rows


def _one_sentence(text: str, positive: bool) -> tuple[str, bool]:
    """Return the last sentence that has a polarity, alone; the whole text where none is derivable."""
    for sentence in reversed(grammar.split_sentences(text)[0]):
        single = " ".join(sentence)
        gold = grammar.label(single)
        if gold is not None:
            return single, gold > 0.5
    return text, positive


def _shuffle(words: list[str], rng: Random) -> None:
    """Four neighbours of one clause in another order."""
    commas = [-1, *(position for position, word in enumerate(words) if word == ","), len(words)]
    clauses = [(start + 1, end) for start, end in pairwise(commas) if end - start > 3]
    if not clauses:
        return
    start, end = pick(clauses, rng)
    first = start + int(rng.random() * max(1, end - start - 3))
    last = min(first + 4, end)
    window = words[first:last]
    for position in range(len(window) - 1, 0, -1):
        other = int(rng.random() * (position + 1))
        window[position], window[other] = window[other], window[position]
    words[first:last] = window


def _drop(words: list[str], rng: Random) -> None:
    """One or two words less."""
    for _ in range(1 + (rng.random() < 0.5)):
        droppable = [position for position, word in enumerate(words) if word not in _KEPT and word != ","]
        if droppable:
            del words[pick(droppable, rng)]


def _disagree(words: list[str], rng: Random) -> None:
    """One word in the other grammatical number."""
    found = [position for position, word in enumerate(words) if word in _OTHER_NUMBER]
    if found:
        position = pick(found, rng)
        words[position] = _OTHER_NUMBER[words[position]]
    else:
        _drop(words, rng)
