"""The web application of a study: pages for raters, and one for whoever runs it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from rl4lms.human_eval.store import Study
from rl4lms.plugins.packages import of_extra


def create_app(
    where: str | Path, *, behind_proxy: bool = False, secure: bool = False, host_names: Sequence[str] = ()
) -> Any:
    """Return the application that serves a study, as a `fastapi.FastAPI`.

    Args:
        where: the database of the study: a path, or a URL.
        behind_proxy: believe the last entries of X-Forwarded-For and X-Forwarded-Proto, which a proxy has set.
        secure: browsers come by https, so cookies are for that alone.
        host_names: names that are answered to; all where there are none.

    Raises:
        ConfigError: there is no such study.
        MissingExtraError: fastapi is not installed.
    """
    fastapi = of_extra("fastapi")
    from starlette.requests import Request
    from starlette.responses import Response

    from rl4lms.human_eval.web.guard import HEADERS, Guard
    from rl4lms.human_eval.web.routes import ROUTES, endpoint, told
    from rl4lms.human_eval.web.site import Halt, Options, Site

    site = Site(Study(where), Options(behind_proxy, secure, tuple(host_names)))

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        site.study.close()

    async def not_there(request: Request, error: Exception) -> Response:
        return told(site, Halt(getattr(error, "status_code", 404), "no_page"))

    async def broken(request: Request, error: Exception) -> Response:
        response = told(site, Halt(500, "problem"))
        response.headers.update({**HEADERS, "Cache-Control": "no-store"})  # nothing of it passes the guard
        return response

    app = fastapi.FastAPI(
        title="rl4lms human",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers={404: not_there, 405: not_there, 500: broken},
    )
    for route in ROUTES:
        methods = ["GET", "HEAD"] if route.method == "GET" else ["POST"]
        app.router.add_route(route.path, endpoint(site, route), methods=methods, include_in_schema=False)
    app.add_middleware(Guard, host_names=tuple(host_names))
    return app
