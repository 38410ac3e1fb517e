"""Writes a sentence in English and in German: a synchronous grammar. What a clause means is chosen once, and every
legal order of its German words is written.

German puts the finite verb second, whatever stands in front of it, and last in a subordinate clause; separable
prefixes, participles and infinitives stand at the end; `nicht` stands behind objects and adverbials and before what
belongs to the verb; an indefinite object is negated by `kein` and stands behind the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random

from rl4lms.tasks.dataset import Example
from rl4lms.tasks.mini import pick
from rl4lms.tasks.rules import RuleTable
from rl4lms.tasks.translation.reader import german_table
from rl4lms.tasks.translation.words import (
    BE,
    DEFINITE,
    HAVE,
    MODALS,
    NUMBERS,
    PRONOUNS,
    WAS,
    Lexicon,
    Noun,
    Time,
    Verb,
    article,
    ending,
    middles,
    modal,
    orders,
)

_VOWELS = "aeiou"
_ENGLISH = "the this these a an no am is are was were do does did not wants to in that because if , ."
_ANY = ("present", "past", "modal")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase; `adjective` in both languages, or empty."""

    determiner: str
    noun: Noun
    many: bool
    adjective: tuple[str, str] | tuple[()] = ()

    @property
    def english(self) -> str:
        """The phrase in English."""
        words = [*self.adjective[:1], self.noun.plural if self.many else self.noun.english]
        if self.determiner == "a":
            return " ".join(words if self.many else ["an" if words[0][0] in _VOWELS else "a", *words])
        return " ".join(["these" if self.many and self.determiner == "this" else self.determiner, *words])

    def german(self, case: str, negated: bool = False) -> str:
        """Return the phrase in German; `negated` makes `kein` of an indefinite article."""
        determiner = "no" if negated else self.determiner
        gender = self.noun.agrees(self.many)
        adjective = [self.adjective[1] + ending(determiner, case, gender)] if self.adjective else []
        return " ".join([article(determiner, case, gender), *adjective, self.noun.form(case, self.many)]).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """What a clause means.

    Attributes:
        subject: a phrase, or an English pronoun.
        verb: None for what somebody or something is: `predicate`, in both languages.
        tense: `present`, `past`, or an English modal.
        negation: "", `not`, or `no` before the object.
    """

    subject: Phrase | str
    verb: Verb | None
    tense: str
    negation: str = ""
    target: Phrase | None = None
    predicate: tuple[str, str] = ("", "")
    time: Time | None = None
    place: Phrase | None = None

    @property
    def person(self) -> str:
        """What the verb agrees with, of `PERSONS`."""
        if isinstance(self.subject, str):
            return PRONOUNS[self.subject][1]
        return "they" if self.subject.many else "he"


def english(clause: Clause, front: bool = False) -> str:
    """Return a clause in English; `front`: the time stands in front, and else at the end."""
    subject = clause.subject if isinstance(clause.subject, str) else clause.subject.english
    words = [subject, *_english_verb(clause)]
    if clause.target is not None:
        plain = clause.target.english.removeprefix("a ").removeprefix("an ")
        words.append(f"no {plain}" if clause.negation == "no" else clause.target.english)
    if clause.place is not None:
        words.append(f"in {clause.place.english}")
    if clause.time is not None:
        words = [clause.time.english, ",", *words] if front else [*words, clause.time.english]
    return " ".join(words)


def _english_verb(clause: Clause) -> list[str]:
    past, single, no = clause.tense == "past", clause.person == "he", clause.negation == "not"
    if clause.verb is None:
        now = {"i": "am", "he": "is", "they": "are"}[clause.person]
        then = "were" if clause.person == "they" else "was"
        return [then if past else now, *["not"] * no, clause.predicate[0]]
    base, third, preterite = clause.verb.english
    if clause.tense == "want":
        return (["does" if single else "do", "not", "want"] if no else ["wants" if single else "want"]) + ["to", base]
    if clause.tense not in ("present", "past"):
        return [clause.tense, *["not"] * no, base]
    if no:
        return ["did" if past else "does" if single else "do", "not", base]
    return [preterite if past else third if single else base]


def _parts(clause: Clause) -> tuple[dict[str, str], list[str], bool]:
    """Return German words by slot, the slots that orders are made of, and whether the object is definite."""
    words = {"S": PRONOUNS[clause.subject][0] if isinstance(clause.subject, str) else clause.subject.german("nom")}
    slots = []
    definite = True
    verb, target = clause.verb, clause.target
    if verb is not None and target is not None:
        definite = target.determiner in DEFINITE
        indefinite_no = bool(clause.negation) and not definite
        words["P" if verb.preposition else "O"] = (
            f"{verb.preposition} {target.german(verb.case, indefinite_no)}".strip()
        )
        slots += [] if verb.preposition else ["O"]
    if clause.time is not None:
        words["T"] = clause.time.german
        slots.append("T")
    if clause.place is not None:
        words["L"] = f"in {clause.place.german('dat')}".replace("in dem ", "im ")
        slots.append("L")
    return words, slots, definite


def _verbal(clause: Clause) -> tuple[str, str, str]:
    """Return the finite verb and the end of a main clause, and the end of a subordinate one."""
    person = clause.person
    if clause.verb is None:
        finite = (WAS if clause.tense == "past" else BE)[person]
        return finite, clause.predicate[1], f"{clause.predicate[1]} {finite}"
    verb = clause.verb
    if clause.tense == "present":
        return verb.forms[person], verb.prefix, verb.prefix + verb.forms[person]
    if clause.tense == "past":
        finite, end = (HAVE if verb.auxiliary == "haben" else BE)[person], verb.participle
    else:
        finite, end = modal(clause.tense, person), verb.infinitive
    return finite, end, f"{end} {finite}"


def _before_end(clause: Clause, words: dict[str, str]) -> list[str]:
    kein = clause.target is not None and clause.target.determiner not in DEFINITE
    return [*(["nicht"] if clause.negation and not kein else []), *([words["P"]] if "P" in words else [])]


def main_clauses(clause: Clause, front: bool = False) -> list[str]:
    """Return a clause in German with the verb second, in all legal orders; first the one that begins as in English.

    Args:
        clause: what is said.
        front: the time stands in front in English.
    """
    words, slots, definite = _parts(clause)
    finite, end, _ = _verbal(clause)
    found = sorted(orders(slots, definite), key=lambda order: order[0] != ("T" if front else "S"))
    return [
        _join(words[first], finite, *(words[slot] for slot in middle), *_before_end(clause, words), end)
        for first, middle in found
    ]


def inverted(clause: Clause) -> list[str]:
    """Return a clause in German that follows a subordinate one: its verb comes first."""
    words, slots, definite = _parts(clause)
    finite, end, _ = _verbal(clause)
    found = middles(slots, definite)
    return [
        _join(finite, words["S"], *(words[slot] for slot in middle), *_before_end(clause, words), end)
        for middle in found
    ]


def subordinate(clause: Clause) -> list[str]:
    """Return a clause in German with the verb at the end."""
    words, slots, definite = _parts(clause)
    end = _verbal(clause)[2]
    return [
        _join(words["S"], *(words[slot] for slot in middle), *_before_end(clause, words), end)
        for middle in middles(slots, definite)
    ]


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


class World:
    """The sentences of a lexicon.

    Args:
        name: of the task.
        lexicon: its words.
    """

    def __init__(self, name: str, lexicon: Lexicon) -> None:
        self.name = name
        self.lexicon = lexicon
        self._kinds = {noun: kind for kind, nouns in lexicon.nouns.items() for noun in nouns}

    @cached_property
    def table(self) -> RuleTable:
        """The rules that read German."""
        return german_table(self.lexicon)

    def example(self, seed: int, index: int) -> Example:
        """Return the row with this index in the world of this seed: an English sentence, up to two translations, and
        the column `translations`, all that the grammar allows.
        """
        rng = Random(f"{self.name} mini {seed} {index}")  # a string seed is hashed by SHA-512: the same everywhere
        source, first, others = self._sentence(rng)
        references = [first, *([pick(others, rng)] if others else [])]
        return Example(
            document=source,
            prompt=source,
            references=tuple(references),
            meta={"translations": (first, *others)},
        )

    def vocabulary(self) -> list[str]:
        """Return every word of both languages, sorted."""
        words = self.lexicon
        phrases = [text for nouns in words.nouns.values() for noun in nouns for text in (noun.english, noun.plural)]
        phrases += [text for verb in (*words.verbs, *words.saying) for text in verb.english]
        phrases += [one for pairs in words.adjectives.values() for one, _ in pairs]
        phrases += [time.english for time in words.times]
        phrases += [*words.pronouns, *words.own, *NUMBERS, *MODALS, _ENGLISH]
        return sorted(self.table.words | {word for text in phrases for word in text.split()})

    def _sentence(self, rng: Random) -> tuple[str, str, list[str]]:
        """Return an English sentence, its German, and the other German ones that are legal."""
        kind = rng.random()
        if kind < 0.55:
            clause = self._clause(rng, _ANY, long=True)
            front = clause.time is not None and rng.random() < 0.5
            source, german = english(clause, front), main_clauses(clause, front)
        elif kind < 0.7:
            source, german = self._saying(rng)
        elif kind < 0.85:
            reason, fact = (self._clause(rng, _ANY) for _ in range(2))
            source = f"{english(fact)} because {english(reason)}"
            german = [f"{a} , weil {b}" for a, b in product(main_clauses(fact), subordinate(reason))]
        else:
            condition, fact = (self._clause(rng, ("present", "modal")) for _ in range(2))
            before = [f"wenn {b} , {a}" for a, b in product(inverted(fact), subordinate(condition))]
            after = [f"{a} , wenn {b}" for a, b in product(main_clauses(fact), subordinate(condition))]
            if rng.random() < 0.6:
                source, german = f"if {english(condition)} , {english(fact)}", before + after
            else:
                source, german = f"{english(fact)} if {english(condition)}", after + before
        texts = [f"{text} ." for text in dict.fromkeys(german)]
        return f"{source} .", texts[0], texts[1:]

    def _saying(self, rng: Random) -> tuple[str, list[str]]:
        """Return a sentence about what somebody says, in English and German."""
        said, verb = self._clause(rng, _ANY), pick(self.lexicon.saying, rng)
        who = self._subject(("who",), rng)
        frame = Clause(subject=who, verb=verb, tense=pick(("present", "past"), rng))
        (opening,) = main_clauses(frame)
        return f"{english(frame)} that {english(said)}", [f"{opening} , dass {text}" for text in subordinate(said)]

    def _clause(self, rng: Random, tenses: Sequence[str], long: bool = False) -> Clause:
        """Return a clause; only a long one has both a time and a place."""
        kind = pick(tenses, rng)
        negated = rng.random() < 0.25
        if rng.random() < 0.12:
            return self._being(rng, kind, negated)
        verb = pick(self.lexicon.verbs, rng)
        subject = self._subject(verb.subjects, rng)
        modals = [name for name in MODALS if self._goes(name, verb, negated)]
        tense = pick(modals, rng) if kind == "modal" else kind
        target = self._target(verb, subject, negated, rng) if verb.case else None
        indefinite = target is not None and target.determiner not in DEFINITE
        negation = "" if not negated else "no" if indefinite and rng.random() < 0.5 else "not"
        time = self._time(kind, negated, rng) if rng.random() < (0.6 if long else 0.35) else None
        place = None
        if verb.somewhere and not negated and (long or time is None) and rng.random() < 0.5:
            noun = pick(self.lexicon.nouns["place"], rng)
            place = Phrase(pick(("the", "the", "this", "a"), rng), noun, False, self._adjective(noun, rng))
        return Clause(subject=subject, verb=verb, tense=tense, negation=negation, target=target, time=time, place=place)

    @staticmethod
    def _goes(name: str, verb: Verb, negated: bool) -> bool:
        """Return whether a modal goes with a verb: things want nothing, and `must not` is another modal in German."""
        return not (negated and name == "must") and (name != "want" or bool({"who", "group"} & set(verb.subjects)))

    def _being(self, rng: Random, kind: str, negated: bool) -> Clause:
        """Return a clause about what somebody or something is or was."""
        tense = "past" if kind == "past" else "present"
        subject = self._subject(tuple(self.lexicon.adjectives), rng, definite=True)
        predicate = pick(self.lexicon.adjectives[self._kind(subject)], rng)
        if isinstance(subject, Phrase):
            subject = Phrase(subject.determiner, subject.noun, subject.many)
        time = self._time(tense, negated, rng) if rng.random() < 0.3 else None
        negation = "not" if negated else ""
        return Clause(subject=subject, verb=None, tense=tense, negation=negation, predicate=predicate, time=time)

    def _kind(self, subject: Phrase | str) -> str:
        return "who" if isinstance(subject, str) else self._kinds[subject.noun]

    def _subject(self, kinds: Sequence[str], rng: Random, definite: bool = False) -> Phrase | str:
        if "who" in kinds and rng.random() < 0.3:
            return pick(self.lexicon.pronouns, rng)
        noun = pick(self.lexicon.nouns[pick(kinds, rng)], rng)
        determiner = "the" if rng.random() < 0.5 else pick([*self.lexicon.own, "this", *([] if definite else "a")], rng)
        return self._phrase(determiner, noun, rng)

    def _target(self, verb: Verb, subject: Phrase | str, negated: bool, rng: Random) -> Phrase:
        nouns = [noun for noun in self.lexicon.nouns[pick(verb.objects, rng)]]
        if isinstance(subject, Phrase):
            nouns = [noun for noun in nouns if noun != subject.noun]
        options = ["the", "the", "this", *self.lexicon.own]
        if not (negated and verb.preposition):
            options += ["a", "a"]
        if not negated:
            options += NUMBERS
        return self._phrase(pick(options, rng), pick(nouns, rng), rng)

    def _phrase(self, determiner: str, noun: Noun, rng: Random) -> Phrase:
        many = determiner in NUMBERS or rng.random() < 0.35
        return Phrase(determiner, noun, many, self._adjective(noun, rng))

    def _adjective(self, noun: Noun, rng: Random) -> tuple[str, str] | tuple[()]:
        return pick(self.lexicon.adjectives[self._kinds[noun]], rng) if rng.random() < 0.35 else ()

    def _time(self, kind: str, negated: bool, rng: Random) -> Time:
        return pick([t for t in self.lexicon.times if kind in t.tenses and not (negated and t.repeated)], rng)
