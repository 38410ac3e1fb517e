"""Which pages there are, who may see them, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rl4lms.human_eval.records import Refused
from rl4lms.human_eval.web import admin, rater
from rl4lms.human_eval.web.failures import FAILURES, status_of
from rl4lms.human_eval.web.guard import read_fields
from rl4lms.human_eval.web.site import Door, Halt, Site, Visit

#: Anyone; whoever has a rater's session; raters who take part; whoever knows the administrator's password.
Who = Literal["anyone", "rater", "rating", "admin"]


@dataclass(frozen=True, slots=True)
class Route:
    """A page, or something that is done.

    Attributes:
        method, path: of the request.
        who: it is open to.
        answer: what is done.
    """

    method: Literal["GET", "POST"]
    path: str
    who: Who
    answer: Callable[[Visit], Response]

    @property
    def door(self) -> Door:
        """Whose cookie counts."""
        return "admin" if self.path.startswith("/admin") else "rater"


ROUTES = (
    Route("GET", "/static/{name}", "anyone", rater.static),
    Route("GET", "/i/{invite}", "anyone", rater.invitation),
    Route("POST", "/i/{invite}", "anyone", rater.accept_invitation),
    Route("GET", "/p/{secret}", "anyone", rater.platform),
    Route("POST", "/p/{secret}", "anyone", rater.accept_platform),
    Route("GET", "/", "rater", rater.home),
    Route("GET", "/consent", "rater", rater.consent),
    Route("POST", "/consent", "rater", rater.give_consent),
    Route("GET", "/instructions", "rating", rater.instructions),
    Route("GET", "/next", "rating", rater.go_on),
    Route("GET", "/item/{position:int}", "rating", rater.item),
    Route("POST", "/item/{position:int}", "rating", rater.save_item),
    Route("POST", "/item/{position:int}/draft", "rating", rater.save_draft),
    Route("GET", "/done", "rating", rater.done),
    Route("POST", "/done", "rating", rater.give_feedback),
    Route("GET", "/withdraw", "rater", rater.ask_withdraw),
    Route("POST", "/withdraw", "rater", rater.withdraw),
    Route("GET", "/admin/login", "anyone", admin.login_page),
    Route("POST", "/admin/login", "anyone", admin.login),
    Route("POST", "/admin/logout", "admin", admin.logout),
    Route("GET", "/admin", "admin", admin.overview),
    Route("POST", "/admin/pause", "admin", admin.pause),
    Route("POST", "/admin/raters/{rater:int}/release", "admin", admin.release),
    Route("GET", "/admin/raters/{rater:int}/withdraw", "admin", admin.ask_withdraw),
    Route("POST", "/admin/raters/{rater:int}/withdraw", "admin", admin.withdraw),
    Route("GET", "/admin/export/{name}", "admin", admin.export),
)


def endpoint(site: Site, route: Route) -> Callable[[Request], Awaitable[Response]]:
    """Return what the server calls for a route."""

    async def answer(request: Request) -> Response:
        fields: Mapping[str, Sequence[str]] = {}
        if route.method == "POST":
            try:
                fields = await read_fields(request)
            except Halt as halt:
                return told(site, halt)
        return await run_in_threadpool(_answer, site, route, request, fields)

    return answer


def told(site: Site, halt: Halt) -> Response:
    """Return the page that says why a visit ended, to whoever it is."""
    return site.message(halt.status, site.form.word(halt.word, *halt.values))


def _answer(site: Site, route: Route, request: Request, fields: Mapping[str, Sequence[str]]) -> Response:
    visit = Visit(site, request, route.door, fields, request.path_params)
    try:
        if route.method == "POST":
            visit.check_origin()
        _check_who(visit, route)
        if route.method == "POST":
            visit.check_token()
        away = _elsewhere(visit, route)
        return route.answer(visit) if away is None else visit.redirect(away)
    except Halt as halt:
        return told(site, halt)
    except Refused:
        link = "/admin" if route.door == "admin" else "/next"
        return site.message(403, site.form.word("not_open"), link=link)
    except FAILURES as error:
        return _not_saved(site, request, fields, status_of(error))


def _check_who(visit: Visit, route: Route) -> None:
    """Refuse strangers.

    Raises:
        Halt: somebody is none of those whom a route is open to.
    """
    if route.who == "admin":
        if not visit.is_admin and route.method == "POST":
            raise Halt(403, "not_open")
    elif route.who != "anyone":
        state = visit.me.state
        if route.who == "rating" and state != "rate" and route.method == "POST":
            raise Halt(403, "not_open")


def _elsewhere(visit: Visit, route: Route) -> str | None:
    """Return where somebody has to go first; None where they may stay."""
    if route.who == "admin" and not visit.is_admin:
        return "/admin/login"
    if route.who == "rating" and visit.me.state != "rate":
        return "/"
    return None


def _not_saved(site: Site, request: Request, fields: Mapping[str, Sequence[str]], status: int) -> Response:
    """Return a page that can send the same form again, without asking the database anything."""
    if request.method != "POST":
        return site.message(status, site.form.word("problem"), link=request.url.path)
    # a password is not put into a page
    kept: list[tuple[str, Any]] = [
        (name, value) for name, values in fields.items() for value in values if name != "password"
    ]
    retry = {"action": request.url.path, "fields": kept}
    return site.message(status, site.form.word("not_saved"), retry=None if "password" in fields else retry)
