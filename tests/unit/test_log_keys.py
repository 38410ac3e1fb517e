"""What is said of estimates of a KL below 0, below each table that shows one."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from rl4lms.cli.common import results_table
from rl4lms.log_keys import below_zero
from rl4lms.stats.paired import NOTHING, Contrast
from rl4lms.studies.compare_text import error_note
from rl4lms.studies.findings import Column, Findings


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kl_per_sequence": -0.1, "reward": -2.0}, "kl_per_sequence: "),
        ({"eval/kl_per_token": -1e-9, "kl_per_sequence": -1.0}, "eval/kl_per_token, kl_per_sequence: "),
        ({"kl_per_sequence": 0.0, "kl_per_token": None, "reward": -1.0}, ""),
        ({"kl_per_token": math.nan}, ""),
    ],
)
def test_which_estimates_are_named(values: dict[str, float | None], named: str) -> None:
    said = below_zero(values)
    assert said.startswith(named)
    assert bool(said) == bool(named)


@pytest.mark.parametrize("kl", [-0.25, 0.25])
def test_tables_say_it(kl: float) -> None:
    table = Console(width=200)
    with table.capture() as shown:
        table.print(results_table("title", {"kl_per_sequence": {"mean": kl, "stderr": None, "n": 3}}))
    means = {"one": {"kl_per_sequence": Contrast(kl, None, -math.inf, math.inf, NOTHING, 0, (1,))}}
    note = error_note(Findings((), (Column("kl_per_sequence", "KL"),), means, {}, (), ()))
    for text in (shown.get(), note):
        assert ("kl_per_sequence: an unbiased estimate" in text) == (kl < 0)
