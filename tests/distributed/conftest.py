"""One start of two processes for all tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed import test_torchrun as whole
from tests.distributed import test_two_processes as pieces
from tests.distributed.processes import in_two_processes


@pytest.fixture(scope="session")
def two_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one process and two have done all that is compared, and what else two are needed for."""
    folder = tmp_path_factory.mktemp("two")
    selected = {item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")}
    pieces.one_trains_cases(folder, [case for case in pieces.ALL_CASES if case in selected | set(pieces.QUICK)])
    whole.one_runs(folder)
    in_two_processes(
        pieces.two_train_cases,
        pieces.all_wrapped_gradients,
        pieces.without_the_sum,
        pieces.one_fails,
        whole.two_are_stopped,
        folder=folder,
    )
    return folder
