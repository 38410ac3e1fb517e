from __future__ import annotations

import pytest

from rl4lms import rewards
from rl4lms.errors import ConfigError, DataError
from rl4lms.tasks.narrative_qa import grammar
from rl4lms.tasks.narrative_qa.table import QUESTIONS
from tests.unit.tasks.mini import broken_share, check_base_data, check_mini, train_from_start


def perfect(sample, text):
    return float(grammar.correct(text, sample.meta["question"], sample.meta["facts"]))


@pytest.mark.slow  # as commongen's, which is always run
def test_the_edition():
    check_mini("narrative_qa", perfect)
    check_base_data("narrative_qa")


def test_a_row_is_a_question_a_story_and_two_forms_of_an_answer():
    rows = [grammar.example(3, index) for index in range(400)]
    assert {row.meta["question"] for row in rows} == set(QUESTIONS)
    for row in rows:
        question, separator, story = row.prompt.partition(" \\n ")
        assert question.endswith(" ?")
        assert separator
        assert story.count(" .") in (5, 6)
        assert len(row.references) == 2


def answer(*events):
    """What the questions that a story answers ask, and the facts of their answers."""
    return {kind + " " + facts.get("THING", facts.get("WHO", "")): facts for kind, facts in grammar._questions(events)}


def test_a_thing_is_where_its_last_holder_went():
    ada, ben = {"WHO": "anna", "HE": "she"}, {"WHO": "carl", "HE": "he"}
    story = (
        ("FIND", {**ada, "THING": "key", "PLACE": "barn"}),
        ("GO", {**ada, "PLACE": "mill", "REASON": "cold"}),
        ("GIVE", {**ada, "OTHER": "carl", "THING": "key"}),
    )
    assert answer(*story[:1])["thing key"]["PLACE"] == "barn"
    assert answer(*story[:2])["thing key"]["PLACE"] == "mill"
    given = answer(*story)
    assert (given["has key"]["WHO"], given["thing key"]["PLACE"], given["person carl"]["PLACE"]) == (
        "carl",
        "mill",
        "mill",
    )
    gone = answer(*story, ("GO", {**ben, "PLACE": "cave", "REASON": "late"}))
    assert (gone["thing key"]["PLACE"], gone["person anna"]["PLACE"]) == ("cave", "mill")
    assert gone["finder key"]["WHO"] == "anna"


def test_correct_means_the_right_answer_in_a_form_of_the_question():
    facts = {"WHO": "carl", "HE": "he", "PLACE": "mill", "REASON": "late"}
    for right in ("because he was late", "carl was late ."):
        assert grammar.correct(right, "why", facts)
    for wrong in ("because she was late", "because he was cold", "carl was cold .", "he was late", "late", "", "carl"):
        assert not grammar.correct(wrong, "why", facts)
    given = {"WHO": "anna", "HE": "she", "OTHER": "carl", "THING": "key"}
    assert grammar.correct("anna gave the key to carl .", "giver", given)
    assert not grammar.correct("carl gave the key to anna .", "giver", given)
    assert not grammar.correct("the key", "giver", given)
    assert grammar.correct("the key", "given", given)


def test_errors_are_not_derivable():
    texts = [max(grammar.example(0, index).references, key=len) for index in range(300)]
    assert broken_share(texts, grammar.derivable) > 0.9
    for text in ("in mill", "carl have the key .", "the key is in the carl .", "because he was"):
        assert not grammar.derivable(text)


def test_the_metric():
    columns = {"question": ["has"] * 3, "facts": [{"WHO": "carl", "THING": "key"}] * 3}
    assert grammar.grammar_metric(["carl has the key .", "in the mill", "key carl"], **columns) == {
        "derivable": [1.0, 1.0, 0.0],
        "correct": [1.0, 0.0, 0.0],
    }
    with pytest.raises(DataError, match="'question' and 'facts'"):
        grammar.grammar_metric(["x"])
    with pytest.raises(ConfigError, match="gold"):
        rewards.build("narrative_qa_grammar")


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    numbers = train_from_start("narrative_qa", tmp_path, monkeypatch)
    assert numbers["eval/correct"] >= 0
    assert numbers["eval/rouge_l_max"] > 0.1
