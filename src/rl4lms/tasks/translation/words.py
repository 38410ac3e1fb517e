"""Words of English with their German ones, and the forms that German gives them: gender, number, case, person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

#: Cases; the gender of a plural is `p`.
CASES = ("nom", "acc", "dat")
GENDERS = ("m", "f", "n", "p")
#: Persons that verbs agree with: i; he, she and it; we and they.
PERSONS = ("i", "he", "they")
TENSES = ("present", "past", "modal")

# endings of m, f, n, p
_THE = {"nom": "der die das die", "acc": "den die das die", "dat": "dem der dem den"}
_THIS = {"nom": "er e es e", "acc": "en e es e", "dat": "em er em en"}
_MY = {"nom": "- e - e", "acc": "en e - e", "dat": "em er em en"}  # ein, kein, mein, unser
_WEAK = {"nom": "e e e en", "acc": "en e e en", "dat": "en en en en"}
_MIXED = {"nom": "er e es en", "acc": "en e es en", "dat": "en en en en"}
_STRONG_PLURAL = {"nom": "e", "acc": "e", "dat": "en"}
#: The stem of a determiner that is inflected like `ein`.
_STEMS = {"a": "ein", "no": "kein", "my": "mein", "our": "unser"}
#: Determiners by what they make of a noun phrase, which decides about word order and negation.
DEFINITE = ("the", "this", "my", "our")
INDEFINITE = ("a", "two", "three")
NUMBERS = {"two": "zwei", "three": "drei"}

PRONOUNS = {"i": ("ich", "i"), "we": ("wir", "they"), "he": ("er", "he"), "she": ("sie", "he"), "they": ("sie", "they")}
HAVE = {"i": "habe", "he": "hat", "they": "haben"}
BE = {"i": "bin", "he": "ist", "they": "sind"}
WAS = {"i": "war", "he": "war", "they": "waren"}
#: English modal: the German forms of i and he, and of they.
MODALS = {
    "can": ("kann", "können"),
    "must": ("muss", "müssen"),
    "should": ("sollte", "sollten"),
    "want": ("will", "wollen"),
}


def modal(english: str, person: str) -> str:
    """Return the German form of a modal verb."""
    return MODALS[english][person == "they"]


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun; `gender` is `m`, `f`, `n`, or `w` for a masculine one with -n or -en in all but the nominative."""

    english: str
    plural: str
    gender: str
    german: str
    german_plural: str

    def agrees(self, many: bool) -> str:
        """Return the gender that determiners and adjectives agree with, of `GENDERS`."""
        return "p" if many else "m" if self.gender == "w" else self.gender

    def form(self, case: str, many: bool) -> str:
        """Return the German form."""
        if many:
            return self.german_plural + "n" * (case == "dat" and self.german_plural[-1] not in "ns")
        return self.german_plural if self.gender == "w" and case != "nom" else self.german


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb.

    Attributes:
        english: base, third person, past.
        prefix: that stands at the end of a main clause, or "".
        forms: German present by person, without the prefix.
        participle: German.
        auxiliary: of the perfect, `haben` or `sein`.
        preposition, case: of the object; "" where there is none.
        subjects, objects: classes of nouns.
        somewhere: whether it goes with a place.
    """

    english: tuple[str, str, str]
    prefix: str
    forms: dict[str, str]
    participle: str
    auxiliary: str
    preposition: str = ""
    case: str = ""
    subjects: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    somewhere: bool = False

    @property
    def infinitive(self) -> str:
        """The German infinitive: of every verb here, the form of the plural."""
        return self.prefix + self.forms["they"]


@dataclass(frozen=True, slots=True)
class Time:
    """An adverbial of time; `repeated`: how often, which no negation goes with."""

    english: str
    german: str
    tenses: tuple[str, ...]
    repeated: bool


class Lexicon:
    """The words of a world, read from tables; an underscore stands for a space.

    Args:
        nouns, verbs, saying, adjectives, times: the tables, in the notation of `talks`.
        pronouns: those that are used, in English.
        own: possessive determiners that are used.
    """

    def __init__(
        self, nouns: str, verbs: str, saying: str, adjectives: str, times: str, *, pronouns: str, own: str
    ) -> None:
        self.nouns = {kind: tuple(Noun(*entry) for entry in entries) for kind, entries in _classes(nouns)}
        self.verbs = tuple(_verb(*(part.split() for part in line.split("|"))) for line in verbs.strip().splitlines())
        self.saying = tuple(_verb(*(part.split() for part in line.split("|"))) for line in saying.strip().splitlines())
        self.adjectives = {kind: tuple((one, two) for one, two in entries) for kind, entries in _classes(adjectives)}
        self.times = tuple(
            Time(english.rstrip("*"), german, tuple(tenses.split()), english.endswith("*"))
            for tenses, entries in _classes(times)
            for english, german in entries
        )
        self.pronouns = tuple(pronouns.split())
        self.own = tuple(own.split())


def orders(slots: Sequence[str], definite: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return the legal orders of a main clause: what is in front of the finite verb, and what between it and the end.

    Args:
        slots: which of `O` (object), `T` (time), `L` (place) there are.
        definite: whether the object is.
    """
    for front in ("S", *(slot for slot in slots if slot in "TL")):
        rest = [slot for slot in slots if slot != front]
        for middle in middles(rest, definite):
            yield front, middle if front == "S" else ("S", *middle)


def middles(slots: Sequence[str], definite: bool) -> Iterator[tuple[str, ...]]:
    """Return the legal orders of objects and adverbials: time before place, and before an indefinite object."""
    for order in permutations(slots):
        place = {slot: number for number, slot in enumerate(order)}
        after = [slot for slot in ("L", *(() if definite else ("O",))) if slot in place]
        if "T" not in place or all(place["T"] < place[slot] for slot in after):
            yield order


def article(determiner: str, case: str, gender: str) -> str:
    """Return the German determiner, "" for an indefinite plural without one."""
    column = GENDERS.index(gender)
    if determiner in NUMBERS:
        return NUMBERS[determiner]
    if determiner == "the":
        return _THE[case].split()[column]
    if determiner == "this":
        return "dies" + _THIS[case].split()[column]
    if determiner == "a" and gender == "p":
        return ""
    return _STEMS[determiner] + _MY[case].split()[column].strip("-")


def ending(determiner: str, case: str, gender: str) -> str:
    """Return the ending of an adjective after a determiner: weak, mixed, or strong where none shows the case."""
    if determiner in NUMBERS or (determiner == "a" and gender == "p"):
        return _STRONG_PLURAL[case]
    return (_WEAK if determiner in ("the", "this") else _MIXED)[case].split()[GENDERS.index(gender)]


def _classes(table: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Return each class of a table with its entries, as lists of words."""
    for line in table.strip().replace("\n  ", " ").splitlines():
        kind, _, entries = line.partition(":")
        words = (entry.split() for entry in entries.split(";"))
        yield kind, [[word.replace("_", " ") for word in entry] for entry in words]


def _verb(
    english: list[str],
    german: list[str],
    frame: list[str] | None = None,
    subjects: list[str] | None = None,
    objects: list[str] | None = None,
    place: list[str] | None = None,
) -> Verb:
    prefix, i, he, they, participle, auxiliary = german
    base, third, past = (words.replace("_", " ") for words in english)
    *preposition, case = frame or [""]
    return Verb(
        (base, third, past),
        prefix.strip("-"),
        dict(zip(PERSONS, (i, he, they), strict=True)),
        participle,
        {"h": "haben", "s": "sein"}[auxiliary],
        " ".join(preposition),
        case,
        tuple(subjects or ()),
        tuple(objects or ()),
        bool(place),
    )
