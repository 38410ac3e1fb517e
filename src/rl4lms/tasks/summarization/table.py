"""The rule table of the mini edition: the sentences of news articles, and highlights that say the main facts in other
words.

`<k>` is the kind of news. The main facts are `CITY`, `DAY`, `COUNT`, and what is a kind's own: `WHAT<k>` it happened
to, and `WHY<k>`. Symbols that begin with `NO_` are other places, days and numbers, which are no main facts.
"""

from __future__ import annotations

from rl4lms.tasks.rules import RuleTable

_KINDS = """
LEAD<fire> -> a fire broke out in a WHAT<fire> in CITY on DAY .
  | on DAY , a CITY WHAT<fire> caught fire .
DETAIL<fire> -> COUNT people were injured , POLICE said . | POLICE said that COUNT people were injured .
CAUSE<fire> -> the fire was caused by WHY<fire> . | it is thought that WHY<fire> started the fire .
BACK<fire> -> last year , a fire in NO_CITY injured NO_COUNT people .
FIRST<fire> -> blaze destroys WHAT<fire> in CITY on DAY . | CITY WHAT<fire> destroyed by blaze on DAY .
SECOND<fire> -> COUNT are hurt after WHY<fire> . | WHY<fire> blamed as COUNT are hurt .
WHAT<fire> -> hotel | school | factory | warehouse | theater | hospital
WHY<fire> -> a gas leak | a broken heater | a cigarette | a short circuit | fireworks

LEAD<flood> -> a river flooded the WHAT<flood> of CITY on DAY . | on DAY , the WHAT<flood> of CITY was under water .
DETAIL<flood> -> COUNT families had to go , POLICE said . | POLICE told COUNT families to go .
CAUSE<flood> -> the water rose because of WHY<flood> . | experts said that WHY<flood> made the water rise .
BACK<flood> -> NO_COUNT families in NO_CITY lost their homes in a flood last year .
FIRST<flood> -> high water closes WHAT<flood> in CITY on DAY . | CITY WHAT<flood> closed by high water on DAY .
SECOND<flood> -> COUNT households flee after WHY<flood> . | after WHY<flood> , COUNT households flee .
WHAT<flood> -> harbor | market | station | zoo | stadium | museum
WHY<flood> -> heavy rain | a broken dam | melting snow | a spring tide | a blocked canal

LEAD<theft> -> thieves took WHAT<theft> from a shop in CITY on DAY .
  | on DAY , WHAT<theft> were taken from a CITY shop .
DETAIL<theft> -> they were worth COUNT million dollars , POLICE said .
  | POLICE put their value at COUNT million dollars .
CAUSE<theft> -> the thieves came through WHY<theft> . | a camera shows them at WHY<theft> .
BACK<theft> -> NO_COUNT shops in NO_CITY were robbed last year .
FIRST<theft> -> robbers steal WHAT<theft> in CITY on DAY . | CITY robbers steal WHAT<theft> on DAY .
SECOND<theft> -> gang escapes with COUNT million through WHY<theft> .
  | through WHY<theft> , gang escapes with COUNT million .
WHAT<theft> -> jewels | coins | watches | paintings | cameras | stamps
WHY<theft> -> the roof | the back door | a cellar | a window | a tunnel

LEAD<crash> -> a WHAT<crash> ran off its way in CITY on DAY . | on DAY , a WHAT<crash> hit a wall in CITY .
DETAIL<crash> -> COUNT passengers were taken to hospital , POLICE said .
  | POLICE said that COUNT passengers were injured .
CAUSE<crash> -> the driver spoke of WHY<crash> . | WHY<crash> may have caused the accident .
BACK<crash> -> last year , NO_COUNT people were injured on a road near NO_CITY .
FIRST<crash> -> WHAT<crash> crashes in CITY on DAY . | CITY WHAT<crash> crashes on DAY .
SECOND<crash> -> COUNT are hurt as driver blames WHY<crash> . | driver blames WHY<crash> as COUNT are hurt .
WHAT<crash> -> bus | train | truck | tram | taxi | van
WHY<crash> -> thick fog | ice | strong wind | a burst tire | a deer | failing brakes

LEAD<strike> -> the WHAT<strike> of CITY stopped work on DAY . | on DAY , WHAT<strike> in CITY did not go to work .
DETAIL<strike> -> COUNT thousand came to a march , POLICE said . | POLICE counted COUNT thousand at a march .
CAUSE<strike> -> their union is angry about WHY<strike> . | the reason is WHY<strike> , their union said .
BACK<strike> -> in NO_CITY , workers stayed at home for NO_COUNT days last year .
FIRST<strike> -> WHAT<strike> walk out in CITY on DAY . | CITY WHAT<strike> walk out on DAY .
SECOND<strike> -> COUNT thousand protest against WHY<strike> . | against WHY<strike> , COUNT thousand protest .
WHAT<strike> -> nurses | teachers | drivers | pilots | miners | cleaners
WHY<strike> -> low pay | long hours | job cuts | night shifts | new rules

LEAD<trial> -> a WHAT<trial> was found guilty in CITY on DAY . | on DAY , a court in CITY found a WHAT<trial> guilty .
DETAIL<trial> -> the sentence is COUNT years , the judge said . | the judge spoke of COUNT years in prison .
CAUSE<trial> -> the court heard a case of WHY<trial> . | the case was about WHY<trial> .
BACK<trial> -> a man from NO_CITY was given NO_COUNT years last year .
FIRST<trial> -> WHAT<trial> is convicted in CITY on DAY . | CITY WHAT<trial> is convicted on DAY .
SECOND<trial> -> jail for COUNT years over WHY<trial> . | for WHY<trial> , jail for COUNT years .
WHAT<trial> -> banker | doctor | lawyer | soldier | trader | minister
WHY<trial> -> fraud | arson | bribery | smuggling | forgery | blackmail
"""

_RULES = """
HIGHLIGHTS<k> -> FIRST<k> SECOND<k> | FIRST<k> | SECOND<k>
QUOTE -> " SAYING , " said WHO . | WHO said : " SAYING . "
SAYING -> it was a terrible day | nobody expected this | we are all shocked | i have never seen this before
  | our thoughts are with the families | this must not happen again
WHO -> FIRST_NAME NAME , a ROLE
ASIDE -> the mayor will speak on NO_DAY . | a meeting is planned for NO_DAY . | the council of NO_CITY sent its help .
  | the prime minister will come on NO_DAY .
POLICE -> the police | officials
CITY -> CITIES
NO_CITY -> CITIES
DAY -> DAYS
NO_DAY -> DAYS
COUNT -> NUMBER
NO_COUNT -> NUMBER
FIRST_NAME -> anna | carl | emma | frank | grace | henry | julia | mark | nora | peter | rosa | victor
NAME -> baker | cole | fisher | gray | hill | lane | miller | parker | reed | stone | turner | west
ROLE -> neighbor | witness | visitor | student | reporter | tourist
CITIES -> ankara | athens | berlin | boston | cairo | chicago | delhi | denver | dublin | geneva | houston | karachi
  | lagos | lima | lisbon | london | madrid | manila | milan | moscow | nairobi | oslo | paris | prague | rome | seattle
  | seoul | sydney | tokyo | vienna | warsaw | zurich
DAYS -> monday | tuesday | wednesday | thursday | friday | saturday | sunday
"""

#: Kinds of news.
KINDS = ("fire", "flood", "theft", "crash", "strike", "trial")

TABLE = RuleTable(
    f"{_KINDS}{_RULES}NUMBER -> {' | '.join(map(str, range(2, 60)))}",
    features={"k": KINDS},
)


def slots(kind: str) -> dict[str, str]:
    """Return the symbols of the main facts of a kind of news, and what they are."""
    shared = {name: name.lower() for name in ("CITY", "DAY", "COUNT")}
    return {**shared, f"WHAT<{kind}>": "what", f"WHY<{kind}>": "why"}
