"""The rule table of the mini edition: somebody does something with a thing, maybe somewhere, maybe with a tool.

`<c>` is the kind of scene, which says who does what with what (nobody eats a fence), `<n>` is grammatical number. A
scene has three to five content words, its concepts; everything else is grammar: articles, number, tense, order, and
now and then a word of time.
"""

from __future__ import annotations

from rl4lms.tasks.rules import RuleTable

# A scene: who | verbs | things | places, each with its preposition | tools
_SCENES = """
ball: boy girl player athlete coach child | throw kick catch hit bounce pass
  | ball frisbee disc football baseball balloon
  | in:park on:field on:beach in:yard in:stadium | racket bat glove stick
meal: man woman guest waiter family grandmother | eat cut slice share serve cook
  | sandwich pizza cake apple salad pancake
  | in:kitchen in:restaurant at:table in:garden at:party | fork knife spoon spatula
ride: cowboy rider soldier traveler farmer tourist | ride lead stop load follow
  | horse bike camel donkey elephant cart
  | on:road on:trail in:desert on:bridge in:village | rope whip lantern stick
music: musician singer student band drummer pianist | play tune carry practice hold
  | guitar violin drum trumpet flute piano
  | on:stage on:street at:concert in:church in:studio | bow microphone friend speaker
clean: worker maid janitor sailor neighbor driver | wash scrub clean dry polish
  | car window floor dish mirror truck
  | in:garage in:driveway in:hotel in:kitchen at:station | sponge cloth towel hose brush
paint: artist painter designer teacher student child | paint draw sketch decorate color
  | wall picture portrait fence mask sign
  | in:studio in:museum in:school on:street in:workshop | brush pencil roller marker
build: carpenter worker builder engineer mechanic father | build repair lift measure fix
  | table chair house roof boat bench
  | in:workshop in:garage on:farm in:harbor on:island | hammer saw drill ladder
hunt: dog cat puppy wolf fox bear | chase watch follow bite sniff scare
  | bird squirrel rabbit mouse duck chicken
  | in:forest in:field on:farm in:yard on:hill | paw tail tongue nose
fish: fisherman man boy captain grandfather uncle | catch clean hold release grab
  | fish trout crab shrimp turtle lobster
  | in:lake in:river on:dock on:boat on:shore | net rod hook bucket
grow: farmer gardener woman widow monk student | plant water pick cut trim
  | flower tree bush tomato rose pumpkin
  | in:garden in:field in:greenhouse on:hill on:balcony | shovel hose basket rake
read: student teacher lawyer writer monk clerk | read write study open sign
  | book letter newspaper map poem report
  | in:library in:classroom at:desk on:train in:office | pen lamp lens ruler
sew: tailor girl model designer grandmother maid | wear sew iron fold mend
  | shirt dress jacket hat coat skirt
  | in:shop in:bedroom at:market on:stage at:wedding | needle pin ribbon machine
climb: skier hiker climber guide tourist scout | climb descend cross explore reach
  | mountain hill slope cliff ridge glacier
  | in:fog in:valley in:canyon at:border in:storm | rope pole map axe
"""

_RULES = """
SENTENCE -> PLAIN<c> . | THERE<c> . | USING<c> . | FULL<c> .
PLAIN<c> -> ACT<c> @3 | ACT<c> WHEN
THERE<c> -> ACT<c> LOC<c> @4 | LOC<c> , ACT<c> @2 | WHEN , ACT<c> LOC<c> @0.5
USING<c> -> ACT<c> with TOOL_NP<c> @4 | with TOOL_NP<c> , ACT<c> @0.5 | ACT<c> with TOOL_NP<c> WHEN
FULL<c> -> ACT<c> with TOOL_NP<c> LOC<c> @3 | ACT<c> LOC<c> with TOOL_NP<c> @2 | LOC<c> , ACT<c> with TOOL_NP<c> @2
ACT<c> -> AGENT<c><n> BE<n> VERB<c><ing> THING_NP<c> @3 | AGENT<c><n> VERB<c><n> THING_NP<c> @3
  | AGENT<c><n> VERB<c><past> THING_NP<c> | AGENT<c><n> HAVE<n> VERB<c><done> THING_NP<c> @0.5
AGENT<c><sg> -> AN:WHO<c><sg> @4 | the WHO<c><sg> @2 | AN:MOOD WHO<c><sg> | the MOOD WHO<c><sg>
AGENT<c><pl> -> the WHO<c><pl> | COUNT WHO<c><pl> @2 | COUNT MOOD WHO<c><pl>
THING_NP<c> -> AN:THING<c><sg> @4 | the THING<c><sg> @3 | AN:LOOK THING<c><sg> | the THING<c><pl> | COUNT THING<c><pl>
TOOL_NP<c> -> AN:TOOL<c> @3 | the TOOL<c> | AN:LOOK TOOL<c>
BE<sg> -> is
BE<pl> -> are
HAVE<sg> -> has
HAVE<pl> -> have
COUNT -> two | three | some | several | many
MOOD -> young | old | happy | tired | quiet | busy
LOOK -> small | large | white | black | red | new | old | clean
WHEN -> today | again | together | slowly | quickly | carefully
"""

# lemma: past, participle where it differs
_PAST = {
    "bite": ("bit", "bitten"),
    "build": ("built", "built"),
    "catch": ("caught", "caught"),
    "cut": ("cut", "cut"),
    "draw": ("drew", "drawn"),
    "eat": ("ate", "eaten"),
    "grab": ("grabbed", "grabbed"),
    "hit": ("hit", "hit"),
    "hold": ("held", "held"),
    "lead": ("led", "led"),
    "read": ("read", "read"),
    "ride": ("rode", "ridden"),
    "scrub": ("scrubbed", "scrubbed"),
    "sew": ("sewed", "sewn"),
    "stop": ("stopped", "stopped"),
    "throw": ("threw", "thrown"),
    "trim": ("trimmed", "trimmed"),
    "wear": ("wore", "worn"),
    "write": ("wrote", "written"),
}
_DOUBLED = {
    "cut": "cutting",
    "grab": "grabbing",
    "hit": "hitting",
    "scrub": "scrubbing",
    "stop": "stopping",
    "trim": "trimming",
}
_PLURAL = {
    "child": "children",
    "man": "men",
    "woman": "women",
    "fisherman": "fishermen",
    "wolf": "wolves",
    "mouse": "mice",
    "fish": "fish",
    "trout": "trout",
    "shrimp": "shrimp",
    "roof": "roofs",
}


def plural(noun: str) -> str:
    """Return the plural of a noun of the table."""
    return _PLURAL.get(noun, _with_s(noun))


def forms(verb: str) -> dict[str, str]:
    """Return the forms of a verb by the value that the table gives them: `sg`, `pl`, `ing`, `past`, `done`."""
    past = f"{verb}d" if verb.endswith("e") else f"{verb[:-1]}ied" if _ends_in_y(verb) else f"{verb}ed"
    ing = _DOUBLED.get(verb, (verb[:-1] if verb.endswith("e") else verb) + "ing")
    irregular = _PAST.get(verb, (past, past))
    return {"sg": _with_s(verb), "pl": verb, "ing": ing, "past": irregular[0], "done": irregular[1]}


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if _ends_in_y(word) else f"{word}s"


def _ends_in_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in "aeiou"


def _scenes() -> dict[str, tuple[list[str], ...]]:
    text = _SCENES.strip().replace("\n  |", " |")
    rows = (line.partition(":") for line in text.splitlines())
    return {kind: tuple(column.split() for column in columns.split("|")) for kind, _, columns in rows}


#: Kind of scene: who, verbs, things, places as `preposition:noun`, tools.
SCENES = _scenes()


def _lexicon() -> str:
    lines = []
    for kind, (who, verbs, things, places, tools) in SCENES.items():
        words = {f"WHO<{kind}><sg>": who, f"WHO<{kind}><pl>": [plural(noun) for noun in who]}
        words |= {f"THING<{kind}><sg>": things, f"THING<{kind}><pl>": [plural(noun) for noun in things]}
        words |= {f"TOOL<{kind}>": tools}
        words |= {f"VERB<{kind}><{form}>": [forms(verb)[form] for verb in verbs] for form in forms("cut")}
        prepositions = sorted({place.partition(":")[0] for place in places})
        for preposition in prepositions:
            nouns = [place.partition(":")[2] for place in places if place.startswith(f"{preposition}:")]
            words |= {f"PLACE<{kind}><{preposition}>": nouns}
        places_of = " | ".join(f"{preposition} the PLACE<{kind}><{preposition}>" for preposition in prepositions)
        lines += [f"LOC<{kind}> -> {places_of}"]
        lines += [f"{symbol} -> {' | '.join(alternatives)}" for symbol, alternatives in words.items()]
    return "\n".join(lines)


TABLE = RuleTable(_RULES + _lexicon(), features={"c": tuple(SCENES), "n": ("sg", "pl")})


def _lemmas() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for who, verbs, things, places, tools in SCENES.values():
        nouns = [*who, *things, *(place.partition(":")[2] for place in places), *tools]
        words = [(form, noun) for noun in nouns for form in (noun, plural(noun))]
        words += [(form, verb) for verb in verbs for form in forms(verb).values()]
        for form, lemma in words:
            found.setdefault(form, set()).add(lemma)
    return {form: frozenset(lemmas) for form, lemmas in found.items()}


#: The concepts that a word of the language may be a form of.
LEMMAS = _lemmas()
