"""Concept coverage: the share of given words that a text uses, in any inflection, as the paper reports for CommonGen.

Forms come from spelling rules and a table of irregular words, not from a lemmatiser: plural and third person, past and
participles, and the -ing form. Where spelling leaves a choice (travelled, traveled; hoofs, hooves) both are taken.
Comparatives, words derived from a concept (`skier` for `ski`) and other spellings (`grey`, `gray`) do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any

from rl4lms.errors import DataError, nth_row
from rl4lms.metrics.support import signature
from rl4lms.metrics.words import Watch, unicode_words
from rl4lms.plugins.options import Option

Concepts = Annotated[str, Option("data column: lists of words, or one text of them", min_length=1)]

_WORD = re.compile(r"[^\W_]+")
_SEPARATORS = re.compile(r"[\s,#]+")
_TAG = re.compile(r"_[A-Z]$")  # CommonGen's own files write field_N#look_V

# base: past, participle, plural and whatever else the rules do not give; what they give counts as well
_IRREGULAR = """
arise: arose arisen|awake: awoke awoken|be: am is are was were been being|bear: bore born borne|beat: beaten|become: became
begin: began begun|bend: bent|bind: bound|bite: bit bitten|bleed: bled|blow: blew blown|break: broke broken|breed: bred|bring: brought
build: built|burn: burnt|buy: bought|catch: caught|choose: chose chosen|cling: clung|come: came|creep: crept|deal: dealt|dig: dug
dive: dove|do: does did done|draw: drew drawn|dream: dreamt|drink: drank drunk|drive: drove driven|dwell: dwelt|eat: ate eaten
fall: fell fallen|feed: fed|feel: felt|fight: fought|find: found|flee: fled|fling: flung|fly: flew flown|forbid: forbade forbidden
foresee: foresaw foreseen|forget: forgot forgotten|forgive: forgave forgiven|freeze: froze frozen|get: got gotten|give: gave given
go: goes went gone|grind: ground|grow: grew grown|hang: hung|have: has had|hear: heard|hide: hid hidden|hold: held|inlay: inlaid
keep: kept|kneel: knelt|know: knew known|lay: laid|lead: led|lean: leant|leap: leapt|learn: learnt|leave: left|lend: lent|lie: lay lain
light: lit|lose: lost|make: made|mean: meant|meet: met|mislead: misled|mistake: mistook mistaken|mow: mown|overcome: overcame
overgrow: overgrew overgrown|overlay: overlaid|oversee: oversaw overseen|overtake: overtook overtaken|pay: paid|plead: pled|prove: proven
rebuild: rebuilt|ride: rode ridden|ring: rang rung|rise: rose risen|run: ran|saw: sawn|say: said|see: saw seen|seek: sought|sell: sold
send: sent|sew: sewn|shake: shook shaken|shave: shaven|shear: shorn|shine: shone|shoe: shod|shoot: shot|show: shown|shrink: shrank shrunk
sing: sang sung|sink: sank sunk sunken|sit: sat|slay: slew slain|sleep: slept|slide: slid|sling: slung|smell: smelt|sneak: snuck|sow: sown
speak: spoke spoken|speed: sped|spell: spelt|spend: spent|spill: spilt|spin: spun|spit: spat|spoil: spoilt|spring: sprang sprung
stand: stood|steal: stole stolen|stick: stuck|sting: stung|stink: stank stunk|strew: strewn|stride: strode stridden
strike: struck stricken|string: strung|strive: strove striven|swear: swore sworn|sweep: swept|swell: swollen|swim: swam swum|swing: swung
take: took taken|teach: taught|tear: tore torn|tell: told|think: thought|throw: threw thrown|tread: trod trodden|understand: understood
undo: undoes undid undone|uphold: upheld|wake: woke woken|wear: wore worn|weave: wove woven|weep: wept|win: won|wind: wound
withdraw: withdrew withdrawn|withstand: withstood|wring: wrung|write: wrote written
child: children|criterion: criteria|datum: data|die: dice|foot: feet|goose: geese|grandchild: grandchildren|louse: lice|medium: media
mouse: mice|ox: oxen|penny: pence|person: people|tooth: teeth
"""
_EXTRA = {
    base: others.split() for base, others in (entry.split(":") for entry in re.split(r"[|\n]", _IRREGULAR.strip()))
}
_VOWELS = "aeiou"


class ConceptCoverage:
    """Share of the concepts of a row that its completion uses, in [0, 1] under the key `concept_coverage`.

    Case does not matter; order and repetition neither. A row without concepts has no value.

    Where the concepts are one text, white space, commas or `#` stand between them.
    """

    higher_is_better = True

    def __init__(
        self, column: Concepts = "concepts", inflect: Annotated[bool, Option("count inflected forms")] = True
    ) -> None:
        self._column, self._inflect = column, inflect
        self._watch = Watch("concept_coverage", "give texts with spaces between words")
        self.signature = signature("concept_coverage", inflect=inflect)

    def __call__(self, completions: Sequence[str], **columns: Any) -> dict[str, list[float | None]]:
        """Measure each text; the class says under which keys.

        Raises:
            DataError: there is no column of concepts, or a row of it holds something else.
        """
        if self._column not in columns:
            raise DataError(
                f"concept_coverage needs the data column {self._column!r}; name yours with the option column"
            )
        self._watch.look(completions, unicode_words)
        values: list[float | None] = []
        for row, (completion, given) in enumerate(zip(completions, columns[self._column], strict=True)):
            concepts = concepts_of(given, f"{self._column} of {nth_row(row)}")
            missing = missing_concepts(completion, concepts, self._inflect)
            values.append(1 - len(missing) / len(concepts) if concepts else None)
        return {"concept_coverage": values}


def concepts_of(given: Any, what: str) -> list[str]:
    """Return the different concepts of a row, in their order.

    Args:
        given: a list of words or phrases, or one text of words.
        what: names it in messages.

    Raises:
        DataError: it is neither.
    """
    words = _SEPARATORS.split(given) if isinstance(given, str) else given
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{what} is {given!r:.80}; expected a list of words, or one text of them")
    return list(dict.fromkeys(concept for word in words if _WORD.search(concept := _TAG.sub("", word.strip()).lower())))


def missing_concepts(completion: str, concepts: Sequence[str], inflect: bool = True) -> list[str]:
    """Return the concepts that a text does not use.

    Args:
        completion: the text.
        concepts: words, or phrases whose words must follow each other.
        inflect: inflected forms count as use.
    """
    words = unicode_words(completion)
    return [concept for concept in concepts if not _uses(words, concept.lower(), inflect)]


def _uses(words: list[str], concept: str, inflect: bool) -> bool:
    wanted = [forms(word) if inflect else frozenset([word]) for word in unicode_words(concept)]
    starts = range(len(words) - len(wanted) + 1)
    return bool(wanted) and any(
        all(words[start + place] in each for place, each in enumerate(wanted)) for start in starts
    )


@lru_cache(maxsize=1 << 14)
def forms(word: str) -> frozenset[str]:
    """Return a word and its inflected forms, as a noun and as a verb.

    Args:
        word: the base form, lower-cased.
    """
    return frozenset({word, *_EXTRA.get(word, ()), *_with_s(word), *_with_ed(word), *_with_ing(word)})


def _with_s(word: str) -> Iterator[str]:
    """Plural and third person."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        yield word + "es"
        if word.endswith(("s", "z")) and _doubles(word):
            yield word + word[-1] + "es"
    elif word.endswith("y") and word[-2:-1] not in _VOWELS:
        yield word[:-1] + "ies"
    else:
        yield word + "s"
        if word.endswith("o"):
            yield word + "es"
    if word.endswith("f"):
        yield word[:-1] + "ves"
    elif word.endswith("fe"):
        yield word[:-2] + "ves"
    elif word.endswith("man"):
        yield word[:-3] + "men"
    elif word.endswith("is"):
        yield word[:-2] + "es"
    elif word.endswith("us"):
        yield word[:-2] + "i"


def _with_ed(word: str) -> Iterator[str]:
    if word.endswith("e"):
        yield word + "d"
    elif word.endswith("y") and word[-2:-1] not in _VOWELS:
        yield word[:-1] + "ied"
    else:
        yield from (stem + "ed" for stem in _stems(word))


def _with_ing(word: str) -> Iterator[str]:
    if word.endswith("ie"):
        yield word[:-2] + "ying"
    if word.endswith("e") and not word.endswith("ee"):
        yield word[:-1] + "ing"
    yield from (stem + "ing" for stem in _stems(word))


def _stems(word: str) -> Iterator[str]:
    """Return what -ed and -ing are put to: with the last consonant doubled, or as it is, or both where stress
    decides.
    """
    if word.endswith("c"):
        yield word + "k"
    elif _doubles(word):
        yield word + word[-1]
        if len(re.findall(f"[{_VOWELS}]+", word.replace("qu", "q"))) == 1:
            return
    elif word[-1] == "l" and word[-2:-1] and word[-2] in _VOWELS:
        yield word + "l"  # British: fuelled
    yield word


def _doubles(word: str) -> bool:
    """Return whether a word ends in one vowel and one consonant (`qu` is a consonant), as `hop`, `quit` and `travel`
    do.
    """
    word = word.replace("qu", "q")
    return len(word) > 2 and word[-1] not in f"{_VOWELS}wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS
