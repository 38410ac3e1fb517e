"""Reads German: a rule table of what the words of a lexicon can be put together to, with agreement in gender, number,
case and person, verbs at their places, and the objects that a verb takes. What the words mean does not matter to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from rl4lms.tasks.rules import RuleTable
from rl4lms.tasks.translation.words import (
    BE,
    CASES,
    DEFINITE,
    GENDERS,
    HAVE,
    INDEFINITE,
    MODALS,
    PERSONS,
    PRONOUNS,
    TENSES,
    WAS,
    Lexicon,
    Verb,
    article,
    ending,
    middles,
    modal,
)

_SENTENCES = """
SENTENCE -> MAIN . @4 | SAYING , dass SUB . | MAIN , weil SUB . | MAIN , wenn SUB . | wenn SUB , INVERTED .
"""


def german_table(lexicon: Lexicon) -> RuleTable:
    """Return the rules of German sentences of these words."""
    rules = dict.fromkeys((*_phrases(lexicon), *_verbs(lexicon), *_clauses(lexicon), *_sayings(lexicon)))
    return RuleTable(_SENTENCES + "\n".join(rules), features={})


def _rule(symbol: str, alternatives: Iterable[str]) -> Iterator[str]:
    """Return a rule, or nothing where there are no alternatives."""
    found = sorted(set(alternatives))
    if found:
        yield f"{symbol} -> {' | '.join(found)}"


def _phrases(lexicon: Lexicon) -> Iterator[str]:
    """Noun phrases: `THE` definite, `A` indefinite, `NO` negated, each of a case and a gender; subjects; adverbials."""
    nouns = [noun for found in lexicon.nouns.values() for noun in found]
    adjectives = {german for found in lexicon.adjectives.values() for _, german in found}
    for mark in ("e", "en", "er", "es"):
        yield from _rule(f"ADJ<{mark}>", (adjective + mark for adjective in adjectives))
    yield from _rule("ADJ", adjectives)
    own = [name for name in DEFINITE if name in ("the", "this", *lexicon.own)]
    for case, gender in product(CASES, GENDERS):
        which = f"<{case}><{gender}>"
        fitting = [noun for noun in nouns if noun.agrees(gender == "p") == gender]
        yield from _rule(f"N{which}", (noun.form(case, gender == "p") for noun in fitting))
        for symbol, determiners in (("THE", own), ("A", INDEFINITE), ("NO", ["no"])):
            for determiner in determiners:
                if determiner in ("two", "three") and gender != "p":
                    continue
                first = f"{article(determiner, case, gender)} ".lstrip()
                adjective = f"ADJ<{ending(determiner, case, gender)}>"
                yield from _rule(symbol + which, (f"{first}N{which}", f"{first}{adjective} N{which}"))
    for case, symbol in product(CASES, ("THE", "A", "NO")):
        yield from _rule(f"{symbol}<{case}>", (f"{symbol}<{case}><{gender}>" for gender in GENDERS))
    for person in _persons(lexicon):
        yield from _rule(
            f"S<{person}>", (PRONOUNS[word][0] for word in lexicon.pronouns if PRONOUNS[word][1] == person)
        )
    for symbol in ("THE", "A"):
        yield from _rule("S<he>", (f"{symbol}<nom><{gender}>" for gender in "mfn"))
        yield from _rule("S<they>", (f"{symbol}<nom><p>",))
    yield from _rule("L", ("im N<dat><m>", "im ADJ<en> N<dat><m>", "im N<dat><n>", "im ADJ<en> N<dat><n>"))
    for determiner, gender in product(("the", "this", "a"), "mfn"):
        words = article(determiner, "dat", gender)
        if words != "dem":  # `in dem` is `im`
            yield from _rule("L", (f"in {words} N<dat><{gender}>", f"in {words} ADJ<en> N<dat><{gender}>"))
    for tense in TENSES:
        yield from _rule(f"T<{tense}>", (time.german for time in lexicon.times if tense in time.tenses))
        once = (time.german for time in lexicon.times if tense in time.tenses and not time.repeated)
        yield from _rule(f"ONCE<{tense}>", once)


def _persons(lexicon: Lexicon) -> tuple[str, ...]:
    """Return the persons that subjects have: news are about others."""
    return tuple(person for person in PERSONS if person != "i" or "i" in lexicon.pronouns)


def _frame(verb: Verb) -> str:
    """What verbs of the same syntax share: object, and whether there may be a place."""
    return f"<{verb.preposition}.{verb.case}.{'in' * verb.somewhere}>"


def _verbs(lexicon: Lexicon) -> Iterator[str]:
    """Verbs by frame: finite ones, the same joined with prefixes, participles, infinitives; auxiliaries, modals."""
    for verb in lexicon.verbs:
        frame = _frame(verb)
        for person in _persons(lexicon):
            yield from _rule(f"V<{person}>{frame}<{verb.prefix}>", (verb.forms[person],))
            yield from _rule(f"JOINED<{person}>{frame}", (verb.prefix + verb.forms[person],))
        yield from _rule(f"DONE{frame}<{verb.auxiliary}>", (verb.participle,))
        yield from _rule(f"INF{frame}", (verb.infinitive,))
    for person in _persons(lexicon):
        yield from _rule(f"AUX<{person}><haben>", (HAVE[person],))
        yield from _rule(f"AUX<{person}><sein>", (BE[person],))
        yield from _rule(f"MODAL<{person}>", (modal(english, person) for english in MODALS))


def _middle(verb: Verb | None, tense: str, without: str) -> set[str]:
    """What may stand between the finite verb (and its subject) and the end of the clause, "" included.

    Args:
        verb: None of `sein`.
        tense: of the adverbials.
        without: the slot that stands in front.
    """
    found = set()
    objects = ["THE", "A", "NO"] if verb is not None and verb.case else [""]
    places = ["", "L"] if verb is not None and verb.somewhere and without != "L" else [""]
    times = ["", "T"] if without != "T" else [""]
    for kind, time, place, negated in product(objects, times, places, (False, True)):
        after = bool(verb and verb.preposition)
        # an indefinite object is negated by its determiner, and the object of a preposition here not at all
        if (negated and (kind in ("A", "NO") or place or without == "L")) or (kind == "NO" and (after or place)):
            continue
        symbols = {"T": f"{'ONCE' if negated or kind == 'NO' else 'T'}<{tense}>", "L": "L"}
        slots = [slot for slot in (time, place) if slot]
        end = ["nicht"] if negated else []
        if kind and verb is not None:
            phrase = f"{kind}<{verb.case}>"
            if after:
                end.append(f"{verb.preposition} {phrase}")
            else:
                symbols["O"] = phrase
                slots.append("O")
        for order in middles(slots, definite=kind == "THE"):
            found.add(" ".join([*(symbols[slot] for slot in order), *end]))
    return found


def _clauses(lexicon: Lexicon) -> Iterator[str]:
    """Main clauses, those that follow a subordinate one, and subordinate ones: with a finite verb, with `haben` or
    `sein` and a participle, with a modal and an infinitive, or with `sein` and an adjective.
    """
    frames = {_frame(verb): verb for verb in lexicon.verbs}
    for person in _persons(lexicon):
        for frame, verb in frames.items():
            prefixes = {other.prefix for other in lexicon.verbs if _frame(other) == frame}
            for prefix in prefixes:
                joined = f"JOINED<{person}>{frame}"
                yield from _orders(verb, "present", person, f"V<{person}>{frame}<{prefix}>", prefix, joined)
            auxiliaries = {other.auxiliary for other in lexicon.verbs if _frame(other) == frame}
            for auxiliary in auxiliaries:
                finite, end = f"AUX<{person}><{auxiliary}>", f"DONE{frame}<{auxiliary}>"
                yield from _orders(verb, "past", person, finite, end, f"{end} {finite}")
            finite, end = f"MODAL<{person}>", f"INF{frame}"
            yield from _orders(verb, "modal", person, finite, end, f"{end} {finite}")
        for tense, forms in (("present", BE), ("past", WAS)):
            yield from _orders(None, tense, person, forms[person], "ADJ", f"ADJ {forms[person]}")


def _orders(verb: Verb | None, tense: str, person: str, finite: str, end: str, last: str) -> Iterator[str]:
    """Return the rules of the three kinds of clauses.

    Args:
        verb: one of those that are meant.
        tense, person: of the clause.
        finite, end: the verb and what stands at the end of a main clause.
        last: what stands at the end of a subordinate clause.
    """
    frame = _frame(verb) if verb is not None else "<sein>"
    subject = f"S<{person}>"
    fronts = ["", "T", *(["L"] if verb is not None and verb.somewhere else [])]
    for front in fronts:
        found = _middle(verb, tense, front)
        name = f"MIDDLE{frame}<{tense}>" + (f"<{front}>" if front else "")
        yield from _rule(name, found - {""})
        rests = ([""] if "" in found else []) + ([name] if found - {""} else [])
        for rest in rests:
            if front:
                first = "L" if front == "L" else f"T<{tense}>"
                yield from _rule("MAIN", (_join(first, finite, subject, rest, end),))
            else:
                yield from _rule("MAIN", (_join(subject, finite, rest, end),))
                yield from _rule("INVERTED", (_join(finite, subject, rest, end),))
                yield from _rule("SUB", (_join(subject, rest, last),))


def _sayings(lexicon: Lexicon) -> Iterator[str]:
    for verb, person in product(lexicon.saying, _persons(lexicon)):
        finite = (HAVE if verb.auxiliary == "haben" else BE)[person]
        yield from _rule("SAYING", (_join(f"S<{person}>", verb.forms[person], verb.prefix),))
        yield from _rule("SAYING", (f"S<{person}> {finite} {verb.participle}",))


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
