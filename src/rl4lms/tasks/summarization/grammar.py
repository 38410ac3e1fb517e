"""Writes and reads the mini edition of `cnn_daily_mail`: an article about an event, with quotes and what happened
elsewhere, and two sentences that say its main facts in other words. These are read by the same rules, which tell what
they say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import pick
from rl4lms.tasks.summarization.table import KINDS, TABLE, slots


def example(seed: int, index: int) -> Example:
    """Return the row with this index in the world of this seed: an article of four to six sentences, and highlights."""
    rng = Random(f"cnn_daily_mail mini {seed} {index}")  # a string seed is hashed by SHA-512: the same everywhere
    kind = pick(KINDS, rng)
    given = {symbol: _text(symbol, rng) for symbol in slots(kind)}
    other = {f"NO_{name}": _text(name, rng) for name in ("CITY", "DAY", "COUNT")}
    while set(other.values()) & set(given.values()):  # what is said of elsewhere is wrong of the event
        other = {f"NO_{name}": _text(name, rng) for name in ("CITY", "DAY", "COUNT")}
    rest = [f"DETAIL<{kind}>", f"CAUSE<{kind}>", f"BACK<{kind}>"]
    rest += [name for name in ("QUOTE", "ASIDE") if rng.random() < 0.7]
    order = [rest.pop(int(rng.random() * len(rest))) for _ in range(len(rest))]
    article = " ".join(_text(symbol, rng, given | other) for symbol in (f"LEAD<{kind}>", *order))
    text = " ".join(_text(f"{sentence}<{kind}>", rng, given) for sentence in ("FIRST", "SECOND"))
    facts = {name: given[symbol] for symbol, name in slots(kind).items()}
    return Example(
        document=article,
        prompt=article,
        references=(text,),
        meta={"news": kind, "facts": facts},
    )


def _text(symbol: str, rng: Random, given: Mapping[str, str] | None = None) -> str:
    return " ".join(TABLE.write(symbol, rng, given))


def vocabulary() -> list[str]:
    """Return every word of articles and highlights, sorted."""
    return sorted(TABLE.words)


def derivable(text: str) -> bool:
    """Return whether a text is highlights of any news: the first sentence of one kind, the second, or both."""
    return any(TABLE.accepts(f"HIGHLIGHTS<{kind}>", _words(text)) for kind in KINDS)


def covered(text: str, news: str, facts: Mapping[str, str]) -> float:
    """Return the share of the main facts that highlights say right, 0 where a text is none of this kind of news.

    Args:
        text: what is read.
        news: its kind.
        facts: what is so: `city`, `day`, `count`, `what`, `why`.
    """
    right = (len(said & facts.items()) for said in _said(text, news))
    return max(right, default=0) / len(facts)


def faithful(text: str, news: str, facts: Mapping[str, str]) -> bool:
    """Return whether a text is highlights of this kind of news that say nothing but what is so. Arguments as for
    `covered`.
    """
    return any(said <= facts.items() for said in _said(text, news))


def _said(text: str, news: str) -> list[set[tuple[str, str]]]:
    names = slots(news)
    readings = TABLE.readings(f"HIGHLIGHTS<{news}>", _words(text), names)
    return [{(names[symbol], value) for symbol, value in reading} for reading in readings]


def _words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


def grammar_metric(
    completions: Sequence[str],
    news: Sequence[str] | None = None,
    facts: Sequence[Mapping[str, str]] | None = None,
    **columns: Any,
) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable`: 1.0 where a completion is highlights of some news, else 0.0. `covered`: the share of the main facts
    that it says. `faithful`: 1.0 where it is of this news and says nothing but what is so.

    Raises:
        DataError: there are no columns of kinds and facts.
    """
    if news is None or facts is None:
        raise DataError(
            "cnn_daily_mail_grammar needs the data columns 'news' and 'facts'; it measures the mini edition of "
            "cnn_daily_mail (task: cnn_daily_mail)"
        )
    rows = list(zip(completions, news, facts, strict=True))
    return {
        "derivable": [float(derivable(text)) for text in completions],
        "covered": [covered(*row) for row in rows],
        "faithful": [float(faithful(*row)) for row in rows],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
