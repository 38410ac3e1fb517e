"""The pages of whoever runs the study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rl4lms.human_eval.records import RaterProgress
from rl4lms.human_eval.store import Study
from rl4lms.human_eval.web.site import Halt, Visit
from rl4lms.reporting.inert import inert_formula


@dataclass(frozen=True, slots=True)
class Export:
    """A file that the administrator can download.

    Attributes:
        title: what people choose it by.
        file, type: its name and media type.
        write: returns what is in it.
    """

    title: str
    file: str
    type: str
    write: Callable[[Study], bytes]


def ratings_csv(study: Study) -> bytes:
    """Return all ratings as CSV, in which no cell is a formula."""
    keys = [*{"pairwise": ("choice",), "best_worst": ("best", "worst")}.get(study.form.kind, ())]
    keys += [question.key for question in study.form.questions]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    about = ("rater", "item", "purpose", "prompt_id", "stratum", "repeat_of", "systems", "completions", "order")
    table.writerow([*about, *map(inert_formula, keys), "seconds", "edits", "rated_at"])
    for one in study.ratings():
        repeat_of = "" if one.repeat_of is None else one.repeat_of
        row: list[Any] = [one.rater, one.item, one.purpose, one.prompt_id, one.stratum, repeat_of]
        row += [_json(list(one.systems)), _json(list(one.completions)), _json(list(one.order))]
        row += [value if isinstance(value, str) else _json(value) for value in (one.answers.get(key) for key in keys)]
        row += [round(one.seconds, 3), one.edits, one.rated_at.isoformat()]
        table.writerow([_inert(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue().encode("utf-8", "replace")


def _inert(text: str) -> str:
    """Return a text that is no formula, in its lines."""
    return "\n".join(map(inert_formula, text.split("\n")))


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


#: By the last part of their address.
EXPORTS: dict[str, Export] = {
    "ratings.csv": Export("All ratings (CSV)", "ratings.csv", "text/csv; charset=utf-8", ratings_csv),
}


def login_page(visit: Visit) -> Response:
    """Ask for the password."""
    return visit.redirect("/admin") if visit.is_admin else visit.page("login.html", error="", title="Log in")


def login(visit: Visit) -> Response:
    """Let in whoever knows the password."""
    with visit.site.login:
        visit.check_attempts("password")
        if not visit.study.doors.is_password(visit.one("password")):
            visit.study.doors.note_attempt("password", visit.source)
            return visit.page("login.html", 403, error="This is not the password.", title="Log in")
    return visit.enter(None, "/admin")


def logout(visit: Visit) -> Response:
    """End the administrator's session."""
    return visit.leave(visit.redirect("/admin/login"))


def overview(visit: Visit) -> Response:
    """How far the study is."""
    study = visit.study
    raters = study.progress()
    missing, free = study.open_ratings()
    planned, rated = sum(one.planned for one in raters) + free, sum(one.rated for one in raters)
    return visit.page(
        "admin.html",
        title=study.settings.name,
        settings=study.settings,
        raters=raters,
        pages={"planned": planned, "rated": rated, "missing": missing, "free": free},
        agreements=visit.site.agreement(study),
        seconds=_mean_seconds(raters),
        paused=study.paused,
        exports=EXPORTS,
    )


def _mean_seconds(raters: list[RaterProgress]) -> float | None:
    timed = [(one.seconds, one.rated) for one in raters if one.seconds is not None and one.rated]
    return sum(seconds * rated for seconds, rated in timed) / sum(rated for _, rated in timed) if timed else None


def pause(visit: Visit) -> Response:
    """Pause the study, or go on with it."""
    visit.study.pause(visit.one("paused") == "yes")
    return visit.redirect("/admin")


def release(visit: Visit) -> Response:
    """Give a rater's open items to others."""
    visit.study.release(_rater(visit))
    return visit.redirect("/admin")


def ask_withdraw(visit: Visit) -> Response:
    """Ask whether everything of a rater is to be removed."""
    return visit.page("admin_withdraw.html", rater=_rater(visit), title=visit.study.settings.name)


def withdraw(visit: Visit) -> Response:
    """Remove everything that a rater answered."""
    visit.study.withdraw(_rater(visit))
    return visit.redirect("/admin")


def _rater(visit: Visit) -> int:
    return visit.study.rater(visit.path["rater"]).id


def export(visit: Visit) -> Response:
    """A file of all ratings."""
    found = EXPORTS.get(visit.path["name"])
    if found is None:
        raise Halt(404, "no_page")
    headers = {"Content-Disposition": f'attachment; filename="{found.file}"'}
    return Response(found.write(visit.study), media_type=found.type, headers=headers)
