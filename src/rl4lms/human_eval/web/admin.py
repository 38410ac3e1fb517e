"""The pages of whoever runs the study."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from rl4lms.errors import DataError
from rl4lms.human_eval import exports
from rl4lms.human_eval.exports import Format
from rl4lms.human_eval.reading import answers_of
from rl4lms.human_eval.records import RaterProgress
from rl4lms.human_eval.web.site import Halt, Visit


@dataclass(frozen=True, slots=True)
class Export:
    """A file that the administrator can download: one that `rl4lms human export` writes.

    Attributes:
        title: what people choose it by.
        format: of the export.
        type: its media type.
    """

    title: str
    format: Format
    type: str


_LINES, _JSON = "application/x-ndjson; charset=utf-8", "application/json; charset=utf-8"
#: By the last part of their address, which is the name of the file.
EXPORTS: dict[str, Export] = {
    "ratings.csv": Export("All answers (CSV)", "csv", "text/csv; charset=utf-8"),
    "ratings.jsonl": Export("All answers (JSONL)", "jsonl", _LINES),
    "ratings.parquet": Export("All answers (Parquet)", "parquet", "application/vnd.apache.parquet"),
    "preferences.jsonl": Export("Preferences for training (TRL)", "trl", _LINES),
    "argilla.json": Export("Argilla", "argilla", _JSON),
    "label-studio.json": Export("Label Studio", "label-studio", _JSON),
    "potato.jsonl": Export("Potato", "potato", _LINES),
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
    """Write the answers as a file; where they make none, say why."""
    name = visit.path["name"]
    if name not in EXPORTS:
        raise Halt(404, "no_page")
    found = EXPORTS[name]
    try:
        content = exports.export(answers_of(visit.study), found.format)
    except DataError as error:  # nobody has answered, or of preferences nobody preferred anything
        return Response(f"{error}\n", 409, media_type="text/plain; charset=utf-8")
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=found.type, headers=headers)
