"""The pages of raters, from their invitation to their last word."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from starlette.responses import Response

from rl4lms.human_eval.answers import MAX_TEXT, read_answers, right
from rl4lms.human_eval.records import Page, Refused, now
from rl4lms.human_eval.web.failures import FAILURES, status_of
from rl4lms.human_eval.web.site import Halt, Visit
from rl4lms.human_eval.web.views import field_names, fields_of, item_view

_NAMES_OF_PARTICIPANTS = ("PROLIFIC_PID", "workerId", "participant")
_PARTICIPANT = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"  # of Mechanical Turk, for who has not accepted the task yet


def static(visit: Visit) -> Response:
    """A file of the pages; there are no others than those of the package."""
    found = visit.site.files.get(visit.path["name"])
    if found is None:
        raise Halt(404, "no_page")
    content, kind = found
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})


def invitation(visit: Visit) -> Response:
    """The first page of an invitation, on which nothing is noted yet."""
    _invited(visit)
    return visit.page("enter.html", action=f"/i/{visit.path['invite']}", participant="")


def accept_invitation(visit: Visit) -> Response:
    """Begin the session of whoever has the invitation."""
    return visit.enter(_invited(visit), "/")


def _invited(visit: Visit) -> int:
    visit.check_attempts("invite")
    rater = visit.study.doors.rater_of_invite(visit.path["invite"])
    if rater is None:
        visit.study.doors.note_attempt("invite", visit.source)
        raise Halt(404, "no_invite")
    return rater


def platform(visit: Visit) -> Response:
    """The first page for participants of a crowdsourcing platform, which puts their id into the address."""
    _check_platform(visit)
    query = visit.request.query_params
    participant = next((query[name] for name in _NAMES_OF_PARTICIPANTS if query.get(name)), "")
    if query.get("assignmentId") == _PREVIEW:
        return visit.message(200, visit.form.word("preview"))
    if not _PARTICIPANT.fullmatch(participant):
        raise Halt(400, "no_invite")
    return visit.page("enter.html", action=f"/p/{visit.path['secret']}", participant=participant)


def accept_platform(visit: Visit) -> Response:
    """Begin the session of a participant."""
    _check_platform(visit)
    participant = visit.one("participant")
    if not _PARTICIPANT.fullmatch(participant):
        raise Halt(400, "no_invite")
    try:
        rater = visit.study.doors.rater_of_platform(visit.path["secret"], participant)
    except Refused as error:
        raise Halt(403, "full") from error
    if rater is None:
        raise Halt(404, "no_invite")
    return visit.enter(rater, "/")


def _check_platform(visit: Visit) -> None:
    visit.check_attempts("invite")
    if not visit.study.doors.is_platform(visit.path["secret"]):
        visit.study.doors.note_attempt("invite", visit.source)
        raise Halt(404, "no_invite")


def home(visit: Visit) -> Response:
    """Lead a rater to where they are."""
    rater = visit.me
    if rater.state == "refused":
        return visit.message(403, visit.form.word("practice_failed"))
    if rater.state == "withdrawn":
        return visit.message(403, visit.form.word("withdrawn"))
    if rater.state == "consent":
        return visit.redirect("/consent")
    if rater.finished:
        return visit.redirect("/done")
    done, _ = visit.study.counts(rater.id)
    return visit.redirect("/next" if done else "/instructions")


def consent(visit: Visit) -> Response:
    """What raters agree to."""
    if visit.me.state != "consent":
        return visit.redirect("/")
    return visit.page("consent.html", error="")


def give_consent(visit: Visit) -> Response:
    """Note that a rater takes part."""
    if visit.me.state != "consent":
        return visit.redirect("/")
    if visit.one("consent") != "yes":
        return visit.page("consent.html", 422, error=visit.form.word("consent_needed"))
    visit.study.consent(visit.me.id)
    return visit.redirect("/instructions")


def instructions(visit: Visit) -> Response:
    """Instructions and examples."""
    return visit.page("instructions.html")


def go_on(visit: Visit) -> Response:
    """Lead a rater to what they do next."""
    rater, study, word = visit.me, visit.study, visit.form.word
    if study.paused:
        return visit.message(200, word("paused"))
    position = study.next_position(rater.id)
    if position is not None:
        return visit.redirect(f"/item/{position}")
    rater = study.rater(rater.id)  # who has taken an item meanwhile may take one less
    if rater.finished:
        return visit.redirect("/done")
    if rater.released:
        return visit.message(200, word("reassigned"))
    done, _ = study.counts(rater.id)
    if not done or (rater.quota and study.open_ratings()[0]):
        return visit.message(200, word("nothing_left"))
    study.finish(rater.id)
    return visit.redirect("/done")


def item(visit: Visit) -> Response:
    """A page with something to judge."""
    if visit.study.paused:
        return visit.message(200, visit.form.word("paused"))
    page = visit.study.open_page(visit.me.id, visit.path["position"])
    fields = page.draft if page.draft is not None else fields_of(visit.form, page.answers or {}, page.order)
    return _item(visit, page, fields)


def save_item(visit: Visit) -> Response:
    """Keep what was answered; whatever goes wrong, the fields come back as they were sent."""
    page = visit.study.read_page(visit.me.id, visit.path["position"])
    if page.purpose == "practice" and page.answers is not None:  # a form that was sent twice
        return visit.redirect(f"/item/{page.position}")
    if visit.study.paused:
        return _item(visit, page, visit.fields, 409, notice=visit.form.word("paused"))
    left = _seconds_left(visit, page)
    if left:
        return _item(visit, page, visit.fields, 409, notice=visit.form.word("wait", left))
    read = read_answers(visit.form, visit.fields, page.texts, page.order)
    if read.errors:
        return _item(visit, page, visit.fields, 422, errors=read.errors)
    try:
        visit.study.save(visit.me.id, page.position, read.answers, _active(visit.one("active")))
    except FAILURES as error:
        return _item(visit, page, visit.fields, status_of(error), notice=visit.form.word("not_saved"))
    return visit.redirect(f"/item/{page.position}" if page.purpose == "practice" else "/next")


def save_draft(visit: Visit) -> Response:
    """Keep the fields of a page as they are."""
    page = visit.study.read_page(visit.me.id, visit.path["position"])
    # one that is overtaken by the answer, or of a page from before, would hide it
    overtaken = page.answers is not None and (page.purpose == "practice" or visit.one("answered") != "1")
    if not overtaken:
        known = field_names(visit.form)
        fields = {name: list(values) for name, values in visit.fields.items() if name in known}
        if any(len(value) > 2 * MAX_TEXT for values in fields.values() for value in values):
            raise Halt(413, "too_large")
        visit.study.save_draft(visit.me.id, page.position, fields)
    return Response(status_code=204)


def _item(
    visit: Visit,
    page: Page,
    fields: Mapping[str, Sequence[str]],
    status: int = 200,
    *,
    notice: str = "",
    errors: Mapping[str, str] | None = None,
) -> Response:
    done, planned = visit.study.counts(visit.me.id)
    judged = None
    if page.purpose == "practice" and page.answers is not None:
        judged = visit.form.word("practice_right" if right(page.expected, page.answers) else "practice_wrong")
    view = item_view(visit.form, page, fields, errors or {})
    places = {"done": done, "planned": planned, "position": page.position}
    active = (fields.get("active") or ("",))[0]
    return visit.page(
        "item.html",
        status,
        view=view,
        places=places,
        judged=judged,
        why=page.why,
        notice=notice,
        active="" if _active(active) is None else active,
        wait=_seconds_left(visit, page),
        answered=page.answers is not None,
        practice=page.purpose == "practice",
    )


def _seconds_left(visit: Visit, page: Page) -> int:
    if page.answers is not None or not visit.form.wait_seconds:
        return 0
    opened: datetime = page.opened_at or now()
    return max(0, math.ceil(visit.form.wait_seconds - (now() - opened).total_seconds()))


def _active(sent: str) -> float | None:
    """Return the seconds that a page counted; None where it did not, or says nonsense."""
    return float(sent) if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", sent) else None


def done(visit: Visit) -> Response:
    """The last page."""
    if not visit.me.finished:
        return visit.redirect("/next")
    saved = visit.request.query_params.get("saved") == "1"
    return visit.page("done.html", code=visit.me.code, saved=saved, ask=visit.study.settings.feedback)


def give_feedback(visit: Visit) -> Response:
    """Keep what a rater wants to tell."""
    if not visit.me.finished or not visit.study.settings.feedback:
        raise Halt(403, "not_open")
    text = visit.one("feedback").replace("\r\n", "\n").replace("\0", "").strip()
    if len(text) > MAX_TEXT:
        raise Halt(413, "too_large")
    visit.study.finish(visit.me.id, text)
    return visit.redirect("/done?saved=1")


def ask_withdraw(visit: Visit) -> Response:
    """Ask whether they mean it."""
    if visit.me.state == "withdrawn":
        return visit.redirect("/")
    return visit.page("withdraw.html")


def withdraw(visit: Visit) -> Response:
    """Remove everything that a rater answered."""
    visit.study.withdraw(visit.me.id)
    return visit.leave(visit.site.message(200, visit.form.word("withdrawn")))
