"""What is said of a cell that was run again. That it is run is a slow test of `test_verify.py`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl4lms.grue import reproduce as module
from rl4lms.grue.reproduce import TOLERANCE, Rerun, reproduce
from rl4lms.grue.result import RESULTS_FILE, Value, read_results, write_results
from rl4lms.grue.scores import read_scores
from rl4lms.grue.verify import TIER_FILE, tier_of
from tests.unit.grue.made_up import change

Run = Callable[[Mapping[str, Any]], Rerun]
HERE, THERE = "x86_64, here", "x86_64, there"


@pytest.fixture
def again(place: Path, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Reproduces the cell at `place`; the second run, on the processor `HERE`, has these changes."""
    other = write(tmp_path / "other", 0)

    class Second:
        def __init__(self, *_: Any) -> None: ...

        def run(self, **_: Any) -> list[Any]:
            return []

        def place(self, _: Any) -> Path:
            return other

        def results(self, _: Any) -> Any:
            return read_results(other / RESULTS_FILE)

    monkeypatch.setattr(module, "Grid", Second)
    monkeypatch.setattr(module, "processor", lambda: HERE)

    def run(changes: Mapping[str, Any]) -> Rerun:
        change(other / RESULTS_FILE, lambda rows: rows[0]["metrics"].update(changes))
        change(other / "own.parquet", lambda rows: rows[1].update(completion="another text"))
        return reproduce(place, contextlib.nullcontext(lambda jobs: None))

    return run


def made_on(place: Path, processor: str | None) -> None:
    rows = [one.model_copy(update={"processor": processor}) for one in read_results(place / RESULTS_FILE)]
    write_results(place / RESULTS_FILE, rows)


def moved(place: Path, errors: float) -> dict[str, Any]:
    """METEOR of the cell, so many standard errors of the difference away."""
    value = read_results(place / RESULTS_FILE)[0].metrics["meteor_exact_stem"]
    values = read_scores(place / "own.parquet").columns["meteor_exact_stem"]
    stderr = float(np.std(values, ddof=1) / math.sqrt(len(values)))  # not what the result says of itself
    assert value.mean is not None
    return {"meteor_exact_stem": {**value.model_dump(), "mean": value.mean - errors * math.sqrt(2) * stderr}}


@pytest.mark.parametrize("processor", [THERE, None])
def test_on_another_processor_numbers_may_differ_as_much_as_between_seeds(place, again, processor):
    made_on(place, processor)
    done = again(moved(place, 0.99 * TOLERANCE))
    assert done.faults == []
    assert "within the tolerance: made on" in done.note
    assert "the largest difference is 5.9 of 6 standard errors (meteor_exact_stem, own)" in done.note
    assert tier_of(place) == "re-run"
    assert "within the tolerance" in (place / TIER_FILE).read_text()
    (place / TIER_FILE).unlink()
    done = again(moved(place, 1.01 * TOLERANCE))
    assert len(done.faults) == 1
    assert "own: meteor_exact_stem" in done.faults[0]
    assert "6.1 standard errors of the difference, and 6 may be" in done.faults[0]
    assert tier_of(place) == "reported"


def test_on_the_same_kind_of_processor_every_bit_counts(place, again):
    made_on(place, HERE)
    done = again(moved(place, 0.001))
    assert "own: 1 of 6 texts are others" in done.faults[0]
    assert "own: meteor_exact_stem" in done.faults[1]
    assert done.faults[-1].endswith(f"it was made with these packages on such a processor as this, {HERE}")
    assert tier_of(place) == "reported"


def test_other_packages_round_otherwise_too(place, again):
    rows = [one.model_copy(update={"processor": HERE}) for one in read_results(place / RESULTS_FILE)]
    older = [one.model_copy(update={"packages": {**one.packages, "torch": "1"}}) for one in rows]
    write_results(place / RESULTS_FILE, older)
    done = again(moved(place, 0.99 * TOLERANCE))
    assert done.faults == []
    assert f"made on {HERE} with other versions of torch, run again on {HERE}" in done.note
    library = [one.model_copy(update={"packages": {**one.packages, "rl4lms": "0.0.1"}}) for one in rows]
    write_results(place / RESULTS_FILE, library)
    assert again({}).faults  # a change of this library is a difference


def test_a_number_without_an_error_is_counted_and_one_that_is_missing_is_a_fault(place, again):
    made_on(place, THERE)
    for row in (changed := read_results(place / RESULTS_FILE)):
        row.metrics["entropy"] = Value(mean=1.0, stderr=None, n=6)
    write_results(place / RESULTS_FILE, changed)
    assert "entropy is there once and not the other time" in again({}).faults[0]
    change_both = {"entropy": {"mean": 2.0, "stderr": None, "n": 6}}
    done = again(change_both)
    assert all("shared" in fault for fault in done.faults)  # there entropy is still missing
    assert done.note.endswith("not compared, because they have no errors: 1")


def test_what_is_equal_is_so_to_the_last_bit(place, again, monkeypatch):
    monkeypatch.setattr(module, "read_scores", lambda path: read_scores(place / path.name))
    assert again({}) == Rerun([], "the same texts and numbers to the last bit")
