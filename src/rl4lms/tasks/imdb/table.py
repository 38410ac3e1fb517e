"""The rule table of the mini edition: short movie reviews whose sentiment is known.

`<p>` is the polarity that a phrase expresses and `<q>` the opposite one; `<n>` is grammatical number. What decides a
sentiment:

* a negator (`not`, `never`, `hardly`, `far from`, `had no`, `lacked`, ...) expresses the opposite of what it stands
  before;
* in `although X , Y`, `X , but Y`, `despite X , Y` and `Y even though X` the clause Y decides;
* what others said or what was expected decides nothing;
* the last sentence of a review that has a polarity decides.
"""

from __future__ import annotations

from rl4lms.tasks.rules import RuleTable

_RULES = """
REVIEW<p> -> PLOT TURN<p> TURN<p> @9 | PLOT TURN<q> TURN<p> @2 | TURN<p> TURN<p> @5 | TURN<q> TURN<p> @2 | PLOT TURN<p> @3
  | TURN<p> PLOT TURN<p> @2 | TURN<p> TURN<p> ASIDE @3 | TURN<q> TURN<p> ASIDE | PLOT TURN<p> ASIDE @2

# Sentences. TURN has a polarity, PLOT and ASIDE have none.
TURN<p> -> POINT<p> . @10 | LEAD , POINT<p> . @6 | CLAUSE<p> and CLAUSE<p> . @8 | although CLAUSE<q> , POINT<p> . @3
  | CLAUSE<q> , but POINT<p> . @3 | CLAUSE<p> even though CLAUSE<q> . | despite THING<q> , POINT<p> . @2
  | although CLAUSE<q> , CLAUSE<p> , and SUMMING VERDICT<p> . @2 | HEARSAY<q> , but POINT<p> . @2
POINT<p> -> CLAUSE<p> @3 | VERDICT<p>
LEAD -> SUMMING | still | however | honestly | frankly | for me | for once | to be fair
SUMMING -> overall | in the end | all in all
HEARSAY<p> -> PEOPLE<n> SAID that CLAUSE<p> | i expected AN:PRIZE<p> | critics called it AN:PRIZE<p>
  | the poster promised AN:ADJ<p> MOVIE<sg>
SAID -> said | insisted | claimed | wrote | told me | warned me

# Clauses with a polarity.
CLAUSE<p> -> ASPECT<n> BE<n> JUDGED<p> @6 | ASPECT<n> SEEM<n> SHADED<p> @2 | ASPECT<n> AFFECTED<p> ME @4 | ASPECT<n> OFFERED<p> @3
  | ASPECT<n> SHOW<n> DEGREE QUALITY<p> | ASPECT<n> DO<n> not SHOW<pl> any QUALITY<q> @0.3
JUDGED<p> -> SHADED<p> @8 | NOT ADJ<q> | not ADVERB ADJ<q> @0.5 | both ADJ<p> and ADJ<p> @0.5
SHADED<p> -> ADJ<p> @6 | ADVERB ADJ<p> @4 | NEARLY ADJ<q> @0.5
NOT -> not @3 | never @3 | hardly @2 | not at all
NEARLY -> far from | anything but
AFFECTED<p> -> MOVED<p> @20 | never MOVED<q> @2 | did not MOVE<q> @2
AFFECTED<neg> -> failed to MOVE<pos>
AFFECTED<pos> -> managed to MOVE<pos>
OFFERED<p> -> had DEGREE QUALITY<p> @12 | had no QUALITY<q> | lacked QUALITY<q> | came without QUALITY<q>
DEGREE -> plenty of | a lot of | enough | so much
ME -> me @3 | us | everyone | the audience
VERDICT<p> -> i LIKED<p> IT @12 | i did not LIKE<pl><q> IT | i never LIKED<q> IT | PEOPLE<n> LIKE<n><p> IT @5
  | PEOPLE<n> DO<n> not LIKE<pl><q> IT | this MOVIE<sg> BE<sg> AN:PRIZE<p> @5 | this MOVIE<sg> BE<sg> NOT AN:PRIZE<q> | i would URGE<p>
URGE<pos> -> gladly recommend it to ANYONE | happily watch it again | not miss it
URGE<neg> -> never recommend it to ANYONE | not watch it again | rather miss it
ANYONE -> anyone | a friend | my family
IT -> it @3 | this MOVIE<sg> | every minute of it | the whole thing | MOMENT_NP<n>
THING<p> -> the ADJ<p> PART<n> @2 | the QUALITY<p> of the PART<n> | THIS<n> ADJ<p> MOMENT<n>

# Noun phrases: determiner and noun agree in number, and so does the verb that follows.
ASPECT<n> -> the PART<n> @5 | MOMENT_NP<n> @2 | THIS<n> MOVIE<n> | THE_NAME PART<n>
MOMENT_NP<n> -> the OPENING MOMENT<n> | THIS<n> MOMENT<n> | MOST<n> MOMENT<n>
THIS<sg> -> this
THIS<pl> -> these
MOST<sg> -> every | each | almost every
MOST<pl> -> most | many | all the | several
THE_NAME -> the PERIOD
PERIOD -> modern | french | british | american | classical
OPENING -> opening | final | last | first | middle
BE<sg> -> was @3 | is
BE<pl> -> were @3 | are
DO<sg> -> does
DO<pl> -> do
SEEM<n> -> seemed @2 | felt | looked | sounded
SEEM<sg> -> seems | feels
SEEM<pl> -> seem | feel
SHOW<sg> -> shows | has | contains
SHOW<pl> -> show | have | contain

# Sentences without a polarity.
PLOT -> the STORY<sg> FOLLOWS<sg> HERO<n> who GOAL<n> . @3 | HERO<n> GOAL<n> WHEN . @2 | it FOLLOWS<sg> HERO<n> in PLACE .
  | NAME plays HERO<sg> who GOAL<sg> .
  | set in PLACE , it FOLLOWS<sg> HERO<n> who GOAL<n> . @2 | WHEN , HERO<n> GOAL<n> . @2 | the STORY<pl> FOLLOWS<pl> HERO<n> who GOAL<n> .
ASIDE -> i WATCHED it OCCASION . @2 | i WATCHED it with PEOPLE<n> OCCASION . | it was filmed in PLACE .
  | the MAKER<sg> BE<sg> NAME . | it runs for NUMBER hours .
  | NAME BE<sg> the MAKER<sg> , and NAME BE<sg> the MAKER<sg> .
WATCHED -> watched | saw | rented | streamed
OCCASION -> on DAY | last DAY | on a DAY DAYTIME | at home | on a train | at the festival
DAY -> monday | tuesday | wednesday | thursday | friday | saturday | sunday
DAYTIME -> morning | afternoon | evening | night
NUMBER -> two | three | four
MAKER<sg> -> director | writer | producer | editor | composer
STORY<sg> -> story | tale | film | movie
STORY<pl> -> chapters | episodes
FOLLOWS<sg> -> follows | introduces | describes
FOLLOWS<pl> -> follow | introduce | describe
HERO<sg> -> AN:TRAIT PERSON<sg> @3 | AN:PERSON<sg> | NAME , AN:TRAIT PERSON<sg> ,
HERO<pl> -> NUMBER TRAIT PERSON<pl> @2 | NUMBER PERSON<pl> | NAME and NAME
GOAL<n> -> RETURN<n> to PLACE @2 | SEARCH<n> for TARGET @2 | FIND<n> TARGET in PLACE @2 | MEET<n> AN:PERSON<sg> WHEN | must find TARGET
  | must travel to PLACE | WANT<n> to find TARGET | WANT<n> to leave PLACE
RETURN<sg> -> returns | travels | moves | escapes
RETURN<pl> -> return | travel | move | escape
SEARCH<sg> -> searches | looks | waits
SEARCH<pl> -> search | look | wait
FIND<sg> -> finds | hides | discovers | buys | steals | loses
FIND<pl> -> find | hide | discover | buy | steal | lose
MEET<sg> -> meets | follows | marries | visits | interviews
MEET<pl> -> meet | follow | marry | visit | interview
WANT<sg> -> wants | decides | plans | promises
WANT<pl> -> want | decide | plan | promise
TARGET -> AN:SECRET | the missing SECRET | AN:OLDNESS SECRET
WHEN -> after the war | during a storm | one summer | on a train | before the wedding | in winter | at midnight | one morning
PLACE -> AN:SIZE SITE @3 | CITY @2 | the SITE
"""

# Word lists: SYMBOL = one alternative per word.
_WORDS = """
ADJ<pos> = superb brilliant wonderful great excellent good charming clever moving gripping fresh beautiful delightful funny memorable
  convincing powerful thrilling touching inspired stunning fantastic amazing smart witty elegant engaging marvelous perfect remarkable
  enjoyable hilarious impressive graceful lovely warm original sharp terrific splendid
ADJ<neg> = dull awful terrible bad boring weak poor horrible lazy clumsy stupid tedious predictable flat silly forgettable wooden messy
  confusing annoying painful dreadful lifeless pointless shallow stale bland ridiculous cheap sloppy hollow tired laughable empty
  pathetic unbearable cliched ugly dreary mediocre
ADVERB = really truly very quite simply absolutely utterly rather deeply so always often
QUALITY<pos> = charm wit heart depth energy style passion soul tension imagination grace magic warmth suspense
QUALITY<neg> = nonsense noise filler boredom vulgarity confusion pretension sentimentality padding gore repetition chaos
MOVED<pos> = impressed delighted moved charmed amazed thrilled touched amused captivated enchanted
MOVED<neg> = bored annoyed disappointed irritated confused insulted disgusted frustrated bothered exhausted
MOVE<pos> = impress delight move charm amaze thrill touch amuse captivate enchant
MOVE<neg> = bore annoy disappoint irritate confuse insult disgust frustrate bother exhaust
LIKED<pos> = loved enjoyed adored liked admired treasured
LIKED<neg> = hated disliked despised regretted loathed resented
LIKE<sg><pos> = loves enjoys adores likes admires treasures
LIKE<sg><neg> = hates dislikes despises regrets loathes resents
LIKE<pl><pos> = love enjoy adore like admire treasure
LIKE<pl><neg> = hate dislike despise regret loathe resent
PRIZE<pos> = masterpiece gem triumph delight treat classic joy success wonder winner
PRIZE<neg> = disaster mess waste failure flop disappointment embarrassment chore insult letdown
MOVIE<sg> = film movie picture drama comedy thriller sequel remake western romance mystery musical
MOVIE<pl> = films movies pictures dramas comedies thrillers sequels remakes westerns romances mysteries musicals
PART<sg> = plot script acting cast direction music score camera dialogue ending pacing cinematography editing soundtrack premise
  atmosphere humor lighting casting villain hero director screenplay narration animation photography choreography
PART<pl> = actors characters effects costumes visuals sets villains heroes writers extras performers animals stunts actresses
MOMENT<sg> = scene joke twist line song performance sequence chase fight speech dance duel
MOMENT<pl> = scenes jokes twists lines songs performances sequences chases fights speeches dances duels
TRAIT = young old lonely retired famous rich quiet stubborn shy nervous former ambitious honest wounded
PERSON<sg> = detective soldier teacher doctor lawyer thief writer pilot farmer nurse singer painter priest spy boxer chef student widow
  sailor reporter
PERSON<pl> = detectives soldiers teachers doctors lawyers thieves writers pilots farmers nurses singers painters priests spies boxers
  chefs students widows sailors reporters
SECRET = painting diary map letter treasury key brother sister child horse ring manuscript witness necklace suitcase photograph
OLDNESS = ancient stolen forgotten hidden golden unknown
SIZE = small distant crowded abandoned coastal northern remote
SITE = town city island village farm castle hotel school hospital prison desert forest harbor museum ship station
CITY = paris london berlin rome tokyo vienna chicago lisbon
NAME = anna ben clara david emma frank grace henry iris jack kate leo maria nora oscar paul
"""

_PEOPLE = """
PEOPLE<sg> -> my RELATIVE<sg> @2 | everybody | the critic from CITY
PEOPLE<pl> -> my RELATIVE<pl> @2 | most critics | some viewers | the critics
RELATIVE<sg> -> wife | husband | friend | brother | sister | neighbor | mother | father
RELATIVE<pl> -> friends | brothers | sisters | neighbors | parents | cousins
"""


def _word_rules(text: str) -> str:
    """`SYMBOL = a b c` as rules `SYMBOL -> a | b | c`."""
    rules = []
    for line in text.strip().splitlines():
        rules.append(
            ("  | " if line[0].isspace() else "")
            + " | ".join(line.replace(" = ", " -> ", 1).split()).replace("| -> |", "->")
        )
    return "\n".join(rules)


OPPOSITE = {"pos": "neg", "neg": "pos"}

TABLE = RuleTable(
    _RULES + _PEOPLE + _word_rules(_WORDS),
    features={"p": ("pos", "neg"), "n": ("sg", "pl")},
    linked={"q": ("p", OPPOSITE)},
)
