"""What all pages of a study share: its templates, cookies and tokens, and one visit of a browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rl4lms.human_eval.doors import ATTEMPTS_MINUTES, SESSION_DAYS
from rl4lms.human_eval.forms import Example
from rl4lms.human_eval.records import Rater
from rl4lms.human_eval.store import Study
from rl4lms.human_eval.web.agreement import AgreementSoFar
from rl4lms.human_eval.web.views import example_answers

Door = Literal["rater", "admin"]

_HERE = Path(__file__).parent
_ICON = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<rect width="16" height="16" rx="3" fill="#1f5fa8"/>
<path d="M4 8.5l2.7 2.7L12 5.5" fill="none" stroke="#fff" stroke-width="2"/></svg>
"""
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Halt(Exception):
    """Ends a visit with a page that says why.

    Args:
        status: of the response.
        word: the key of a text of the pages.
        values: that fill it.
    """

    def __init__(self, status: int, word: str, *values: object) -> None:
        super().__init__(status, word)
        self.status, self.word, self.values = status, word, values


@dataclass(frozen=True, slots=True)
class Options:
    """How a site is served.

    Attributes:
        behind_proxy: whether the last entries of X-Forwarded-For and X-Forwarded-Proto are believed.
        secure: whether browsers reach it by https, whatever the proxy says.
        host_names: that it answers to; all where there are none.
    """

    behind_proxy: bool = False
    secure: bool = False
    host_names: Sequence[str] = ()


class Site:
    """The pages of one study.

    Args:
        study: which.
        options: how it is served.

    Attributes:
        files: what stands in `static/`, by name.
        agreement: of the raters so far.
        login: held while a password is compared, so that attempts at the same time are counted one by one.
    """

    def __init__(self, study: Study, options: Options) -> None:
        self.study, self.form, self.options = study, study.form, options
        self.files: dict[str, tuple[bytes, str]] = {"icon.svg": (_ICON, _TYPES[".svg"])}
        for path in sorted(_HERE.joinpath("static").iterdir()):
            if path.suffix in _TYPES:
                self.files[path.name] = (path.read_bytes(), _TYPES[path.suffix])
        self.agreement = AgreementSoFar()
        self.login = threading.Lock()
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            word=self.form.word, form=self.form, static=self._address, example_answers=self._example_answers
        )

    def _address(self, name: str) -> str:
        """Return the address of a file, which changes with what is in it."""
        return f"/static/{name}?v={hashlib.sha256(self.files[name][0]).hexdigest()[:16]}"

    def _example_answers(self, example: Example) -> list[tuple[str, str]]:
        return example_answers(self.form, example)

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        text = self._templates.get_template(template).render(
            {"csrf": "", "title": self.form.title, "door": "rater", **values}
        )
        # what is no character, such as half of a surrogate pair in a model's text, has no bytes
        content = text.encode("utf-8", "replace")
        return Response(content, status, media_type="text/html; charset=utf-8")

    def message(self, status: int, text: str, **values: Any) -> Response:
        """Return a page that says one thing."""
        return self.render("message.html", status, text=text, **{"link": None, "retry": None, **values})


class Visit:
    """One request, and who makes it.

    Args:
        site: that is asked.
        request: of the browser.
        door: whose cookie counts.
        fields: of the form that was sent, by name.
        path: values of the parts of the address.
    """

    def __init__(
        self,
        site: Site,
        request: Request,
        door: Door,
        fields: Mapping[str, Sequence[str]],
        path: Mapping[str, Any],
    ) -> None:
        self.site, self.study, self.form = site, site.study, site.form
        self.request, self.door, self.fields, self.path = request, door, fields, path
        sent = request.cookies.get(self._cookie, "")
        # somebody who is not in yet has a token, too: forms of strangers are theirs
        self._new = not 20 <= len(sent) <= 100
        self.token = secrets.token_urlsafe(32) if self._new else sent

    @cached_property
    def secure(self) -> bool:
        """Whether the browser came by https."""
        options = self.site.options
        forwarded = self.request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip()
        return options.secure or (options.behind_proxy and forwarded == "https") or self.request.url.scheme == "https"

    @cached_property
    def source(self) -> str:
        """Where the browser is: its address, or the network of 2⁶⁴ addresses that one customer has."""
        address = self.request.client.host if self.request.client else ""
        if self.site.options.behind_proxy:
            address = self.request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return address
        return str(known) if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))

    @property
    def _cookie(self) -> str:
        return f"{'__Host-' if self.secure else ''}rl4lms-{self.door}"

    @cached_property
    def csrf(self) -> str:
        """The token of this session's forms."""
        return self.study.doors.keyed(f"csrf {self.door} {self.token}")

    @cached_property
    def _session(self) -> tuple[bool, int | None]:
        return (False, None) if self._new else self.study.doors.session(self.token)

    @property
    def is_admin(self) -> bool:
        """Whether the administrator is logged in."""
        return self.door == "admin" and self._session == (True, None)

    @cached_property
    def rater(self) -> Rater | None:
        """Who rates; None for strangers."""
        is_open, rater = self._session
        return self.study.rater(rater) if self.door == "rater" and is_open and rater is not None else None

    @property
    def me(self) -> Rater:
        """Who rates.

        Raises:
            Halt: a stranger.
        """
        if self.rater is None:
            raise Halt(403, "no_invite")
        return self.rater

    def one(self, name: str) -> str:
        """Return a field that is sent once; empty where it is not."""
        sent = self.fields.get(name, ())
        return sent[0] if len(sent) == 1 else ""

    def check_origin(self) -> None:
        """Refuse a form that another site sends, as far as the browser says so.

        Raises:
            Halt: it does.
        """
        headers = self.request.headers
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Halt(403, "stale")
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin, headers.get("host", "")):
            raise Halt(403, "stale")

    def check_token(self) -> None:
        """Refuse a form that is not of this session.

        Raises:
            Halt: it is not.
        """
        if not hmac.compare_digest(self.one("csrf").encode(), self.csrf.encode()):
            raise Halt(403, "stale")

    def check_attempts(self, kind: str) -> None:
        """Refuse who has been wrong too often.

        Raises:
            Halt: they have.
        """
        if self.study.doors.too_many(kind, self.source):
            raise Halt(429, "too_often", ATTEMPTS_MINUTES)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page with the token of this session."""
        values = {"csrf": self.csrf, "door": self.door, **values}
        text = self.site.render(template, status, **values)
        return self._with_cookie(text)

    def message(self, status: int, text: str, **values: Any) -> Response:
        """Return a page that says one thing."""
        return self.page("message.html", status, text=text, **{"link": None, "retry": None, **values})

    def redirect(self, path: str) -> Response:
        """Lead the browser to another page of this site."""
        return RedirectResponse(path, 303)

    def enter(self, rater: int | None, path: str) -> Response:
        """Begin a session, of a rater or of the administrator (None): its token is always a new one."""
        if self._session[0]:
            self.study.doors.end_session(self.token)
        self.token, self._new = self.study.doors.begin_session(rater), True
        days = SESSION_DAYS if rater is not None else 1
        return self._with_cookie(self.redirect(path), max_age=days * 86_400)

    def leave(self, response: Response) -> Response:
        """End the session."""
        self.study.doors.end_session(self.token)
        response.delete_cookie(self._cookie, path="/", secure=self.secure, httponly=True, samesite="lax")
        return response

    def _with_cookie(self, response: Response, max_age: int | None = None) -> Response:
        if self._new:
            flags: dict[str, Any] = {"httponly": True, "samesite": "lax", "path": "/", "secure": self.secure}
            response.set_cookie(self._cookie, self.token, max_age=max_age, **flags)
        return response


def _same_place(origin: str, host: str) -> bool:
    """Return whether an Origin header names the host of the request; a port is left out where it is the usual one."""
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(theirs.scheme)
        return usual is not None and (theirs.hostname, theirs.port or usual) == (ours.hostname, ours.port or usual)
    except ValueError:
        return False
