"""`rl4lms grue`, with jobs that are planned and not run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rl4lms.grue.jobs import Job
from rl4lms.grue.spec import SPEC_FILE
from rl4lms.grue.store import Store
from tests.cli.test_cli import call
from tests.unit.grue.made_up import write_cell


@pytest.fixture
def planned(monkeypatch) -> dict[str, Any]:
    """What `run_jobs` was called with; the first job fails, and those that wait for it are skipped."""
    found: dict[str, Any] = {}

    def run_jobs(jobs: list[Job], logs: Path, **options: Any) -> None:
        found.update(options, jobs=jobs, logs=logs)
        for job in jobs:
            job.state = "done"

    monkeypatch.setattr("rl4lms.grue.runner.run_jobs", run_jobs)
    return found


def specs(folder: Path) -> dict[str, Any]:
    paths = (folder / "cells").glob(f"*/*/*/{SPEC_FILE}")
    return {"/".join(path.parent.parts[-3:]): json.loads(path.read_text())["cell"]["blocks"] for path in paths}


def test_the_options_of_a_run(planned, tmp_path):
    result = call(
        "grue", "run", "--tasks", "commongen, imdb", "--systems", "zero_shot,mine=nlpo", "--seeds", "2",
        "--model", "other", "--reward", "chrf", "--jobs", "3", "--store", tmp_path / "x.sqlite", "--output", tmp_path / "g",
        "mine:algorithm.mask_top_p=0.8", "imdb/*:evaluation.prompts=9",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = specs(tmp_path / "g")
    assert set(found) == {
        f"{task}/{s}/seed-{n}" for task in ("commongen", "imdb") for s in ("zero_shot", "mine") for n in (0, 1)
    }
    assert {blocks["model"]["path"] for blocks in found.values()} == {"other"}
    assert {blocks["reward"]["name"] for blocks in found.values()} == {"chrf"}
    assert found["commongen/mine/seed-1"]["seed"] == 1
    assert found["commongen/mine/seed-1"]["algorithm"]["mask_top_p"] == 0.8
    assert (
        found["imdb/mine/seed-0"]["evaluation"]["prompts"],
        found["commongen/mine/seed-0"]["evaluation"]["prompts"],
    ) != (9, 9)
    assert found["imdb/zero_shot/seed-0"]["evaluation"]["prompts"] == 9
    assert planned["executor"].at_once == 3
    assert (tmp_path / "x.sqlite").exists()
    assert not (tmp_path / "g" / "results.sqlite").exists()
    assert "0 of 8 cells" in result.output  # none has run


def test_the_edition(planned, tmp_path):
    result = call("grue", "run", "--tasks", "commongen", "--systems", "ppo", "--edition", "full", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    blocks = specs(tmp_path)
    assert len(blocks) == 5  # seeds
    assert {b["task"]["edition"] for b in blocks.values()} == {"full"}
    assert {b["model"]["path"] for b in blocks.values()} == {"t5-base"}


def test_finished_cells_are_stored_and_not_run(planned, tmp_path):
    write_cell(tmp_path, "zero_shot", 0, [0.2, 0.4])
    result = call("grue", "run", "--tasks", "commongen", "--systems", "zero_shot", "--seeds", "1", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    assert planned["jobs"] == []
    assert len(Store(tmp_path / "results.sqlite").results()) == 2


def test_a_failed_cell_is_told(monkeypatch, tmp_path):
    def fail(jobs: list[Job], logs: Path, **options: Any) -> None:
        jobs[0].state, jobs[0].error = "failed", "commongen/models failed with exit code 1"
        for job in jobs[1:]:
            job.state = "skipped"

    monkeypatch.setattr("rl4lms.grue.runner.run_jobs", fail)
    result = call("grue", "run", "--tasks", "commongen", "--systems", "ppo", "--seeds", "1", "--output", tmp_path)
    assert result.exit_code == 1
    assert "commongen/models failed with exit code 1" in result.output
    assert "commongen/ppo/seed-0 was skipped" in result.output
    assert "0 of 1 cells" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "comongen"], "did you mean 'commongen'"),
        (["--systems", "pppo"], "no such system or algorithm"),
        (["--tasks", "commongen", "nlpo:algorithm.mask=1"], "mask_top_p"),
        (["--tasks", "commongen", "--store", "mysql://x/y"], "the tested driver is that of mysql"),
        (["--tasks", "commongen", "--ray-address", "auto"], "add --executor ray"),
        (["--tasks", "commongen", "--executor", "ray"], 'ray is not installed; run: pip install "rl4lms[ray]"'),
    ],
)
def test_mistakes_are_told_before_anything_is_written(planned, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = call("grue", "run", "--output", tmp_path / "g", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "g").exists()
    assert planned == {}


def test_the_options_of_a_table(tmp_path):
    for seed in range(2):
        write_cell(tmp_path, "ppo", seed, [0.1, 0.2, 0.3])
    shown = {
        option: call("grue", "table", tmp_path, *option.split()).output
        for option in (
            "",
            "--decoding shared",
            "--metric distinct-2",
            "--format markdown",
            "--format csv",
            "--format latex",
        )
    }
    assert len(set(shown.values())) == len(shown)
    assert "meteor_exact_stem" in shown[""]
    assert "meteor_exact_stem" not in shown["--metric distinct-2"]
    assert call("grue", "table", tmp_path / "none").exit_code == 2
