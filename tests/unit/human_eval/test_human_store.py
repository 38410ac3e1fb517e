"""A study in its database: nothing is lost, double, or open to whom it is not."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rl4lms.errors import ConfigError, DataError
from rl4lms.human_eval import records
from rl4lms.human_eval.answers import read_answers
from rl4lms.human_eval.creation import create_study, invite_spares, new_password
from rl4lms.human_eval.folder import database_of, write_study
from rl4lms.human_eval.forms import Example, packaged_forms
from rl4lms.human_eval.outputs import Output
from rl4lms.human_eval.plan import make_plan
from rl4lms.human_eval.records import Refused, Settings
from rl4lms.human_eval.store import Study

LIKERT = packaged_forms()["general-likert"]
PRACTISED = packaged_forms()["commongen-likert"]


def made(folder, form=LIKERT, items=6, raters=4, name="study.sqlite", **more):
    outputs = [
        Output(f"p{number}", f"prompt {number}", f"{system} wrote {number}", system, values={"bleu": number / 10})
        for number in range(items)
        for system in "ab"
    ]
    plan = make_plan(outputs, form, items=items, per_item=2, raters=raters, **more)
    created = create_study(folder / name, form, Settings(name="test", per_item=2, reclaim_hours=1), plan)
    return Study(folder / name), created


def begin(study, rater):
    study.consent(rater)
    return rater


def answer(study, rater, value=4):
    """Answer the next page; returns whether there was one."""
    position = study.next_position(rater)
    if position is None:
        return False
    page = study.open_page(rater, position)
    fields = {question.key: [str(value)] for question in study.form.scales}
    if page.purpose == "practice":
        fields = {key: [str(values[0])] for key, values in page.expected.items()} | {
            question.key: [str(page.expected.get(question.key, [3])[0])] for question in study.form.scales
        }
    read = read_answers(study.form, fields, page.texts, page.order)
    study.save(rater, position, read.answers)
    return True


def test_all_raters_answer_all_and_every_item_has_its_ratings(tmp_path):
    study, _ = made(tmp_path, attention=1, repeats=1)
    for rater in (1, 2, 3, 4):
        begin(study, rater)
        while answer(study, rater):
            pass
        assert study.counts(rater)[0] == study.counts(rater)[1]
    assert study.open_ratings() == (0, 0)
    rows = study.ratings()
    rated = [row for row in rows if row.purpose == "rate"]
    assert len(rated) == 6 * 2 * 2
    assert len({(row.rater, row.item) for row in rows}) == len(rows)
    first = rated[0]
    assert first.systems[0] in ("a", "b")
    assert first.prompt.startswith("prompt ")
    assert first.completions[0].startswith(f"{first.systems[0]} wrote")
    assert first.values[0]["bleu"] == pytest.approx(int(first.prompt_id[1:]) / 10)
    assert first.answers == {"fluency": 4, "quality": 4}


def test_only_hashes_of_secrets_are_kept(tmp_path):
    study, created = made(tmp_path)
    study.doors.rater_of_platform(created.platform, "PID-of-somebody")
    token = study.doors.begin_session(1)
    study.close()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("study.sqlite*"))
    for secret in (*created.invites, created.password, created.platform, token, "PID-of-somebody"):
        assert secret.encode() not in content


def test_invitations_lead_to_their_raters(tmp_path):
    study, created = made(tmp_path, spares=1)
    assert [study.doors.rater_of_invite(invite) for invite in created.invites] == [1, 2, 3, 4, 5]
    assert study.doors.rater_of_invite("x") is None
    assert study.doors.rater_of_invite("") is None


def test_a_participant_of_a_platform_keeps_their_place_and_more_than_there_are_places_are_refused(tmp_path):
    study, created = made(tmp_path, raters=2)
    assert study.doors.rater_of_platform("wrong", "A") is None
    assert study.doors.rater_of_platform(created.platform, "") is None
    assert study.doors.rater_of_platform(created.platform, "A") == 1
    assert study.doors.rater_of_platform(created.platform, "B") == 2
    assert study.doors.rater_of_platform(created.platform, "A") == 1
    with pytest.raises(Refused, match="all places"):
        study.doors.rater_of_platform(created.platform, "C")


def test_sessions_and_the_password(tmp_path):
    study, created = made(tmp_path)
    token = study.doors.begin_session(2)
    assert study.doors.session(token) == (True, 2)
    assert study.doors.session("x") == (False, None)
    study.doors.end_session(token)
    assert study.doors.session(token) == (False, None)
    assert study.doors.is_password(created.password)
    assert not study.doors.is_password(created.password + "x")
    admin = study.doors.begin_session(None)
    assert study.doors.session(admin) == (True, None)
    changed = new_password(tmp_path / "study.sqlite")  # while the study is open
    assert study.doors.is_password(changed)
    assert not study.doors.is_password(created.password)
    assert study.doors.session(admin) == (False, None)


def test_too_many_attempts_are_those_of_one_place_and_of_late(tmp_path, monkeypatch):
    study, _ = made(tmp_path)
    for _ in range(10):
        assert not study.doors.too_many("password", "10.0.0.1")
        study.doors.note_attempt("password", "10.0.0.1")
    assert study.doors.too_many("password", "10.0.0.1")
    assert not study.doors.too_many("password", "10.0.0.2")
    assert not study.doors.too_many("invite", "10.0.0.1")
    later = records.now() + timedelta(minutes=16)
    monkeypatch.setattr("rl4lms.human_eval.doors.now", lambda: later)
    assert not study.doors.too_many("password", "10.0.0.1")


def test_pages_open_one_after_the_other(tmp_path):
    study, _ = made(tmp_path)
    with pytest.raises(Refused, match="not agreed"):
        study.open_page(1, 1)
    begin(study, 1)
    with pytest.raises(Refused, match="page 2 is not open"):
        study.open_page(1, 2)
    with pytest.raises(Refused):
        study.save(1, 2, {"fluency": 1, "quality": 1})
    with pytest.raises(Refused):
        study.save_draft(1, 99, {})
    answer(study, 1)
    assert study.open_page(1, 1).answers == {"fluency": 4, "quality": 4}
    study.open_page(1, 2)


def test_a_change_keeps_the_time_of_the_first_answer_and_is_counted(tmp_path):
    study, _ = made(tmp_path)
    begin(study, 1)
    answer(study, 1)
    before = study.ratings()[0]
    study.save(1, 1, {"fluency": 1, "quality": 2})
    after = study.ratings()
    assert len(after) == 1
    assert after[0].answers == {"fluency": 1, "quality": 2}
    assert (after[0].edits, after[0].seconds, after[0].rated_at) == (1, before.seconds, before.rated_at)


def test_seconds_that_a_page_counted_are_believed_up_to_those_that_passed(tmp_path, monkeypatch):
    study, _ = made(tmp_path)
    begin(study, 1)
    study.open_page(1, 1)
    later = records.now() + timedelta(seconds=40)
    monkeypatch.setattr("rl4lms.human_eval.store.now", lambda: later)
    study.save(1, 1, {}, active=12.5)
    assert study.ratings()[0].seconds == pytest.approx(12.5)
    study.withdraw(1)
    begin(study, 2)
    study.open_page(2, 1)
    study.save(2, 1, {}, active=1e9)
    assert study.ratings()[0].seconds < 1


def test_drafts_are_kept_until_the_answer(tmp_path):
    study, _ = made(tmp_path)
    begin(study, 1)
    study.open_page(1, 1)
    study.save_draft(1, 1, {"fluency": ["3"], "why": ["because <b>"]})
    assert study.open_page(1, 1).draft == {"fluency": ["3"], "why": ["because <b>"]}
    answer(study, 1)
    assert study.open_page(1, 1).draft is None


def test_a_pause_stops_answers_and_loses_none(tmp_path):
    study, _ = made(tmp_path)
    begin(study, 1)
    answer(study, 1)
    study.pause(True)
    with pytest.raises(Refused, match="paused"):
        study.save(1, 2, {})
    assert study.paused
    study.pause(False)
    assert answer(study, 1)


def test_a_withdrawn_rater_is_nowhere_and_a_spare_fills_the_gap(tmp_path):
    study, _ = made(tmp_path, attention=1, repeats=1, spares=1)
    for rater in (1, 2, 3, 4):
        begin(study, rater)
        while answer(study, rater):
            pass
    study.save(2, 1, {"fluency": 4, "quality": 4, "why": "unsayable reason"})
    study.finish(2, "unsayable feedback")
    token = study.doors.begin_session(2)
    study.withdraw(2)
    assert 2 not in {row.rater for row in study.ratings()}
    assert study.doors.session(token) == (False, None)
    assert study.rater(2).state == "withdrawn"
    with pytest.raises(Refused):
        study.consent(2)
    missing, nobodys = study.open_ratings()
    assert missing == nobodys == 6
    begin(study, 5)
    while answer(study, 5, value=1):
        pass
    assert study.open_ratings() == (0, 0)
    study.close()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("study.sqlite*"))
    assert b"unsayable" not in content  # not in pages that are free, and not in a log


def test_items_of_who_is_away_go_to_a_spare_and_to_nobody_else(tmp_path, monkeypatch):
    study, _ = made(tmp_path, spares=1)
    begin(study, 1)
    answer(study, 1)
    begin(study, 5)
    assert study.next_position(5) is None  # nobody has been away for an hour
    for rater in (2, 3, 4):
        begin(study, rater)
        while answer(study, rater):
            pass
    later = records.now() + timedelta(hours=2)
    monkeypatch.setattr("rl4lms.human_eval.store.now", lambda: later)
    assert study.next_position(2) is None  # has had its share
    taken = 0
    while answer(study, 5):
        taken += 1
    assert taken == 5
    assert study.open_ratings() == (0, 0)
    assert study.next_position(1) is None
    assert study.counts(1) == (1, 1)
    assert len([row for row in study.ratings() if row.rater == 1]) == 1  # what was answered stays


def test_a_spare_that_is_invited_later_has_checks_and_takes_its_share(tmp_path):
    study, _ = made(tmp_path, attention=2)
    invites = invite_spares(tmp_path / "study.sqlite", 1)
    assert list(invites) == [5]
    assert study.doors.rater_of_invite(invites[5]) == 5
    study.release(3)
    begin(study, 5)
    answered = 0
    while answer(study, 5):
        answered += 1
    assert answered == 2 + 6


def test_who_fails_the_practice_goes_no_further_and_their_items_are_free(tmp_path):
    study, _ = made(tmp_path, form=PRACTISED)
    begin(study, 1)
    for position in (1, 2):
        page = study.open_page(1, position)
        assert page.purpose == "practice"
        study.save(1, position, {"coherence": 3, "commonsense": 3})
    assert study.rater(1).state == "refused"
    assert study.open_ratings() == (24, 6)
    with pytest.raises(Refused):
        study.open_page(1, 3)
    begin(study, 2)
    assert not study.rater(2).qualified
    answer(study, 2)
    with pytest.raises(Refused, match="cannot be changed"):
        study.save(2, 1, {"commonsense": 1})
    answer(study, 2)
    assert study.rater(2).qualified


def test_checks_are_counted_for_the_administrator(tmp_path):
    checks = [Example(completions=("odd the of",), answers={"fluency": [1, 2]})]
    study, _ = made(tmp_path, checks=checks)
    for rater, value in ((1, 1), (2, 5)):
        begin(study, rater)
        while answer(study, rater, value):
            pass
    found = {one.rater: one for one in study.progress()}
    assert (found[1].checks, found[1].checks_right) == (1, 1)
    assert (found[2].checks, found[2].checks_right) == (1, 0)
    assert found[1].planned == found[1].rated == 7
    assert [found[rater].state for rater in (1, 3)] == ["rating", "invited"]


def test_two_requests_of_a_spare_at_once_take_one_item(tmp_path):
    study, _ = made(tmp_path, items=8, spares=1)
    begin(study, 5)
    study.release(1)
    barrier = threading.Barrier(4)
    found = []

    def ask():
        barrier.wait()
        found.append(study.next_position(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {1}
    assert study.counts(5) == (0, 1)


def test_a_full_disk_acknowledges_nothing_and_keeps_what_was_there(tmp_path):
    study, _ = made(tmp_path)
    begin(study, 1)
    answer(study, 1)
    kept = study.ratings()
    full = {"fluency": 1, "quality": 1, "why": "x" * 3_000_000}
    study.open_page(1, 2)

    def limit(connection, record, proxy):
        del record, proxy
        connection.execute("PRAGMA max_page_count=100")

    sa.event.listen(study._engine, "checkout", limit)
    with pytest.raises(sa.exc.OperationalError, match="full"):
        study.save(1, 2, full)
    sa.event.remove(study._engine, "checkout", limit)
    assert study.ratings() == kept


def test_a_study_of_a_later_version_and_a_file_that_is_none_are_told(tmp_path):
    study, _ = made(tmp_path)
    study.close()
    with sqlite3.connect(tmp_path / "study.sqlite") as connection:
        connection.execute("UPDATE human_alembic_version SET version_num = '99'")
    with pytest.raises(DataError, match="schema version 99"):
        Study(tmp_path / "study.sqlite")
    with pytest.raises(ConfigError, match="there is no such study"):
        Study(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("x" * 5000)
    with pytest.raises(ConfigError, match="cannot be opened"):
        Study(tmp_path / "text.sqlite")
    made(tmp_path, name="two.sqlite")
    with pytest.raises(ConfigError, match="a study already"):
        made(tmp_path, name="two.sqlite")


def test_the_schema_of_the_scripts_is_that_of_the_tables(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from rl4lms.human_eval.schema import METADATA, VERSION_TABLE

    study, _ = made(tmp_path)
    with study._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    outputs = [Output(f"p{n}", "x", f"{s}{n}", s) for n in range(3) for s in "ab"]
    plan = make_plan(outputs, LIKERT, items=3, per_item=1, raters=2, spares=1)
    settings = Settings(name="s", per_item=1)
    written = write_study(tmp_path / "s", LIKERT, settings, plan, address="https://x.example/")
    assert (tmp_path / "s" / "study.sqlite").stat().st_mode & 0o077 == 0
    assert written.invites.stat().st_mode & 0o077 == 0
    lines = written.invites.read_text().splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[1] == f"1,rater,https://x.example/i/{written.created.invites[0]}"
    assert database_of(str(tmp_path / "s")) == str(tmp_path / "s" / "study.sqlite")
    with pytest.raises(ConfigError, match="a study already"):
        write_study(tmp_path / "s", LIKERT, settings, plan, address="https://x.example/")
    monkeypatch.setattr("rl4lms.human_eval.creation.migrate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_study(tmp_path / "t", LIKERT, settings, plan, address="https://x.example/")
    assert list((tmp_path / "t").iterdir()) == []
