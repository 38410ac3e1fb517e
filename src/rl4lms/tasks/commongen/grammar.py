"""Writes and reads the mini edition: a scene gives concepts and several sentences, and a sentence is read by the same
rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.commongen.table import LEMMAS, SCENES, TABLE, forms, plural
from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import pick

_REFERENCES = 4
_TOKEN = re.compile(r"\w+|[^\w\s]")


def example(seed: int, index: int) -> Example:
    """Return the row with this index in the world of this seed: three to five concepts in alphabetical order, and up to
    four sentences that use all of them.
    """
    rng = Random(f"commongen mini {seed} {index}")  # a string seed is hashed by SHA-512: the same on every platform
    kind = pick(list(SCENES), rng)
    who, verb, thing, place, tool = (pick(column, rng) for column in SCENES[kind])
    preposition, _, place = place.partition(":")
    given = {f"WHO<{kind}><sg>": who, f"WHO<{kind}><pl>": plural(who), f"TOOL<{kind}>": tool}
    given |= {f"THING<{kind}><sg>": thing, f"THING<{kind}><pl>": plural(thing)}
    given |= {f"VERB<{kind}><{form}>": word for form, word in forms(verb).items()}
    given |= {f"LOC<{kind}>": f"{preposition} the {place}"}
    shape, concepts = pick(
        [
            ("PLAIN", (who, verb, thing)),
            ("THERE", (who, verb, thing, place)),
            ("USING", (who, verb, thing, tool)),
            ("FULL", (who, verb, thing, place, tool)),
        ],
        rng,
    )
    texts = (" ".join([*TABLE.write(f"{shape}<{kind}>", rng, given), "."]) for _ in range(_REFERENCES))
    concepts = tuple(sorted(concepts))
    return Example(
        document=" ".join(concepts),
        prompt=" ".join(concepts),
        references=tuple(dict.fromkeys(texts)),
        meta={"concepts": concepts},
    )


def vocabulary() -> list[str]:
    """Return every word of the language, sorted."""
    lemmas = {word.rpartition(":")[2] for columns in SCENES.values() for column in columns for word in column}
    return sorted(TABLE.words | lemmas)


def derivable(text: str) -> bool:
    """Return whether a text is one sentence of the grammar, its full stop included."""
    return TABLE.accepts("SENTENCE", _TOKEN.findall(text))


def solved(text: str, concepts: Sequence[str]) -> bool:
    """Return whether a text is a sentence of the grammar that uses all the concepts."""
    used = {lemma for word in _TOKEN.findall(text) for lemma in LEMMAS.get(word, ())}
    return derivable(text) and used >= set(concepts)


def grammar_metric(
    completions: Sequence[str], concepts: Sequence[Sequence[str]] | None = None, **columns: Any
) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable`: 1.0 where a completion is a sentence of the grammar, else 0.0. `solved`: 1.0 where it is one that uses
    all concepts of its row.

    Raises:
        DataError: there is no column of concepts.
    """
    if concepts is None:
        raise DataError("commongen_grammar needs the data column 'concepts'; it measures the mini edition of commongen")
    return {
        "derivable": [float(derivable(text)) for text in completions],
        "solved": [float(solved(*row)) for row in zip(completions, concepts, strict=True)],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
