"""The administrator's page."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from rl4lms.human_eval.exports import FORMATS, export
from rl4lms.human_eval.queries import Answered
from rl4lms.human_eval.reading import read_answered
from rl4lms.human_eval.schema import ASSIGNMENTS
from rl4lms.human_eval.web.admin import EXPORTS
from rl4lms.human_eval.web.agreement import agreements
from rl4lms.plugins.databases import open_engine
from rl4lms.stats import krippendorff_alpha
from rl4lms.stats.agreement import SCALES, alpha
from tests.human import make_study, outputs


@pytest.fixture
def admin(study, visit):
    client = visit(study)
    client.log_in(study.created.password)
    return client


def test_it_tells_how_far_everybody_is(study, visit, admin):
    rater = visit(study)
    rater.enter(study.created.invites[0])
    for position in (1, 2):
        rater.to("/next")
        rater.post(f"/item/{position}", {"fluency": "2", "quality": "3", "active": "0.5"})
    page = admin.get("/admin").text
    assert "2 of 17 pages answered" in page  # 8 for each rater, and the check of the spare
    assert "<td>rating</td>" in page
    assert page.count("<td>invited</td>") == 2
    assert all(one.code in page for one in study.open().progress())


def test_pause_and_go_on(study, admin):
    admin.post("/admin/pause", {"paused": "yes"})
    assert study.open().paused
    assert "The study is paused" in admin.get("/admin").text
    admin.post("/admin/pause", {"paused": "no"})
    assert not study.open().paused


def test_release_and_withdraw(study, visit, admin):
    rater = visit(study)
    rater.enter(study.created.invites[0])
    rater.to("/next")
    rater.post("/item/1", {"fluency": "2", "quality": "3"})
    assert admin.post("/admin/raters/1/release").status_code == 303
    open_study = study.open()
    assert open_study.counts(1) == (1, 1)
    assert open_study.rater(1).released
    assert admin.get("/admin/raters/1/withdraw").status_code == 200
    assert open_study.rater(1).state == "rate"
    assert admin.post("/admin/raters/1/withdraw").status_code == 303
    assert (open_study.rater(1).state, open_study.ratings()) == ("withdrawn", [])
    assert rater.get("/next").status_code == 403
    assert admin.post("/admin/raters/99/release").status_code in (303, 403)
    assert admin.get("/admin/raters/99/withdraw").status_code == 403


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_is_that_of_the_analysis(scale):
    table = [[1, 2, float("nan")], [3, 3, 4], [5, 4, 5], [2, float("nan"), float("nan")], [1, 1, 2]]
    assert alpha(table, scale) == pytest.approx(krippendorff_alpha(table, scale).value, abs=1e-12)


def test_all_exports_are_those_of_the_command(study, visit, admin):
    empty = admin.get("/admin/export/ratings.csv")
    assert (empty.status_code, empty.headers["content-type"]) == (409, "text/plain; charset=utf-8")
    assert "nobody has answered anything yet" in empty.text
    rater = visit(study)
    rater.enter(study.created.invites[0])
    for position in (1, 2):
        rater.to("/next")
        rater.post(f"/item/{position}", {"fluency": "2", "quality": "3", "active": "0.5"})
    assert {one.format for one in EXPORTS.values()} == set(FORMATS)
    answered = read_answered(study.where)
    page = admin.get("/admin").text
    for name, one in EXPORTS.items():
        assert f'href="/admin/export/{name}"' in page
        got = admin.get(f"/admin/export/{name}")
        if one.format == "trl":  # nobody told two texts of a prompt apart
            assert got.status_code == 409
            assert "no two texts of a prompt are told apart" in got.text
            continue
        assert got.content == export(answered, one.format)
        assert got.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_agreement_is_of_items_with_several_answers(study):
    form = study.form
    same = [Answered(rater, item, {"fluency": item % 5 + 1, "quality": 3}) for rater in (1, 2) for item in range(8)]
    fluency, quality = agreements(form, [*same, Answered(1, 99, {"fluency": 1})])
    assert (fluency.value, fluency.items, fluency.scale) == (1.0, 8, "ordinal")
    assert quality.value is None
    assert "the same" in quality.note


@pytest.mark.slow
def test_it_takes_less_than_a_second_for_ten_thousand_items(tmp_path, visit):
    """Three raters for each of 10,000 items, everything answered; the first time, with nothing computed before."""
    made = make_study(tmp_path / "s.sqlite", texts=outputs(5000), items=5000, per_item=3, raters=60, attention=2)
    engine = open_engine(made.where)
    with engine.begin() as connection:
        for value in range(5):
            text = f'{{"fluency": {value + 1}, "quality": {5 - value}}}'
            here = (ASSIGNMENTS.c.item_id * 7 + ASSIGNMENTS.c.rater_id % 3) % 5 == value
            connection.execute(sa.update(ASSIGNMENTS).where(here).values(answers=text, seconds=12.5))
    client = visit(made)
    client.get("/admin/login")
    client.post("/admin/login", {"password": made.created.password})
    took = []
    for _ in range(3):
        began = time.process_time()  # other processes of the machine do not count
        page = client.get("/admin")
        took.append(time.process_time() - began)
        assert page.status_code == 200
    print("seconds of CPU:", [round(one, 3) for one in took])
    assert "30,120 of 30,120 pages answered" in page.text
    assert max(took) < 1
