"""A finished cell whose predictions are references."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rl4lms.grue.rescore import Scorer
from rl4lms.grue.result import RESULTS_FILE, Value, write_results
from rl4lms.grue.scores import documents_of, write_scores
from rl4lms.grue.spec import write_spec
from rl4lms.grue.suite import Cell, System, cells
from rl4lms.grue.verify import Checker
from tests.unit.grue.made_up import predictions, result, task

SETTINGS = ["evaluation.prompts=6", "evaluation.metrics=[meteor_exact_stem, commongen_grammar, reference_perplexity]"]


def cell_of(seed: int) -> Cell:
    (cell,) = cells(["commongen"], [System.read("zero_shot")], [seed], settings=SETTINGS)
    return cell


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return Scorer.of(cell_of(0).recipe(Path("run")), "test")


@pytest.fixture(scope="session")
def checkers() -> dict[str, Checker]:
    return {}


@pytest.fixture(scope="session")
def write(scorer) -> Callable[[Path, int], Path]:
    """Writes the finished cell of a seed into a grid."""
    rows = {row.id: row for row in predictions()}
    drawn = [rows[name] for name in scorer.drawn(cell_of(0).recipe(Path("run")))]
    scored = scorer([replace(drawn[0], completion=""), *drawn[1:]], wanted=())
    documents = documents_of(task(), "test")
    records = [{**row, "reward": 0.5} for row in scored.samples]
    values = {key: Value.of(found) for key, found in scored.results.items()}
    values["reward"] = Value(mean=0.5, stderr=0.0, n=6)

    def add(grid: Path, seed: int) -> Path:
        cell = cell_of(seed)
        folder = grid / "cells" / cell.key
        write_spec(folder, cell, Path("/home/me/model"))
        results = []
        for decoding in ("own", "shared"):
            write_scores(folder / f"{decoding}.parquet", records, documents)
            about = {"fingerprint": cell.fingerprint, "algorithm": None, "metrics": values, "prompts": 6}
            results.append(result("zero_shot", seed, decoding, **about))
        write_results(folder / RESULTS_FILE, results)
        return folder

    return add


@pytest.fixture
def add_cell(tmp_path, write) -> Callable[[int], Path]:
    """Writes the finished cell of a seed into the grid at `tmp_path / "grid"`."""
    return functools.partial(write, tmp_path / "grid")


@pytest.fixture
def place(add_cell) -> Path:
    return add_cell(0)
