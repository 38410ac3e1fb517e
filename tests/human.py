"""Small studies, raters without a browser, and servers for those with one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rl4lms.human_eval.creation import Created, create_study
from rl4lms.human_eval.forms import Form, find_form
from rl4lms.human_eval.outputs import Output
from rl4lms.human_eval.plan import make_plan
from rl4lms.human_eval.records import Page, Settings
from rl4lms.human_eval.store import Study

SYSTEMS = ("zebra-system", "quokka-system")


@dataclass(frozen=True)
class Made:
    """A study for a test: its database, and what was told when it was created."""

    where: str
    created: Created
    form: Form

    def open(self) -> Study:
        return Study(self.where)


def outputs(prompts: int, systems: Sequence[str] = SYSTEMS, context: Mapping[str, Any] | None = None) -> list[Output]:
    """Texts from which nobody can tell the system."""
    return [
        Output(
            f"hidden-prompt-{number}",
            f"words of prompt {number}",
            f"A text, the {'abcdefgh'[place]}th about prompt {number}.",
            system,
            seed=7_654_321,
            context={"text": f"words of prompt {number}", **(context or {})},
            stratum="hidden-stratum",
            values={"hidden_metric": 0.5},
        )
        for number in range(prompts)
        for place, system in enumerate(systems)
    ]


def make_study(
    where: str | Path,
    form: Form | str = "likert",
    *,
    texts: Sequence[Output] | None = None,
    items: int = 3,
    per_item: int = 2,
    raters: int = 2,
    settings: Mapping[str, Any] | None = None,
    **plan: Any,
) -> Made:
    """A study that was just created."""
    chosen = find_form(form, None) if isinstance(form, str) else form
    texts = outputs(items) if texts is None else texts
    planned = make_plan(texts, chosen, items=items, per_item=per_item, raters=raters, **plan)
    about = Settings(**{"name": "hidden study name", "per_item": per_item, **(settings or {})})
    return Made(str(where), create_study(where, chosen, about, planned), chosen)


def with_form(form: Form, **changes: Any) -> Form:
    """A form with other values."""
    return Form.model_validate({**form.model_dump(), **changes})


def answer_fields(form: Form, page: Page) -> dict[str, list[str]]:
    """Fields that answer a page: what is expected where something is, else the first of everything."""
    fields = {}
    for question in form.scales:
        fields[question.key] = [str((page.expected.get(question.key) or [question.high])[0])]
    for name in {"pairwise": ("choice",), "best_worst": ("best", "worst")}.get(form.kind, ()):
        output = (page.expected.get(name) or [page.order[name == "worst"]])[0]
        fields[name] = [str(output) if output == "tie" else str(page.order.index(output) + 1)]
    return fields


class Client:
    """A browser without a screen: keeps cookies, and takes the token from the page it was shown last.

    Args:
        http: a client of starlette's or httpx's kind, that follows no redirects.
    """

    def __init__(self, http: Any) -> None:
        self.http = http
        self.csrf = ""

    def get(self, path: str, **options: Any) -> Any:
        return self._seen(self.http.get(path, follow_redirects=False, **options))

    def post(self, path: str, fields: Mapping[str, Any] | None = None, **options: Any) -> Any:
        data = {"csrf": self.csrf, **(fields or {})}
        return self._seen(self.http.post(path, data=data, follow_redirects=False, **options))

    def _seen(self, response: Any) -> Any:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', response.text)
        if found:
            self.csrf = found[1]
        return response

    def plant(self, name: str, token: str) -> None:
        """Set a cookie as somebody else would."""
        self.http.cookies.set(name, token, domain="testserver.local", path="/")

    def to(self, path: str) -> Any:
        """Go to a page, and on where it leads."""
        response = self.get(path)
        for _ in range(10):
            if response.status_code not in (302, 303, 307):
                return response
            response = self.get(response.headers["location"])
        raise AssertionError("a circle of redirects")

    def enter(self, invite: str) -> None:
        """Begin, or come back."""
        assert self.get(f"/i/{invite}").status_code == 200
        assert self.post(f"/i/{invite}").status_code == 303
        page = self.to("/")
        assert page.status_code == 200
        if page.url.path == "/consent":
            assert self.post("/consent", {"consent": "yes"}).status_code == 303

    def log_in(self, password: str) -> None:
        self.get("/admin/login")
        assert self.post("/admin/login", {"password": password}).status_code == 303
        assert self.get("/admin").status_code == 200


@dataclass
class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its texts."""

    elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--", ()))


def parse(page: str) -> Parsed:
    parsed = Parsed()
    parsed.feed(page)
    parsed.close()
    return parsed


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@dataclass
class Server:
    """A process that serves a study."""

    process: subprocess.Popen[str]
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; returns the exit code, and what was printed."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def serving(where: str, *words: str, port: int | None = None, python: str = sys.executable) -> Iterator[Server]:
    """Serve a study with the command, until the end of the block."""
    port = free_port() if port is None else port
    command = [python, "-m", "rl4lms", "human", "serve", where, "--port", str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    try:
        until = time.monotonic() + 180
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise AssertionError(f"the server does not come up: {process.communicate()[0]}")
            time.sleep(0.1)
        yield Server(process, port)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
