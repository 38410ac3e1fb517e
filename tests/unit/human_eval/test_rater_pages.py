"""What raters go through, page by page, without a browser."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rl4lms.human_eval.forms import find_form
from rl4lms.human_eval.records import now
from rl4lms.human_eval.schema import ASSIGNMENTS, RATERS
from rl4lms.human_eval.store import Study
from rl4lms.plugins.databases import open_engine
from tests.human import answer_fields, make_study, outputs, parse, with_form


def execute(made, statement):
    engine = open_engine(made.where)
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()


def rate_all(client, made, rater=1):
    """Answers everything that a rater is given; returns the last page, and how many were answered."""
    study, count = made.open(), 0
    while True:
        response = client.to("/next")
        if "/item/" not in str(response.url):
            return response, count
        position = int(response.url.path.rpartition("/")[2])
        fields = answer_fields(made.form, study.read_page(rater, position))
        assert client.post(f"/item/{position}", fields).status_code == 303
        count += 1


def checked(page):
    """The values of what is chosen on a page, by name."""
    found = {}
    for tag, attributes in parse(page).elements:
        values = dict(attributes)
        if tag == "input" and "checked" in values:
            found[values["name"]] = values["value"]
    return found


@pytest.mark.parametrize("kind", ["likert", "pairwise", "best_worst", "translation-likert", "commongen-pairwise"])
def test_a_rater_goes_through_a_study_to_the_code(tmp_path, visit, kind):
    made = make_study(tmp_path / "s.sqlite", kind, texts=outputs(3, ("a", "b", "c")), attention=1, repeats=1)
    client = visit(made)
    client.enter(made.created.invites[0])
    last, count = rate_all(client, made)
    study = made.open()
    assert study.counts(1) == (count, count)
    assert study.rater(1).finished
    assert study.rater(1).code in last.text
    assert client.post("/done", {"feedback": " Nice.\r\nReally. "}).headers["location"] == "/done?saved=1"
    assert made.form.word("thanks") in client.to("/done?saved=1").text
    assert study.progress()[0].feedback == "Nice.\nReally."
    assert client.to("/").url.path == "/done"


def test_opening_an_invitation_changes_nothing(study, visit):
    client = visit(study)
    assert client.get(f"/i/{study.created.invites[0]}").status_code == 200
    assert client.get("/").status_code == 403
    assert study.open().progress()[0].seen_at is None


def test_consent_needs_its_tick(study, visit):
    client = visit(study)
    client.get(f"/i/{study.created.invites[0]}")
    client.post(f"/i/{study.created.invites[0]}")
    client.to("/")
    refused = client.post("/consent")
    assert (refused.status_code, study.form.word("consent_needed") in refused.text) == (422, True)
    assert client.get("/item/1").headers["location"] == "/"
    assert client.to("/item/1").url.path == "/consent"
    assert client.post("/item/1", {"fluency": "1", "quality": "1"}).status_code == 403


def test_an_answer_can_be_changed_and_is_counted_as_one(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    assert client.to("/next").url.path == "/item/1"
    assert client.post("/item/1", {"fluency": "2", "quality": "3"}).headers["location"] == "/next"
    again = client.get("/item/1")
    assert study.form.word("edit_note") in again.text
    assert checked(again.text) == {"fluency": "2", "quality": "3"}
    assert 'href="/item/2"' in again.text
    client.post("/item/1", {"fluency": "2", "quality": "3"})  # a double click
    assert study.open().ratings()[0].edits == 0
    client.post("/item/1", {"fluency": "5", "quality": "3"})
    (rating,) = study.open().ratings()
    assert (rating.answers, rating.edits) == ({"fluency": 5, "quality": 3}, 1)
    assert 'href="/item/1"' in client.to("/next").text


def test_what_is_missing_is_named_and_what_was_chosen_stays(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    page = client.post("/item/1", {"fluency": "4", "active": "7.5"})
    assert page.status_code == 422
    assert checked(page.text) == {"fluency": "4"}
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', page.text)[0] == ("quality-1", study.form.questions[1].text)
    assert 'id="quality-1"' in page.text
    assert 'name="active" value="7.5"' in page.text
    assert study.open().counts(1) == (0, 8)
    twice = client.http.post(
        "/item/1", content=f"csrf={client.csrf}&fluency=1&fluency=2&quality=1", headers={"content-type": FORM}
    )
    assert (twice.status_code, study.open().counts(1)[0]) == (422, 0)


FORM = "application/x-www-form-urlencoded"


def test_a_draft_survives_and_never_hides_an_answer(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    assert client.post("/item/1/draft", {"fluency": "2", "active": "3.0", "answered": "0"}).status_code == 204
    page = client.get("/item/1")
    assert checked(page.text) == {"fluency": "2"}
    assert 'name="active" value="3.0"' in page.text
    client.post("/item/1", {"fluency": "4", "quality": "4"})
    late = client.post("/item/1/draft", {"fluency": "2", "answered": "0"})  # sent before the answer, arrived after it
    assert late.status_code == 204
    assert checked(client.get("/item/1").text) == {"fluency": "4", "quality": "4"}
    client.post("/item/1/draft", {"fluency": "3", "quality": "4", "answered": "1"})
    assert checked(client.get("/item/1").text) == {"fluency": "3", "quality": "4"}
    assert study.open().ratings()[0].answers == {"fluency": 4, "quality": 4}


def test_a_draft_keeps_nothing_but_fields_of_the_form(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    client.post("/item/1/draft", {"fluency": "2", "elephant": "3"})
    assert set(study.open().read_page(1, 1).draft) == {"fluency"}
    assert client.post("/item/1/draft", {"fluency": "2" * 20_000}).status_code == 413


@pytest.mark.parametrize("right", [True, False])
def test_practice_tells_what_was_expected_and_decides(tmp_path, visit, right):
    base = find_form("commongen-pairwise", None)
    practice = [*base.practice, *base.practice]
    made = make_study(tmp_path / "s.sqlite", with_form(base, practice=practice, pass_share=0.5), items=3)
    client = visit(made)
    client.enter(made.created.invites[0])
    assert made.form.word("practice_intro", 2) in client.to("/instructions").text
    for position in (1, 2):
        assert client.to("/next").url.path == f"/item/{position}"
        page = made.open().read_page(1, position)
        (fields,) = [answer_fields(made.form, page)]
        if not right:
            fields["choice"] = ["2" if fields["choice"] == ["1"] else "1"]
        shown = client.to(client.post(f"/item/{position}", fields).headers["location"])
        if right or position == 1:
            assert made.form.word("practice_right" if right else "practice_wrong") in shown.text
            assert "Balls fetch no dogs." in shown.text
            assert '<fieldset class="bare" disabled>' in shown.text
            assert client.post(f"/item/{position}", fields).headers["location"] == f"/item/{position}"
    after = client.to("/next")
    if right:
        assert after.url.path == "/item/3"
    else:
        assert (after.status_code, made.form.word("practice_failed") in after.text) == (403, True)


def test_waiting_is_enforced_by_the_server(tmp_path, visit):
    made = make_study(tmp_path / "s.sqlite", with_form(find_form("likert", None), wait_seconds=60))
    client = visit(made)
    client.enter(made.created.invites[0])
    assert 'data-wait="60"' in client.to("/next").text
    early = client.post("/item/1", {"fluency": "2", "quality": "3"})
    assert (early.status_code, made.open().counts(1)[0]) == (409, 0)
    assert checked(early.text) == {"fluency": "2", "quality": "3"}
    execute(made, sa.update(ASSIGNMENTS).values(opened_at=now() - timedelta(seconds=61)))
    assert client.post("/item/1", {"fluency": "2", "quality": "3"}).status_code == 303


def test_seconds_are_those_that_the_page_counted_unless_that_cannot_be(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    for position, sent in enumerate(["5", "999999", "nan", "-3", "1e9"], 1):
        client.to("/next")
        opened = now() - timedelta(seconds=30)
        execute(study, sa.update(ASSIGNMENTS).where(ASSIGNMENTS.c.position == position).values(opened_at=opened))
        client.post(f"/item/{position}", {"fluency": "2", "quality": "3", "active": sent})
    seconds = [rating.seconds for rating in study.open().ratings()]
    assert seconds[0] == 5
    assert all(30 <= value < 60 for value in seconds[1:])


def test_a_paused_study_keeps_what_is_on_the_page(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    study.open().pause(True)
    paused = study.form.word("paused")
    page = client.post("/item/1", {"fluency": "2", "quality": "3"})
    assert (page.status_code, paused in page.text, checked(page.text)["fluency"]) == (409, True, "2")
    assert paused in client.to("/next").text
    assert paused in client.get("/item/1").text
    study.open().pause(False)
    assert client.post("/item/1", {"fluency": "2", "quality": "3"}).status_code == 303


def test_who_waited_too_long_is_told_and_gets_no_code(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    client.post("/item/1", {"fluency": "2", "quality": "3"})
    study.open().release(1)
    page = client.to("/next")
    assert study.form.word("reassigned") in page.text
    assert client.to("/done").text == page.text
    assert study.open().rater(1).code not in page.text
    assert client.post("/item/2", {"fluency": "2", "quality": "3"}).status_code == 403


def test_a_spare_takes_what_is_left_and_is_told_when_nothing_is(study, visit):
    spare = visit(study)
    spare.enter(study.created.invites[2])
    page, count = rate_all(spare, study, rater=3)
    assert (study.form.word("nothing_left") in page.text, count) == (True, 1)  # the check
    study.open().release(1)
    _, more = rate_all(spare, study, rater=3)
    assert more == 6
    assert study.open().rater(3).finished


def test_withdrawal_removes_everything_after_a_question(study, visit):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")
    client.post("/item/1", {"fluency": "2", "quality": "3"})
    assert client.get("/withdraw").status_code == 200
    assert study.open().counts(1)[0] == 1
    page = client.post("/withdraw")
    assert study.form.word("withdrawn") in page.text
    assert study.open().ratings() == []
    assert client.get("/next").status_code == 403
    client.get(f"/i/{study.created.invites[0]}")
    client.post(f"/i/{study.created.invites[0]}")
    assert client.to("/").status_code == 403
    assert study.open().rater(1).state == "withdrawn"


@pytest.mark.parametrize("name", ["PROLIFIC_PID", "workerId", "participant"])
def test_a_participant_of_a_platform_comes_back_as_the_same_rater(study, visit, name):
    path = f"/p/{study.created.platform}?{name}=abc123"
    for _ in range(2):
        client = visit(study)
        assert client.get(path).status_code == 200
        assert client.post(path, {"participant": "abc123"}).status_code == 303
        assert client.to("/").status_code == 200
    engine = open_engine(study.where)
    with engine.connect() as connection:
        known = connection.execute(sa.select(RATERS.c.external).where(RATERS.c.external.is_not(None))).scalars().all()
    assert len(known) == 1
    assert "abc123" not in known[0]


def test_platforms_preview_and_full_studies(study, visit):
    path = f"/p/{study.created.platform}"
    client = visit(study)
    preview = client.get(f"{path}?assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE&workerId=w")
    assert study.form.word("preview") in preview.text
    assert "<form" not in preview.text
    assert client.get(path).status_code == 400
    assert client.get(f"{path}?PROLIFIC_PID=%3Cscript%3E").status_code == 400
    for number in range(4):
        client.get(f"{path}?workerId=w{number}")
        entered = client.post(path, {"participant": f"w{number}"})
        assert entered.status_code == (303 if number < 3 else 403)
    assert study.form.word("full") in entered.text


@pytest.mark.parametrize(
    ("error", "status"),
    [("database or disk is full", 507), ("database is locked", 503), ("disk I/O error", 503)],
)
def test_what_the_database_refuses_is_not_acknowledged(study, visit, monkeypatch, error, status):
    client = visit(study)
    client.enter(study.created.invites[0])
    client.to("/next")

    def refuse(*words, **more):
        raise sa.exc.OperationalError("INSERT", {}, Exception(error))

    monkeypatch.setattr(Study, "save", refuse)
    page = client.post("/item/1", {"fluency": "2", "quality": "3"})
    assert (page.status_code, study.form.word("not_saved") in page.text) == (status, True)
    assert checked(page.text) == {"fluency": "2", "quality": "3"}
    # where not even the page can be read, its fields wait in a form that sends them again
    monkeypatch.setattr(Study, "read_page", refuse)
    page = client.post("/item/1", {"fluency": "2", "quality": "3"})
    assert page.status_code == status
    hidden = {dict(a)["name"]: dict(a)["value"] for tag, a in parse(page.text).elements if tag == "input"}
    assert hidden == {"csrf": client.csrf, "fluency": "2", "quality": "3"}
    assert "Traceback" not in page.text
    monkeypatch.undo()
    assert client.post("/item/1", hidden).status_code == 303


def test_a_bug_shows_nothing_of_itself(study, visit, monkeypatch):
    client = visit(study)
    client.enter(study.created.invites[0])

    def bug(*words):
        raise ZeroDivisionError("secret-of-the-program")

    monkeypatch.setattr(Study, "next_position", bug)
    page = client.get("/next")
    assert (page.status_code, study.form.word("problem") in page.text) == (500, True)
    assert "secret-of-the-program" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_spans_come_back_with_a_row_more(tmp_path, visit):
    made = make_study(tmp_path / "s.sqlite", "translation-likert")
    client = visit(made)
    client.enter(made.created.invites[0])
    client.to("/next")
    rows = ["text", "about", "prompt"]
    fields = {"fluency": "1", "adequacy": "2", "errors_words": [*rows, ""], "errors_kind": ["added"] * 3 + [""]}
    assert client.post("/item/1", fields).status_code == 303
    assert made.open().ratings()[0].answers["errors"] == [{"words": word, "kind": "added"} for word in rows]
    page = client.get("/item/1").text
    assert re.findall(r'name="errors_words" value="(.*?)"', page) == [*rows, ""]
    wrong = client.post("/item/1", {**fields, "errors_words": ["elephant", *rows]})
    assert made.form.word("not_in_text") in wrong.text
    assert re.findall(r'name="errors_words" value="(.*?)"', wrong.text)[0] == "elephant"


def test_context_is_shown_as_the_form_wants_it(tmp_path, visit):
    cell = {"text": "42", "header": False, "marked": True, "columns": 2, "rows": 1}
    context = {"table": [[{**cell, "header": True, "marked": False}], [cell]], "title": "Of numbers"}
    cases = {
        "totto-likert": (context, '<td dir="auto" colspan="2" class="marked"><mark>42</mark></td>'),
        "daily_dialog-likert": ({"turns": ["one", "two"]}, '<li><p class="text" dir="auto">two</p></li>'),
        "summarization-likert": ({}, '<div class="text article" dir="auto" tabindex="0"'),
        "imdb-likert": ({}, '<div class="text" dir="auto">words of prompt'),
    }
    for form, (more, wanted) in cases.items():
        made = make_study(tmp_path / f"{form}.sqlite", form, texts=outputs(3, context=more))
        client = visit(made)
        client.enter(made.created.invites[0])
        assert wanted in client.to("/next").text
    made = make_study(tmp_path / "text.sqlite", "totto-likert")  # prompts without a table
    client = visit(made)
    client.enter(made.created.invites[0])
    assert '<div class="text" dir="auto">words of prompt' in client.to("/next").text


def test_pages_are_in_the_language_of_the_form(tmp_path, visit):
    strings = {"save": "حفظ", "item_of": "العنصر {} من {}"}
    form = with_form(find_form("pairwise", None), language="ar", direction="rtl", strings=strings)
    made = make_study(tmp_path / "s.sqlite", form)
    client = visit(made)
    client.enter(made.created.invites[0])
    page = client.to("/next").text
    assert '<html lang="ar" dir="rtl">' in page
    assert "العنصر 1 من 3" in page
    assert "حفظ" in page


def test_examples_stand_in_the_instructions_with_their_answers(tmp_path, visit):
    example = {"prompt": "p", "completions": ["One.", "Two."], "answers": {"choice": [1, "tie"]}, "why": "Because."}
    made = make_study(tmp_path / "s.sqlite", with_form(find_form("pairwise", None), examples=[example]))
    client = visit(made)
    client.enter(made.created.invites[0])
    page = client.to("/instructions").text
    assert "Text 1 / Both are equal" in page
    assert "Because." in page
