"""Every family of `transformers` is sampled, scored and trained right, or refused with one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from tests.properties.family_sweep import committed_rows, sweep, without_numbers
from tests.properties.family_zoo import NAMES

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

# Ways of being run: experts, ALiBi, a wrapped decoder; and a refusal.
QUICK = (
    "causal:mixtral",
    "causal:bloom",
    "causal:bart",
    "causal:recurrent_gemma",
)


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_the_page_says_what_a_family_does(family: str) -> None:
    found = sweep(family)
    assert found.result != "fails", found.note
    assert without_numbers(found.row()) == without_numbers(committed_rows()[family])


@pytest.mark.skipif(
    f"transformers=={transformers.__version__}\n" not in CONSTRAINTS.read_text(encoding="utf-8"),
    reason="the page lists the families of the version in constraints.txt",
)
def test_the_page_has_every_family() -> None:
    assert list(committed_rows()) == NAMES
