"""The rule table of the mini edition: turns of everyday conversations, each with its intent.

The value of `TURN` is the intent of a turn. Events have a day and a place, favours are asked for and promised, and
troubles have remedies. What is said when is up to `grammar`.
"""

from __future__ import annotations

from rl4lms.tasks.rules import RuleTable

_RULES = """
TURN<inform> -> NEWS | ANSWER | THANKS | FREE | BUSY | FINE | UNWELL | MEET | TOLD | FAILED
TURN<question> -> GREETING | WHATS_NEW | MATTER | HELP | ASK_DAY | ASK_PLACE | ASK_WHEN | ASK_FREE
TURN<directive> -> REQUEST | ADVICE
TURN<commissive> -> ACCEPT | REFUSE | COMING

# inform
NEWS -> NEWS_BARE | NEWS_DAY | NEWS_PLACE | NEWS_BOTH
NEWS_BARE -> HAVING AN:EVENT .
NEWS_DAY -> HAVING AN:EVENT DAY .
NEWS_PLACE -> HAVING AN:EVENT PLACE .
NEWS_BOTH -> HAVING AN:EVENT DAY PLACE . | HAVING AN:EVENT PLACE DAY .
HAVING -> there is | we are having | my friends are having
ANSWER -> ANSWER_DAY | ANSWER_PLACE
ANSWER_DAY -> the EVENT is DAY . @2 | i think the EVENT is DAY . | well , the EVENT is DAY .
ANSWER_PLACE -> the EVENT is PLACE . @2 | i think the EVENT is PLACE . | well , the EVENT is PLACE .
THANKS -> thank you , it is kind of you to TASK . @2 | thank you very much , it is kind of you to TASK .
FREE -> i am free DAY . | yes , i have time DAY . | i have nothing to do DAY .
BUSY -> i am very busy DAY . | no , i have no time DAY . | i must work DAY .
FINE -> i am fine , thank you . | very well , thanks .
UNWELL -> not so good . | i feel bad . | it was a bad day .
MEET -> it is good to see you . | i did not see you for a long time .
TOLD -> TROUBLE .
FAILED -> i did that , but it did not help . | i tried that already . | that was no use .

# question
GREETING -> hello , how are you ? | good morning , how are you ? | hi , how is it going ?
WHATS_NEW -> very well , and what is new ? | fine , is there any news ?
MATTER -> what is the matter ? | what is wrong ? | did something happen ?
HELP -> how can i help you ? | what can i do for you ?
ASK_DAY -> when is the EVENT ? @2 | and when is the EVENT ? | oh , when is the EVENT ?
ASK_PLACE -> where is the EVENT ? @2 | and where is the EVENT ? | oh , where is the EVENT ?
ASK_WHEN -> when will you TASK ? @2 | and when will you TASK ? | good , when will you TASK ?
ASK_FREE -> are you free DAY ? | do you have time DAY ? | what will you do DAY ?

# directive
REQUEST -> REQUEST_BARE | REQUEST_DAY
REQUEST_BARE -> could you TASK ? | please TASK . | would you TASK for me ?
REQUEST_DAY -> could you TASK DAY ? | please TASK DAY . | would you TASK for me DAY ?
ADVICE -> you should REMEDY . @2 | i think you should REMEDY . | maybe you should REMEDY .

# commissive
ACCEPT -> sure , i will TASK . @2 | of course , i will TASK . | no problem , i will TASK .
REFUSE -> sorry , i can not TASK . @2 | i am sorry , but i can not TASK . | i am afraid i can not TASK .
COMING -> great , i will come to the EVENT . @2 | then i will come to the EVENT . | i promise i will come to the EVENT .
"""

_SLOTS = """
EVENT: party | concert | meeting | game | dinner | picnic | lesson | wedding | show | dance | race | exhibition
  | interview | festival | play | lecture | match | ball | parade | workshop | tour
DAY: on monday | on tuesday | on wednesday | on thursday | on friday | on saturday | on sunday | tomorrow | tonight
  | next week | this evening
PLACE: at the hotel | at the park | at the station | at the museum | at the office | at the beach | at the school
  | at the airport | at the castle | at the club | at the farm | in the library | in the garden | in the theater
  | in the church | in the village | in the gym | in the hall | in the forest
"""

# a favour: what is done with what
_TASKS = """
bring: salad cake chairs camera map guitar umbrella blanket
buy: tickets flowers bread milk candles newspaper medicine fruit
book: table room taxi flight tour
send: letter report photos invitation package contract
fix: bike lamp radio door heater printer
clean: kitchen car windows garage stairs
carry: boxes bags books plants
call: waiter driver manager plumber dentist
paint: fence wall gate
wash: dishes shirts dog curtains
"""

# a trouble | what helps | what helps where that did not
_TROUBLES = """
my car broke down | call a mechanic | take the bus
i have a headache | take some medicine | lie down for a while
i lost my passport | go to the embassy | look in your bag again
my phone is dead | charge it now | use my phone
i am so tired | get some sleep | drink a coffee
i am very hungry | eat an apple | cook some soup
i lost my wallet | call the police | ask at the desk
the room is too cold | close the window | wear a warm coat
my tooth hurts | see a dentist | eat less sugar
i missed my train | wait for the next one | rent a car
my computer is slow | buy a new one | delete old files
i am bored | read a book | learn a new language
i failed my exam | study harder | ask the teacher for help
my shoes are wet | dry them by the fire | wear boots
i can not sleep | listen to music | open the window
the soup is too salty | add some water | order another dish
"""


def _rows(table: str) -> dict[str, list[str]]:
    """Return the lines of a table: a name, and what stands behind the colon."""
    lines = (line.partition(":") for line in table.strip().replace("\n  |", " |").splitlines())
    return {name: [part.strip() for part in parts.split("|")] for name, _, parts in lines}


_SLOT = _rows(_SLOTS)
EVENTS, DAYS, PLACES = _SLOT["EVENT"], _SLOT["DAY"], _SLOT["PLACE"]
#: Favours, as infinitives.
TASKS = [f"{verb} the {thing}" for verb, (things,) in _rows(_TASKS).items() for thing in things.split()]
#: A trouble, what helps first, and what helps where that did not.
TROUBLES = [[part.strip() for part in line.split("|")] for line in _TROUBLES.strip().splitlines()]

_LISTS = {
    **_SLOT,
    "TASK": TASKS,
    "TROUBLE": [trouble for trouble, *_ in TROUBLES],
    "REMEDY": [remedy for _, *remedies in TROUBLES for remedy in remedies],
}

TABLE = RuleTable(_RULES + "\n".join(f"{name} -> {' | '.join(found)}" for name, found in _LISTS.items()), features={})
