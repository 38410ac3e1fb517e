"""Studies, and who visits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rl4lms.human_eval.app import create_app
from tests.human import Client, Made, make_study


@pytest.fixture
def study(tmp_path: Path) -> Made:
    """A Likert study: two raters, each with six items, a check and a repeat; a spare one."""
    return make_study(tmp_path / "study.sqlite", attention=1, repeats=1, spares=1)


@pytest.fixture
def visit() -> Iterator[Callable[..., Client]]:
    """Opens a browser without a screen at a study; browsers of one study share its server."""
    open_clients: list[TestClient] = []
    apps: dict[str, Any] = {}

    def begin(made: Made, base_url: str = "http://testserver", **options: Any) -> Client:
        key = f"{made.where} {options}"
        if key not in apps:
            apps[key] = create_app(made.where, **options)
        # without the lifespan of the server, which would close the study for the other browsers
        http = TestClient(apps[key], base_url=base_url, raise_server_exceptions=False)
        open_clients.append(http)
        return Client(http)

    yield begin
    for http in open_clients:
        http.close()
