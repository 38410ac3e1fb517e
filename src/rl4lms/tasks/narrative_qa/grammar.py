"""Writes and reads the mini edition: a story in which people find things, go, and give them away, a question about it,
and its answer in two forms. An answer is read by the same rules, which tell what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import pick
from rl4lms.tasks.narrative_qa.table import PRONOUN, QUESTIONS, SLOTS, TABLE

_SEPARATOR = "\\n"  # a backslash and an n, as in the full edition

Facts = dict[str, str]
Event = tuple[str, Facts]


def example(seed: int, index: int) -> Example:
    """Return the row with this index in the world of this seed: a question and a story of five or six sentences; a
    short answer and a whole sentence, the one that is first by chance.
    """
    rng = Random(f"narrative_qa mini {seed} {index}")  # a string seed is hashed by SHA-512: the same on every platform
    events = _events(rng)
    kind, facts = pick(_questions(events), rng)
    story = " ".join(_text(name, rng, about) for name, about in events)
    question = _text(f"ASK<{kind}>", rng, facts)
    forms = [f"SHORT<{kind}>", f"LONG<{kind}>"]
    if rng.random() < 0.5:
        forms.reverse()
    return Example(
        document=story,
        prompt=f"{question} {_SEPARATOR} {story}",
        references=tuple(_text(form, rng, facts) for form in forms),
        meta={"question": kind, "facts": facts},
    )


def _text(symbol: str, rng: Random, given: Facts) -> str:
    return " ".join(TABLE.write(symbol, rng, given))


def _events(rng: Random) -> list[Event]:
    """Return what happens: one finds something and goes, in half of the stories gives it away, another goes; a third
    finds something else and waits or goes, at any time in between.
    """
    one, two, three = (_person(name) for name in _different("NAME", 3, rng))
    thing, other_thing = _different("THING", 2, rng)
    here, there, last, elsewhere, end = _different("PLACE", 5, rng)
    reasons = _different("REASON", 3, rng)
    events: list[Event] = [
        ("FIND", {**one, "THING": thing, "PLACE": here}),
        ("GO", {**one, "PLACE": there, "REASON": reasons[0]}),
    ]
    if rng.random() < 0.5:
        events.append(("GIVE", {**one, "OTHER": two["WHO"], "THING": thing}))
    events.append(("GO", {**two, "PLACE": last, "REASON": reasons[1]}))
    aside: list[Event] = [("FIND", {**three, "THING": other_thing, "PLACE": elsewhere})]
    if rng.random() < 0.5:
        aside.append(("GO", {**three, "PLACE": end, "REASON": reasons[2]}))
    else:
        aside.append(("WAIT", {**three, "PLACE": elsewhere}))
    place = 0
    for event in aside:
        place += int(rng.random() * (len(events) + 1 - place))
        events.insert(place, event)
        place += 1
    return events


def _person(name: str) -> Facts:
    return {"WHO": name, "HE": PRONOUN[name]}


def _different(symbol: str, count: int, rng: Random) -> list[str]:
    left = list(TABLE.lexicon(symbol))
    return [left.pop(int(rng.random() * len(left))) for _ in range(count)]


def _questions(events: Sequence[Event]) -> list[tuple[str, Facts]]:
    """Return every question that a story answers, with what its answers say."""
    asked: list[tuple[str, Facts]] = []
    holder: Facts = {}
    where: Facts = {}
    for name, facts in events:
        if name == "GIVE":
            asked += [("giver", facts), ("given", facts)]
            holder[facts["THING"]] = facts["OTHER"]
            where[facts["OTHER"]] = where[facts["WHO"]]
            continue
        where[facts["WHO"]] = facts["PLACE"]
        if name == "GO":
            asked.append(("why", facts))
        elif name == "FIND":
            holder[facts["THING"]] = facts["WHO"]
            asked += [("finder", facts), ("found", facts)]
    asked += [("person", {"WHO": person, "PLACE": place}) for person, place in where.items()]
    asked += [("has", {"WHO": person, "THING": thing}) for thing, person in holder.items()]
    asked += [("thing", {"THING": thing, "PLACE": where[person]}) for thing, person in holder.items()]
    return asked


def vocabulary() -> list[str]:
    """Return every word of stories, questions and answers, sorted."""
    return sorted(TABLE.words | {_SEPARATOR})


def derivable(text: str) -> bool:
    """Return whether a text is an answer to any question."""
    return any(TABLE.accepts(f"ANSWER<{kind}>", re.findall(r"\S+", text)) for kind in QUESTIONS)


def correct(text: str, question: str, facts: Mapping[str, str]) -> bool:
    """Return whether a text is an answer to a question, in one of its forms, and says nothing but what is so.

    Args:
        text: what is read.
        question: its kind.
        facts: what is so, by what it is.
    """
    said = TABLE.readings(f"ANSWER<{question}>", re.findall(r"\S+", text), SLOTS)
    return any(reading <= set(facts.items()) for reading in said)


def grammar_metric(
    completions: Sequence[str],
    question: Sequence[str] | None = None,
    facts: Sequence[Mapping[str, str]] | None = None,
    **columns: Any,
) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable`: 1.0 where a completion is an answer to some question, else 0.0. `correct`: 1.0 where it is one to the
    question of its row, and right.

    Raises:
        DataError: there are no columns of questions and facts.
    """
    if question is None or facts is None:
        raise DataError(
            "narrative_qa_grammar needs the data columns 'question' and 'facts'; it measures the mini edition of "
            "narrative_qa (task: narrative_qa)"
        )
    return {
        "derivable": [float(derivable(text)) for text in completions],
        "correct": [float(correct(*row)) for row in zip(completions, question, facts, strict=True)],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
