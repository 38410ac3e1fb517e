"""The net under changes of structure: numbers of short runs and the pages of `rl4lms show` are those that were
recorded.
"""

from __future__ import annotations

import json

import pytest

from tests.net.record import CASES, RECORDED, numbers, shown


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_short_runs_give_the_recorded_numbers(recorded: dict, case: str) -> None:
    for found, expected in zip(numbers(case)["lines"], recorded["numbers"][case]["lines"], strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=2e-3, abs=2e-3), name  # another CPU rounds otherwise


@pytest.mark.slow
def test_components_are_shown_as_recorded(recorded: dict) -> None:
    assert shown() == recorded["shown"]
