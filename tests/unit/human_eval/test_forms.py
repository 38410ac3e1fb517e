"""Forms: what can be asked, and what is told about a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval.answers import places_to_outputs, read_answers, right
from rl4lms.human_eval.forms import STRINGS, find_form, packaged_forms, read_checks, read_form

OWN = """
name: own
kind: {kind}
title: A title
instructions: [Read.]
{rest}
"""
SCALE = "questions: [{key: quality, text: How good, low: 0, high: 3, labels: [bad, good]}]"


def written(folder, kind, rest):
    path = folder / "form.yaml"
    path.write_text(OWN.format(kind=kind, rest=rest), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", packaged_forms())
def test_packaged_forms_ask_something_and_name_tasks_that_exist(name):
    from rl4lms.plugins import registry

    form = packaged_forms()[name]
    assert form.name == name
    assert form.scales or form.question
    assert set(form.tasks) <= set(registry.tasks.names())


def test_the_form_of_the_documentation_is_one(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "human.md").read_text(encoding="utf-8")
    text = "name: tone" + page.partition("```text\nname: tone")[2].partition("```")[0]
    (tmp_path / "tone.yaml").write_text(text, encoding="utf-8")
    form = read_form(tmp_path / "tone.yaml")
    assert [question.key for question in form.questions] == ["polite", "wrong", "why"]


def test_every_task_of_the_paper_has_a_form_of_its_own():
    for task in ("imdb", "commongen", "cnn_daily_mail", "totto", "iwslt2017", "narrative_qa", "daily_dialog"):
        form = find_form("likert", task)
        assert task in form.tasks
        assert len(form.scales) == 2  # as in the paper
        assert all(list(question.values) == [1, 2, 3, 4, 5] for question in form.scales)
    assert find_form("pairwise", "commongen").name == "commongen-pairwise"
    assert find_form("pairwise", "totto").name == "general-pairwise"
    assert find_form("likert", None).name == "general-likert"


def test_labels_of_a_scale():
    scale = packaged_forms()["general-likert"].scales[0]
    assert [scale.label(value) for value in scale.values] == ["bad", "mediocre", "okay", "good", "excellent"]


def test_two_labels_are_those_of_the_ends(tmp_path):
    scale = read_form(written(tmp_path, "likert", SCALE)).scales[0]
    assert [scale.label(value) for value in scale.values] == ["bad", "", "", "good"]


@pytest.mark.parametrize(
    ("kind", "rest", "said"),
    [
        ("likert", "", "needs a question of type scale"),
        ("pairwise", "", "`question` is what"),
        ("likert", SCALE + "\nquestion: Which", "`question` is what"),
        ("likert", "questions: [{key: a, text: x, low: 3, high: 3}]", "a scale has 2 to 101 values"),
        ("likert", "questions: [{key: a, text: x, labels: [p, q, r]}]", "3 labels; give one for each of 5 values"),
        ("likert", "questions: [{key: a, text: x}, {key: a, text: y}]", "the key is used twice"),
        ("likert", "questions: [{key: Best, text: x}]", "questions.0.key"),
        ("pairwise", "question: Which\nquestions: [{key: choice, text: x}]", "one of choice, best, worst"),
        ("likert", "questions: [{key: a, text: x, type: spans}, {key: b, text: y}]", "`categories` are for"),
        ("likert", SCALE + "\nstrings: {savee: x}", "did you mean 'save'"),
        ("likert", SCALE + "\nstrings: {item_of: Item}", "write {} as often as here"),
        ("likert", SCALE + "\nstrings: {save: '{0.__class__}'}", "write {} as often as here"),
        ("likert", SCALE + "\nexamples: [{completions: [t], answers: {quality: 4}}]", "with 4; it can be [0, 1, 2, 3]"),
        ("likert", SCALE + "\npractice: [{completions: [t], answers: {qualty: 1}}]", "did you mean 'quality'"),
        ("pairwise", "question: Which\nexamples: [{completions: [t], answers: {choice: 1}}]", "2 completions or more"),
        ("likert", SCALE + "\nlanguage: 'en\"><script>'", "language"),
        ("likert", SCALE + "\ncolour: red", "colour"),
    ],
)
def test_a_wrong_form_is_refused_with_what_is_wrong_and_where(tmp_path, kind, rest, said):
    with pytest.raises(ConfigError) as error:
        read_form(written(tmp_path, kind, rest))
    assert said in str(error.value)
    assert str(tmp_path / "form.yaml") in str(error.value)


def test_an_unknown_form_is_told_with_a_close_one():
    with pytest.raises(ConfigError, match="did you mean 'commongen-likert'"):
        find_form("comongen-likert", None)


def test_words_of_pages_can_be_in_any_language(tmp_path):
    form = read_form(
        written(tmp_path, "likert", SCALE + "\nlanguage: he\ndirection: rtl\nstrings: {item_of: '{} / {}'}")
    )
    assert form.word("item_of", 3, 9) == "3 / 9"
    assert form.word("save") == STRINGS["save"]


def test_checks_are_read_and_a_wrong_row_is_named(tmp_path):
    path = tmp_path / "checks.jsonl"
    rows = [{"completion": "word salad the of", "answers": {"fluency": [1, 2]}}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    form = packaged_forms()["general-likert"]
    assert read_checks(str(path), form)[0].answers == {"fluency": [1, 2]}
    path.write_text(path.read_text() + json.dumps({"completion": "t", "answers": {"fluency": 9}}) + "\n")
    with pytest.raises(ConfigError, match=r"checks.jsonl:2: an example answers 'fluency' with 9"):
        read_checks(str(path), form)
    path.write_text("no json\n")
    with pytest.raises(DataError, match="checks"):
        read_checks(str(path), form)


# --- answers


LIKERT = packaged_forms()["translation-likert"]
PAIR = packaged_forms()["general-pairwise"]
BEST = packaged_forms()["general-best-worst"]


def test_places_of_a_page_become_outputs_of_the_item():
    for order in ([0, 1], [1, 0]):
        for place in (1, 2):
            read = read_answers(PAIR, {"choice": [str(place)]}, ["x", "y"], order)
            assert read.answers == {"choice": order[place - 1]}
    assert read_answers(PAIR, {"choice": ["tie"]}, ["x", "y"], [0, 1]).answers == {"choice": "tie"}
    read = read_answers(BEST, {"best": ["1"], "worst": ["3"]}, list("xyz"), [2, 0, 1])
    assert read.answers == {"best": 2, "worst": 1}
    assert not read.errors


def test_what_is_missing_is_an_error_of_an_answer_and_none_of_a_draft():
    assert set(read_answers(LIKERT, {}, ["text"], [0]).errors) == {"fluency", "adequacy"}
    assert not read_answers(LIKERT, {}, ["text"], [0], draft=True).errors
    assert set(read_answers(BEST, {"best": ["1"]}, list("xyz"), [0, 1, 2]).errors) == {"worst"}
    assert "worst" in read_answers(BEST, {"best": ["1"], "worst": ["1"]}, list("xyz"), [0, 1, 2]).errors


@pytest.mark.parametrize("sent", ["0", "6", "3.0", "x", "-1", " 3", "٣"])
def test_a_value_that_is_not_on_the_scale_is_no_answer(sent):
    read = read_answers(LIKERT, {"fluency": [sent], "adequacy": ["3"]}, ["text"], [0])
    assert set(read.errors) == {"fluency"}
    assert "fluency" not in read.answers


def test_two_values_of_a_single_choice_are_no_answer():
    """A page that was tampered with, or a browser that sent both buttons."""
    assert "fluency" in read_answers(LIKERT, {"fluency": ["1", "5"], "adequacy": ["3"]}, ["t"], [0]).errors
    assert "choice" in read_answers(PAIR, {"choice": ["1", "2"]}, ["x", "y"], [0, 1]).errors


def test_spans_are_words_of_the_text_with_a_kind():
    def sent(words, kinds):
        fields = {"fluency": ["3"], "adequacy": ["3"], "errors_words": words, "errors_kind": kinds}
        return read_answers(LIKERT, fields, ["ein roter Hund"], [0])

    kept = sent(["roter", "", ""], ["added", "", ""])
    assert kept.answers["errors"] == [{"words": "roter", "kind": "added"}]
    assert "errors" in sent(["blauer"], ["added"]).errors
    assert "errors" in sent(["roter"], ["ugly"]).errors
    assert "errors" not in sent([""], [""]).answers


def test_expected_answers_name_outputs_and_may_be_several():
    expected = places_to_outputs(PAIR, {"choice": 2})
    assert expected == {"choice": [1]}
    assert right(expected, {"choice": 1})
    assert not right(expected, {"choice": 0})
    assert right(places_to_outputs(LIKERT, {"fluency": [1, 2]}), {"fluency": 2, "adequacy": 5})
    assert not right(places_to_outputs(LIKERT, {"fluency": [1, 2]}), {"adequacy": 5})
