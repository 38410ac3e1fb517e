"""The words of the mini edition of `iwslt2017`: people talk about ideas, machines and experiments."""

from __future__ import annotations

from rl4lms.tasks.translation.words import Lexicon
from rl4lms.tasks.translation.writer import World

# classes: singular plural gender singular plural; w is a masculine noun with -n or -en in all but the nominative
_NOUNS = """
who: teacher teachers m lehrer lehrer; student students w student studenten; child children n kind kinder;
  mother mothers f mutter mütter; brother brothers m bruder brüder; researcher researchers m forscher forscher;
  doctor doctors m arzt ärzte; friend friends m freund freunde; colleague colleagues w kollege kollegen;
  daughter daughters f tochter töchter; engineer engineers m ingenieur ingenieure; aunt aunts f tante tanten
text: book books n buch bücher; letter letters m brief briefe; story stories f geschichte geschichten;
  message messages f nachricht nachrichten; question questions f frage fragen
idea: idea ideas f idee ideen; problem problems n problem probleme; answer answers f antwort antworten;
  solution solutions f lösung lösungen
machine: computer computers m computer computer; robot robots m roboter roboter; machine machines f maschine maschinen;
  car cars n auto autos; phone phones n telefon telefone
event: project projects n projekt projekte; experiment experiments n experiment experimente;
  game games n spiel spiele; course courses m kurs kurse
place: school schools f schule schulen; city cities f stadt städte; village villages n dorf dörfer;
  garden gardens m garten gärten; house houses n haus häuser
"""

# base third past | prefix i-form he-form they-form participle, h for haben and s for sein | preposition and case of the
# object | subjects | objects | whether it may happen somewhere
_VERBS = """
love loves loved | - liebe liebt lieben geliebt h | acc | who | text idea machine |
write writes wrote | - schreibe schreibt schreiben geschrieben h | acc | who | text | in
understand understands understood | - verstehe versteht verstehen verstanden h | acc | who | text idea |
find finds found | - finde findet finden gefunden h | acc | who | idea machine | in
explain explains explained | - erkläre erklärt erklären erklärt h | acc | who | idea event | in
build builds built | - baue baut bauen gebaut h | acc | who | machine | in
use uses used | - benutze benutzt benutzen benutzt h | acc | who | machine | in
see sees saw | - sehe sieht sehen gesehen h | acc | who | who machine | in
present presents presented | vor stelle stellt stellen vorgestellt h | acc | who | idea event machine | in
test tests tested | aus probiere probiert probieren ausprobiert h | acc | who | idea machine | in
switch_off switches_off switched_off | aus schalte schaltet schalten ausgeschaltet h | acc | who | machine |
call calls called | an rufe ruft rufen angerufen h | acc | who | who |
invite invites invited | ein lade lädt laden eingeladen h | acc | who | who |
help helps helped | - helfe hilft helfen geholfen h | dat | who | who | in
thank thanks thanked | - danke dankt danken gedankt h | dat | who | who |
trust trusts trusted | - vertraue vertraut vertrauen vertraut h | dat | who | who machine |
listen_to listens_to listened_to | zu höre hört hören zugehört h | dat | who | who | in
wait_for waits_for waited_for | - warte wartet warten gewartet h | auf acc | who | who text |
talk_about talks_about talked_about | - spreche spricht sprechen gesprochen h | über acc | who | idea event |
work_with works_with worked_with | - arbeite arbeitet arbeiten gearbeitet h | mit dat | who | who machine |
begin begins began | an fange fängt fangen angefangen h | | event | | in
laugh laughs laughed | - lache lacht lachen gelacht h | | who | | in
sleep sleeps slept | - schlafe schläft schlafen geschlafen h | | who | | in
arrive arrives arrived | an komme kommt kommen angekommen s | | who | | in
come_back comes_back came_back | zurück komme kommt kommen zurückgekommen s | | who | |
travel travels traveled | - reise reist reisen gereist s | | who | |
get_up gets_up got_up | auf stehe steht stehen aufgestanden s | | who | |
stay stays stayed | - bleibe bleibt bleiben geblieben s | | who | | in
"""

# takes a clause with `that`
_SAYING = """
say says said | - sage sagt sagen gesagt h
know knows knew | - weiß weiß wissen gewusst h
believe believes believed | - glaube glaubt glauben geglaubt h
hope hopes hoped | - hoffe hofft hoffen gehofft h
"""

_ADJECTIVES = """
who: young jung; old alt; good gut; clever klug; happy glücklich
text: new neu; long lang; good gut; important wichtig; simple einfach
idea: new neu; good gut; important wichtig; simple einfach
machine: new neu; old alt; small klein; large groß; good gut
event: new neu; long lang; important wichtig; interesting interessant
place: small klein; large groß; old alt; beautiful schön
"""

# tenses: ...; `*` marks how often, which no negation goes with
_TIMES = """
present past modal: today heute; this_week diese_woche
present modal: now jetzt; every_day* jeden_tag
past: yesterday gestern; last_year letztes_jahr
modal: tomorrow morgen
present past: often* oft
"""

LEXICON = Lexicon(_NOUNS, _VERBS, _SAYING, _ADJECTIVES, _TIMES, pronouns="i we he she they", own="my our")
WORLD = World("iwslt2017", LEXICON)
example, vocabulary = WORLD.example, WORLD.vocabulary
