from __future__ import annotations

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.tasks import build
from rl4lms.tasks.translation import grammar, news, talks
from rl4lms.tasks.translation.words import article, ending
from rl4lms.tasks.translation.writer import Clause, Phrase, english, inverted, main_clauses, subordinate
from tests.marks import slow_but
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, mini_task, train_from_start

RIGHT = """
heute hat die junge tante die idee in einem garten erklärt .
der student vertraut einem klugen kollegen .
ich habe keine neuen briefe geschrieben .
wir warten nicht auf den arzt .
die tochter ist zurückgekommen .
wenn der lehrer den computer ausschaltet , lacht das kind .
das kind lacht , weil unsere freunde heute angekommen sind .
die kanzlerin kündigt an , dass die regierung das gesetz ablehnen muss .
am montag stimmt die partei dem vorschlag nicht zu .
"""

# each is one of the above, or nearly, with one error
WRONG = """
heute die junge tante hat die idee in einem garten erklärt .
heute hat die junge tante erklärt die idee in einem garten .
heute hat die jungen tante die idee in einem garten erklärt .
heute hat die junge tante der idee in einem garten erklärt .
heute hat die junge tante die idee in einen garten erklärt .
heute hat die junge tante die idee in dem garten erklärt .
der student vertraut einen klugen kollegen .
der student vertraut einem klugen kollege .
der student vertraut einem kluger kollegen .
ein neuen computer ist gut .
der neuer computer ist gut .
das alte lehrer lacht .
ich habe nicht neue briefe geschrieben .
ich hat keine neuen briefe geschrieben .
ich habe keine neue briefe geschrieben .
wir warten auf den arzt nicht .
wir warten nicht auf dem arzt .
die tochter hat zurückgekommen .
die tochter ist zurückkommt .
das kind fängt den kurs an .
der kurs anfängt heute .
der kurs fängt heute .
wenn der lehrer schaltet den computer aus , lacht das kind .
wenn der lehrer den computer ausschaltet , das kind lacht .
das kind lacht , weil unsere freunde sind heute angekommen .
das kind lacht , weil unsere freunde heute sind angekommen .
das kind lacht weil unsere freunde heute angekommen sind .
die regierung ablehnt das gesetz .
die kanzlerin kündigt an , dass die regierung muss das gesetz ablehnen .
die kanzlerin muss das gesetz ablehnt .
am montag stimmt die partei nicht dem vorschlag zu .
am montag stimmt die partei den vorschlag zu .
die studenten lacht .
das kind lacht gestern .
das kind lacht
"""


def perfect(sample, text):
    return float(grammar.adequate(text, sample.meta["translations"]))


@pytest.mark.parametrize("name", slow_but(["iwslt2017", "wmt16"], ["iwslt2017"]))
def test_the_editions(name):
    check_mini(name, perfect)
    check_base_data(name)


def test_what_is_german_and_what_is_not():
    right, wrong = RIGHT.strip().splitlines(), WRONG.strip().splitlines()
    assert [text for text in right if not grammar.derivable(text)] == []
    assert [text for text in wrong if grammar.derivable(text)] == []
    known = {*talks.vocabulary(), *news.vocabulary()}
    assert {word for text in wrong for word in text.split()} <= known  # the words alone would not be wrong


@pytest.mark.parametrize("world", slow_but([talks, news], [news]))
def test_the_reader_derives_what_is_written_and_few_errors(world):
    rows = [world.example(0, index) for index in range(150)]
    assert all(grammar.derivable(text) for row in rows for text in row.meta["translations"])
    assert broken_share([row.references[0] for row in rows], grammar.derivable) > 0.9


def test_legal_orders_by_hand():
    """Against all that two clauses may be in German, written down by hand."""
    nouns, times = talks.LEXICON.nouns, {time.english: time for time in talks.LEXICON.times}
    verbs = {verb.english[0]: verb for verb in talks.LEXICON.verbs}
    teacher, idea, garden = nouns["who"][0], nouns["idea"][0], nouns["place"][3]
    a_new_idea = Phrase("a", idea, False, ("new", "neu"))
    clause = Clause(
        subject=Phrase("the", teacher, False),
        verb=verbs["present"],
        tense="past",
        target=a_new_idea,
        time=times["today"],
        place=Phrase("the", garden, False),
    )
    assert english(clause) == "the teacher presented a new idea in the garden today"
    assert english(clause, front=True) == "today , the teacher presented a new idea in the garden"
    assert main_clauses(clause, front=True)[0].startswith("heute hat der lehrer ")
    assert set(main_clauses(clause)) == {
        "der lehrer hat heute im garten eine neue idee vorgestellt",
        "der lehrer hat heute eine neue idee im garten vorgestellt",
        "heute hat der lehrer im garten eine neue idee vorgestellt",
        "heute hat der lehrer eine neue idee im garten vorgestellt",
        "im garten hat der lehrer heute eine neue idee vorgestellt",
    }
    negated = Clause(
        subject="we", verb=verbs["present"], tense="want", negation="not", target=a_new_idea, time=times["today"]
    )
    assert english(negated) == "we do not want to present a new idea today"
    assert main_clauses(negated) == [
        "wir wollen heute keine neue idee vorstellen",
        "heute wollen wir keine neue idee vorstellen",
    ]
    assert subordinate(negated) == ["wir heute keine neue idee vorstellen wollen"]
    present = Clause(
        subject="she", verb=verbs["present"], tense="present", negation="not", target=Phrase("this", idea, True)
    )
    assert english(present) == "she does not present these ideas"
    assert main_clauses(present) == ["sie stellt diese ideen nicht vor"]
    assert inverted(present) == ["stellt sie diese ideen nicht vor"]
    assert subordinate(present) == ["sie diese ideen nicht vorstellt"]


def test_determiners_and_endings():
    """Against the paradigms of a school grammar: of `alt`, after `der`, `ein` and `zwei`."""
    table = {
        ("the", "nom"): ("der alte", "die alte", "das alte", "die alten"),
        ("the", "acc"): ("den alten", "die alte", "das alte", "die alten"),
        ("the", "dat"): ("dem alten", "der alten", "dem alten", "den alten"),
        ("no", "nom"): ("kein alter", "keine alte", "kein altes", "keine alten"),
        ("no", "acc"): ("keinen alten", "keine alte", "kein altes", "keine alten"),
        ("no", "dat"): ("keinem alten", "keiner alten", "keinem alten", "keinen alten"),
        ("this", "nom"): ("dieser alte", "diese alte", "dieses alte", "diese alten"),
        ("this", "acc"): ("diesen alten", "diese alte", "dieses alte", "diese alten"),
        ("this", "dat"): ("diesem alten", "dieser alten", "diesem alten", "diesen alten"),
    }
    for (determiner, case), forms in table.items():
        for gender, form in zip("mfnp", forms, strict=True):
            assert f"{article(determiner, case, gender)} alt{ending(determiner, case, gender)}" == form
    assert [article("a", "acc", "p"), ending("a", "acc", "p"), ending("two", "dat", "p")] == ["", "e", "en"]


def test_adequate_is_a_translation_of_the_source():
    translations = ("das kind lacht heute .", "heute lacht das kind .")
    assert grammar.grammar_metric(
        ["heute lacht das kind .", "das kind schläft heute .", "das kind heute lacht ."], [translations] * 3
    ) == {"derivable": [1.0, 1.0, 0.0], "adequate": [1.0, 0.0, 0.0]}
    with pytest.raises(DataError, match="translations"):
        grammar.grammar_metric(["x"])


def test_gold_measures_are_no_rewards_and_multi30k_is_real():
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("translation_grammar")
    assert mini_task("wmt16").models["base"].architecture == "gpt2"
    assert build("multi30k").edition == "full"
    with pytest.raises(ConfigError, match="real data only"):
        build("multi30k", edition="mini")


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("iwslt2017", tmp_path, monkeypatch)
    assert numbers["eval/derivable"] >= 0
    assert numbers["eval/sentence_sacrebleu"] > 3  # of random words: below 1; of this short training: 7
