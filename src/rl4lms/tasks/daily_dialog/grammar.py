"""Writes and reads the mini edition: three to five turns of a conversation, and the next one, whose intent follows from
them. A turn is read by the rules that wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from rl4lms.errors import DataError
from rl4lms.tasks.daily_dialog.real import INTENTS
from rl4lms.tasks.daily_dialog.table import DAYS, EVENTS, PLACES, TABLE, TASKS, TROUBLES
from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import break_text, pick, rows

TURN_END = "<EOU>"
_REFERENCES = 3
_TOKEN = re.compile(r"\w+|[^\w\s]")

Given = dict[str, str]
#: Symbols of three to five turns, and that of the answer.
Plan = tuple[list[str], str]


def example(seed: int, index: int) -> Example:
    """Return the row with this index in the world of this seed: three to five turns and up to three answers with one
    intent, in the columns `intent` and `intent_name` of the full edition.
    """
    rng = Random(f"daily_dialog mini {seed} {index}")  # a string seed is hashed by SHA-512: the same on every platform
    trouble, remedy, other = pick(TROUBLES, rng)
    given = {"EVENT": pick(EVENTS, rng), "DAY": pick(DAYS, rng), "PLACE": pick(PLACES, rng)}
    given |= {"TASK": pick(TASKS, rng), "TROUBLE": trouble}
    symbols, answer = pick(_PLANS, rng)(rng)
    turns = [_say(symbol, rng, given | {"REMEDY": remedy}) for symbol in symbols]
    left = other if "ADVICE" in symbols else remedy
    answers = dict.fromkeys(_say(answer, rng, given | {"REMEDY": left}) for _ in range(_REFERENCES))
    intent = intents(next(iter(answers)))[0]
    return Example(
        document=" ".join(turns),
        prompt=" ".join(f"{turn} {TURN_END}" for turn in turns),
        references=tuple(answers),
        meta={"intent": INTENTS.index(intent), "intent_name": intent},
        turns=tuple(turns),
    )


def _say(symbol: str, rng: Random, given: Given) -> str:
    return " ".join(TABLE.write(symbol, rng, given))


def _asked_again(rng: Random) -> Plan:
    """What was told is asked for again."""
    asked = pick(("DAY", "PLACE"), rng)
    told = pick((["GREETING", "NEWS_BOTH"], ["NEWS_BOTH", _request(rng), "ACCEPT"]), rng)
    return [*told, f"ASK_{asked}"], f"ANSWER_{asked}"


def _favour(rng: Random) -> Plan:
    """Somebody who is free promises a favour, and somebody who is busy refuses."""
    free = rng.random() < 0.5
    before = pick(([], ["MEET"], ["GREETING", "FINE"]), rng)
    return [*before, "ASK_FREE", "FREE" if free else "BUSY", _request(rng)], "ACCEPT" if free else "REFUSE"


def _promise(rng: Random) -> Plan:
    """A promise is thanked for; where no day was told, it is asked for."""
    request = _request(rng)
    before = pick(([], ["MEET"], ["GREETING", "FINE"]), rng)
    return [*before, "HELP", request, "ACCEPT"], "THANKS" if request == "REQUEST_DAY" else "ASK_WHEN"


def _news(rng: Random) -> Plan:
    """Of news, what is still unknown is asked for; where nothing is, the answer is to come."""
    first, second = pick((("DAY", "PLACE"), ("PLACE", "DAY")), rng)
    before = pick((["GREETING"], []), rng)
    return pick(
        (
            (["GREETING", "WHATS_NEW", f"NEWS_{first}"], f"ASK_{second}"),
            ([*before, "NEWS_BARE", f"ASK_{first}", f"ANSWER_{first}"], f"ASK_{second}"),
            ([*before, f"NEWS_{first}", f"ASK_{second}", f"ANSWER_{second}"], "COMING"),
        ),
        rng,
    )


def _trouble(rng: Random) -> Plan:
    """Who has a trouble is advised; where one remedy did not help, the other one."""
    told = ["UNWELL", "MATTER", "TOLD"]
    plans = (told, ["GREETING", *told], ["MATTER", "TOLD", "ADVICE", "FAILED"], [*told, "ADVICE", "FAILED"])
    return pick(plans, rng), "ADVICE"


def _request(rng: Random) -> str:
    return pick(("REQUEST_BARE", "REQUEST_DAY"), rng)


_PLANS: Sequence[Callable[[Random], Plan]] = (_asked_again, _favour, _promise, _news, _trouble)


def vocabulary() -> list[str]:
    """Return every word of the language and the mark between turns, sorted."""
    return sorted({*TABLE.words, TURN_END})


def intents(text: str) -> list[str]:
    """Return the intents that a text may have as one turn: one, or none where no rule derives it."""
    words = _TOKEN.findall(text)
    return [intent for intent in INTENTS if TABLE.accepts(f"TURN<{intent}>", words)]


def labelled(*, part: str, count: int, seed: int = 0, broken: float = 0.0) -> list[tuple[str, str]]:
    """Return (last turn, mark, answer) and the intent of the answer, for classifiers.

    In half of the rows the answer is another conversation's: a classifier that only looks at what was asked learns
    nothing from those.

    Args:
        part, count, seed: which rows.
        broken: share of the answers that have an error, which leaves their intent as it is.
    """
    found = rows(__name__, part, count, seed)
    result = []
    for index, row in enumerate(found):
        rng = Random(f"daily_dialog labels {part} {seed} {index}")
        answered = row if rng.random() < 0.5 else pick(found, rng)
        text = pick(answered.references, rng)
        text = break_text(text, rng) if rng.random() < broken else text
        result.append((f"{row.turns[-1]} {TURN_END} {text}", answered.meta["intent_name"]))
    return result


def grammar_metric(
    completions: Sequence[str], intent: Sequence[int] | None = None, **columns: Any
) -> dict[str, list[float]]:
    """Return the gold measures of the mini edition.

    `derivable`: 1.0 where a completion is one turn of the grammar, else 0.0. `gold_intent`: 1.0 where it is one that
    has the wanted intent.

    Raises:
        DataError: there is no column of intents.
    """
    if intent is None:
        raise DataError(
            "daily_dialog_grammar needs the data column 'intent'; it measures the mini edition of daily_dialog"
        )
    found = [intents(text) for text in completions]
    return {
        "derivable": [float(bool(read)) for read in found],
        "gold_intent": [float(INTENTS[wanted] in read) for read, wanted in zip(found, intent, strict=True)],
    }


grammar_metric.gold = True  # type: ignore[attr-defined]  # refused as a reward
grammar_metric.higher_is_better = True  # type: ignore[attr-defined]
