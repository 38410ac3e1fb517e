"""What every request passes before anything is looked up: the name of the host, the size of what is sent, and the
headers of what is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from rl4lms.human_eval.web.site import Halt

MAX_BYTES = 512 * 1024
MAX_FIELDS = 500

_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("style", "script", "img", "connect")),
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
# With `no-referrer` browsers send `Origin: null` with forms, which says nothing; this one tells other sites as little.
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}


class Guard:
    """Wraps an application: refuses requests for other hosts, and puts security headers on every response.

    Args:
        app: the application (ASGI).
        host_names: that are answered to; all where there are none.
    """

    def __init__(self, app: Any, host_names: Sequence[str]) -> None:
        self._app = app
        self._names = {name.lower().strip("[]") for name in host_names}

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                extra = {**HEADERS} if b"cache-control" in names else {**HEADERS, "Cache-Control": "no-store"}
                found = [(name.lower().encode(), value.encode()) for name, value in extra.items()]
                message = {**message, "headers": [*message["headers"], *found]}
            await send(message)

        if self._names and _host(scope) not in self._names:
            await PlainTextResponse("This server is not known by that name.\n", 421)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def _host(scope: Any) -> str:
    """Return the name of the host that is asked, without its port."""
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(sent) != 1:
        return ""
    name, _, port = sent[0].lower().rpartition(":")
    return (name if port.isdigit() and name else sent[0].lower()).strip("[]")


async def read_fields(request: Request) -> Mapping[str, Sequence[str]]:
    """Read the fields of a form, and of one that is too large no more than that.

    Raises:
        Halt: it is too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Halt(415, "problem")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BYTES:
        raise Halt(413, "too_large")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise Halt(413, "too_large")
    try:
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError as error:
        raise Halt(413, "too_large") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
