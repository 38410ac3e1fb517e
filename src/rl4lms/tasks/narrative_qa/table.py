"""The rule table of the mini edition: the sentences of stories, questions about them, and two forms of each answer.

The symbols in capitals that stand in sentences are what they are about: `WHO` does something, `OTHER` is given
something, `HE` is the pronoun of `WHO`. `<q>` is a kind of question.
"""

from __future__ import annotations

from rl4lms.tasks.rules import RuleTable

_NAMES = {
    "she": "alice anna carla dora emma grace julia rosa",
    "he": "adam carl david felix henry leo oscar peter",
}

_WORDS = {
    "NAME": " ".join(_NAMES.values()),
    "HE": " ".join(_NAMES),
    "THING": "bag book bottle cup drum hat key knife lamp map ring sword",
    "PLACE": "attic barn castle cave church forest garden kitchen library mill park tower",
    "REASON": "afraid angry bored cold curious hungry late lonely sad tired",
}

_RULES = """
FIND -> WHO FOUND the THING in the PLACE .
GO -> WHO WENT to the PLACE because HE was REASON .
GIVE -> WHO GAVE the THING to OTHER . | WHO GAVE OTHER the THING . | OTHER got the THING from WHO .
WAIT -> WHO STAYED in the PLACE .
STAYED -> stayed @2 | waited
FOUND -> found @2 | discovered
WENT -> went @2 | walked | ran
GAVE -> gave @3 | handed

ASK<finder> -> who found the THING ?
SHORT<finder> -> WHO
LONG<finder> -> WHO found the THING .
ASK<found> -> what did WHO find ?
SHORT<found> -> the THING
LONG<found> -> WHO found the THING .
ASK<giver> -> who gave the THING to OTHER ?
SHORT<giver> -> WHO
LONG<giver> -> WHO gave the THING to OTHER .
ASK<given> -> what did WHO give to OTHER ?
SHORT<given> -> the THING
LONG<given> -> WHO gave the THING to OTHER .
ASK<has> -> who has the THING now ?
SHORT<has> -> WHO
LONG<has> -> WHO has the THING .
ASK<thing> -> where is the THING now ?
SHORT<thing> -> in the PLACE
LONG<thing> -> the THING is in the PLACE .
ASK<person> -> where is WHO now ?
SHORT<person> -> in the PLACE
LONG<person> -> WHO is in the PLACE .
ASK<why> -> why did WHO go to the PLACE ?
SHORT<why> -> because HE was REASON
LONG<why> -> WHO was REASON .
ANSWER<q> -> SHORT<q> | LONG<q>

WHO -> NAME
OTHER -> NAME
"""

#: Kinds of questions.
QUESTIONS = ("finder", "found", "giver", "given", "has", "thing", "person", "why")

#: What texts are about.
SLOTS = ("WHO", "OTHER", "HE", "THING", "PLACE", "REASON")

#: The pronoun of a name.
PRONOUN = {name: pronoun for pronoun, names in _NAMES.items() for name in names.split()}

TABLE = RuleTable(
    "\n".join([_RULES, *(f"{symbol} -> {' | '.join(words.split())}" for symbol, words in _WORDS.items())]),
    features={"q": QUESTIONS},
)
