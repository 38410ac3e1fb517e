"""The words of the mini edition of `wmt16`: politics, business and courts."""

from __future__ import annotations

from rl4lms.tasks.translation.words import Lexicon
from rl4lms.tasks.translation.writer import World

# The columns are those of `talks`.
_NOUNS = """
who: minister ministers m minister minister; president presidents w präsident präsidenten;
  mayor mayors m bürgermeister bürgermeister; journalist journalists w journalist journalisten;
  judge judges m richter richter; chancellor chancellors f kanzlerin kanzlerinnen; lawyer lawyers m anwalt anwälte;
  worker workers m arbeiter arbeiter; expert experts w experte experten; witness witnesses w zeuge zeugen
group: government governments f regierung regierungen; company companies f firma firmen;
  party parties f partei parteien; bank banks f bank banken; court courts n gericht gerichte;
  country countries n land länder
law: law laws n gesetz gesetze; plan plans m plan pläne; proposal proposals m vorschlag vorschläge;
  contract contracts m vertrag verträge; reform reforms f reform reformen
report: report reports m bericht berichte; interview interviews n interview interviews; study studies f studie studien
building: bridge bridges f brücke brücken; airport airports m flughafen flughäfen; factory factories f fabrik fabriken;
  road roads f straße straßen; hospital hospitals n krankenhaus krankenhäuser
money: tax taxes f steuer steuern; price prices m preis preise
contest: election elections f wahl wahlen; trial trials m prozess prozesse
event: meeting meetings f sitzung sitzungen; strike strikes m streik streiks
danger: war wars m krieg kriege; crisis crises f krise krisen
place: capital capitals f hauptstadt hauptstädte; region regions f region regionen; center centers n zentrum zentren;
  harbor harbors m hafen häfen
"""

_VERBS = """
reject rejects rejected | ab lehne lehnt lehnen abgelehnt h | acc | who group | law |
sign signs signed | - unterschreibe unterschreibt unterschreiben unterschrieben h | acc | who | law | in
present presents presented | vor stelle stellt stellen vorgestellt h | acc | who group | law report | in
discuss discusses discussed | - bespreche bespricht besprechen besprochen h | acc | who | law report | in
change changes changed | - ändere ändert ändern geändert h | acc | who group | law |
support supports supported | - unterstütze unterstützt unterstützen unterstützt h | acc | who group | law group |
criticize criticizes criticized | - kritisiere kritisiert kritisieren kritisiert h | acc | who group | law report who |
publish publishes published | - veröffentliche veröffentlicht veröffentlichen veröffentlicht h | acc | group | report |
examine examines examined | - prüfe prüft prüfen geprüft h | acc | who group | law report |
build builds built | - baue baut bauen gebaut h | acc | group | building | in
close closes closed | - schließe schließt schließen geschlossen h | acc | group | building | in
open opens opened | - eröffne eröffnet eröffnen eröffnet h | acc | who group | building | in
raise raises raised | - erhöhe erhöht erhöhen erhöht h | acc | group | money |
lower lowers lowered | - senke senkt senken gesenkt h | acc | group | money |
win wins won | - gewinne gewinnt gewinnen gewonnen h | acc | who group | contest |
lose loses lost | - verliere verliert verlieren verloren h | acc | who group | contest |
cancel cancels canceled | ab sage sagt sagen abgesagt h | acc | who group | event |
help helps helped | - helfe hilft helfen geholfen h | dat | who group | who group | in
thank thanks thanked | - danke dankt danken gedankt h | dat | who | who |
trust trusts trusted | - vertraue vertraut vertrauen vertraut h | dat | who group | who group |
agree_to agrees_to agreed_to | zu stimme stimmt stimmen zugestimmt h | dat | who group | law |
warn_of warns_of warned_of | - warne warnt warnen gewarnt h | vor dat | who group | danger |
wait_for waits_for waited_for | - warte wartet warten gewartet h | auf acc | who group | report law |
talk_about talks_about talked_about | - spreche spricht sprechen gesprochen h | über acc | who | law danger |
work_with works_with worked_with | - arbeite arbeitet arbeiten gearbeitet h | mit dat | who group | who group |
vote_against votes_against voted_against | - stimme stimmt stimmen gestimmt h | gegen acc | who | law |
begin begins began | an fange fängt fangen angefangen h | | event contest | | in
take_place takes_place took_place | statt finde findet finden stattgefunden h | | event contest | | in
fail fails failed | - scheitere scheitert scheitern gescheitert s | | law | |
rise rises rose | - steige steigt steigen gestiegen s | | money | | in
arrive arrives arrived | an komme kommt kommen angekommen s | | who | | in
resign resigns resigned | zurück trete tritt treten zurückgetreten s | | who | |
protest protests protested | - protestiere protestiert protestieren protestiert h | | who | | in
"""

_SAYING = """
say says said | - sage sagt sagen gesagt h
announce announces announced | an kündige kündigt kündigen angekündigt h
explain explains explained | - erkläre erklärt erklären erklärt h
fear fears feared | - befürchte befürchtet befürchten befürchtet h
"""

_ADJECTIVES = """
who: young jung; old alt; new neu; famous bekannt
group: new neu; small klein; large groß; strong stark
law: new neu; important wichtig; good gut; simple einfach
report: new neu; long lang; important wichtig; secret geheim
building: new neu; old alt; small klein; large groß
money: new neu; low niedrig
contest: long lang; important wichtig
event: long lang; important wichtig
danger: new neu; long lang; dangerous gefährlich
place: large groß; new neu; small klein; old alt
"""

_TIMES = """
present past modal: today heute; on_monday am_montag; on_friday am_freitag; this_year dieses_jahr
past: yesterday gestern; last_week letzte_woche
modal: tomorrow morgen; soon* bald
present past: often* oft
"""

LEXICON = Lexicon(_NOUNS, _VERBS, _SAYING, _ADJECTIVES, _TIMES, pronouns="he she they", own="our")
WORLD = World("wmt16", LEXICON)
example, vocabulary = WORLD.example, WORLD.vocabulary
