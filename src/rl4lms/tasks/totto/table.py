"""The rule table of the mini edition: pages of five kinds, and the sentences about some cells of a row.

A sentence states the cells of one row and, where it likes, whom or what the page is about. `SHAPE<cells>` has the
sentences about these cells, in the order of their columns; a new wording is another alternative.
"""

from __future__ import annotations

from dataclasses import dataclass

from rl4lms.tasks.rules import RuleTable

_SENTENCES = """
ELECTION<candidate+party> -> CANDIDATE WAS a candidate of the PARTY party . | the PARTY party NAMED CANDIDATE .
ELECTION<candidate+votes> -> CANDIDATE WON VOTES votes . | VOTES people VOTED for CANDIDATE .
ELECTION<candidate+year> -> in YEAR , CANDIDATE RAN for mayor of TOWN . | CANDIDATE RAN for mayor of TOWN in YEAR .
ELECTION<candidate+party+votes> -> CANDIDATE of the PARTY party WON VOTES votes .
  | VOTES people VOTED for CANDIDATE of the PARTY party .
ELECTION<candidate+votes+year> -> in YEAR , CANDIDATE WON VOTES votes in TOWN .
  | CANDIDATE RAN for mayor of TOWN in YEAR and WON VOTES votes .
ELECTION<candidate+party+votes+year> -> in YEAR , CANDIDATE of the PARTY party WON VOTES votes .
  | CANDIDATE RAN for the PARTY party in YEAR and WON VOTES votes .

FILM<film+role> -> ACTOR PLAYED ROLE in FILM . | in FILM , ACTOR PLAYED ROLE .
FILM<film+year> -> ACTOR APPEARED in FILM in YEAR . | in YEAR , ACTOR APPEARED in FILM .
FILM<director+film> -> ACTOR APPEARED in FILM , DIRECTED by DIRECTOR . | DIRECTOR DIRECTED ACTOR in FILM .
FILM<film+role+year> -> in YEAR , ACTOR PLAYED ROLE in FILM . | ACTOR PLAYED ROLE in the YEAR film FILM .
FILM<director+film+role> -> ACTOR PLAYED ROLE in FILM , DIRECTED by DIRECTOR .
  | in FILM , DIRECTED by DIRECTOR , ACTOR PLAYED ROLE .
FILM<director+film+role+year> -> in YEAR , ACTOR PLAYED ROLE in FILM , DIRECTED by DIRECTOR .
  | ACTOR PLAYED ROLE in the YEAR film FILM by DIRECTOR .

MATCH<opponent+score> -> TEAM BEAT OPPONENT SCORE . | OPPONENT lost SCORE to TEAM .
MATCH<month+opponent> -> TEAM MET OPPONENT in MONTH . | in MONTH , TEAM MET OPPONENT .
MATCH<month+opponent+score> -> in MONTH , TEAM BEAT OPPONENT SCORE . | TEAM BEAT OPPONENT SCORE in MONTH .
MATCH<crowd+opponent+score> -> TEAM BEAT OPPONENT SCORE in front of CROWD people .
  | CROWD people WATCHED TEAM win SCORE against OPPONENT .
MATCH<crowd+month+opponent> -> in MONTH , CROWD people WATCHED TEAM against OPPONENT .
  | TEAM MET OPPONENT in MONTH in front of CROWD people .
MATCH<crowd+month+opponent+score> -> in MONTH , TEAM BEAT OPPONENT SCORE in front of CROWD people .
  | CROWD people WATCHED TEAM win SCORE against OPPONENT in MONTH .

BUILDING<building+height> -> BUILDING is HEIGHT TALL . | at HEIGHT , BUILDING rises over TOWN .
BUILDING<building+floors> -> BUILDING HAS FLOORS floors . | there are FLOORS floors in BUILDING .
BUILDING<building+year> -> BUILDING in TOWN WAS BUILT in YEAR . | in YEAR , BUILDING WAS BUILT in TOWN .
BUILDING<building+floors+height> -> BUILDING is HEIGHT TALL and HAS FLOORS floors .
  | with FLOORS floors , BUILDING is HEIGHT TALL .
BUILDING<building+floors+year> -> BUILDING , BUILT in YEAR , HAS FLOORS floors .
  | with FLOORS floors , BUILDING WAS BUILT in TOWN in YEAR .
BUILDING<building+floors+height+year> -> BUILDING , BUILT in YEAR , is HEIGHT TALL and HAS FLOORS floors .
  | with FLOORS floors , BUILDING is HEIGHT TALL and WAS BUILT in YEAR .

ALBUM<album+year> -> in YEAR , BAND RELEASED ALBUM . | BAND RELEASED ALBUM in YEAR .
ALBUM<album+label> -> BAND RELEASED ALBUM on LABEL records . | ALBUM by BAND CAME out on LABEL records .
ALBUM<album+peak> -> ALBUM REACHED number PEAK . | BAND REACHED number PEAK with ALBUM .
ALBUM<album+label+year> -> in YEAR , BAND RELEASED ALBUM on LABEL records .
  | ALBUM by BAND CAME out on LABEL records in YEAR .
ALBUM<album+peak+year> -> in YEAR , BAND REACHED number PEAK with ALBUM .
  | ALBUM CAME out in YEAR and REACHED number PEAK .
ALBUM<album+label+peak+year> -> in YEAR , ALBUM CAME out on LABEL records and REACHED number PEAK .
  | BAND RELEASED ALBUM on LABEL records in YEAR and REACHED number PEAK .

WAS -> was
HAS -> has @9 | contains
NAMED -> named @9 | nominated
WON -> won @9 | received
VOTED -> voted @9 | cast their ballots
RAN -> ran @9 | stood
PLAYED -> played @9 | portrayed
APPEARED -> appeared @9 | starred
DIRECTED -> directed
BEAT -> beat @9 | defeated
MET -> met @9 | faced
WATCHED -> watched @9 | saw
TALL -> tall @9 | high
BUILT -> built @9 | completed
RELEASED -> released @9 | published
CAME -> came
REACHED -> reached @9 | peaked at

CANDIDATE -> FIRST LAST
DIRECTOR -> FIRST LAST
ACTOR -> FIRST LAST
ROLE -> the JOB
FILM -> the LOOK THING
ALBUM -> LOOK THINGS
BUILDING -> LAST tower | LAST house | THING tower
BAND -> the THINGS
TEAM -> TOWN ANIMALS
OPPONENT -> TOWN ANIMALS
SCORE -> GOALS - FEWER
HEIGHT -> NUMBER METERS
METERS -> meters
VOTES -> HUNDREDS
CROWD -> HUNDREDS
FLOORS -> NUMBER
PEAK -> SMALL
GOALS -> 3 | 4 | 5
FEWER -> 0 | 1 | 2
"""

_WORDS = {
    "FIRST": "adam anna carl clara dora emil eva felix grace henry ida leo mark nora rosa victor",
    "LAST": "adler baker carter evans fisher hall hill hunt lane miller morgan parker reed stone turner west",
    "TOWN": "ashford camden dover easton harlow kingston milton newport oakland preston quincy salem trenton upton",
    "ANIMALS": "bears eagles hawks lions rangers sharks tigers wolves",
    "LOOK": "black blue cold dark golden hidden lost quiet red secret silver wild",
    "THING": "bridge forest garden harbor island moon mountain river storm summer valley winter",
    "THINGS": "angels birds clouds dreams fires lights mirrors roads shadows stones voices waves",
    "JOB": "captain cook doctor farmer judge king lawyer nurse pilot priest queen sailor soldier teacher thief",
    "PARTY": "citizens farmers green labor liberal national reform workers",
    "LABEL": "apex atlas crown delta echo meteor orbit pioneer",
    "MONTH": "january march april may june august october december",
    "YEAR": "1961 1964 1968 1972 1975 1979 1983 1986 1990 1994 1997 1999 2003 2006 2011 2015",
    "NUMBER": "24 27 31 36 38 42 45 49 53 57 60 64 72 75 81 88",
    "SMALL": "1 2 3 4 5 6 7 8 9 10",
    "HUNDREDS": "1,200 1,700 2,100 2,500 2,900 3,400 3,800 4,300 4,600 5,100 5,700 6,200 6,800 7,300 7,900 8,400",
}

TABLE = RuleTable(
    "\n".join([_SENTENCES, *(f"{symbol} -> {' | '.join(words.split())}" for symbol, words in _WORDS.items())]), {}
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of page.

    Attributes:
        symbol: its sentences are `symbol<cells>`, the names of columns in alphabetical order, joined by `+`.
        page: what its title is.
        columns: of its table; a column's values are what its name in capitals stands for.
    """

    symbol: str
    page: str
    columns: tuple[str, ...]

    def sentence(self, cells: tuple[str, ...]) -> str:
        """Return the symbol of sentences about these columns, in alphabetical order."""
        return f"{self.symbol}<{'+'.join(cells)}>"


#: Kinds of pages by the title of their section.
KINDS = {
    "mayor elections": Kind("ELECTION", "TOWN", ("year", "candidate", "party", "votes")),
    "films": Kind("FILM", "ACTOR", ("year", "film", "role", "director")),
    "season": Kind("MATCH", "TEAM", ("month", "opponent", "score", "crowd")),
    "tall buildings": Kind("BUILDING", "TOWN", ("building", "height", "floors", "year")),
    "albums": Kind("ALBUM", "BAND", ("year", "album", "label", "peak")),
}

#: Columns that there are sentences about, by the title of the section.
SHAPES = {
    section: [
        tuple(symbol.removesuffix(">").partition("<")[2].split("+"))
        for symbol in TABLE.symbols
        if symbol.startswith(f"{kind.symbol}<")
    ]
    for section, kind in KINDS.items()
}
