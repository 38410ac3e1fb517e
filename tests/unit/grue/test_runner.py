from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl4lms.errors import ConfigError
from rl4lms.grue.board import read_cells
from rl4lms.grue.executors import Processes
from rl4lms.grue.jobs import Job
from rl4lms.grue.runner import Grid
from rl4lms.grue.spec import write_spec
from rl4lms.grue.suite import System, cells
from tests.unit.grue.made_up import write_cell


def grid(folder: Path, *settings: str) -> Grid:
    systems = [System.read(name) for name in ("zero_shot", "supervised", "supervised+ppo")]
    return Grid(folder, cells(["commongen"], systems, [0], settings=settings))


def test_a_cell_with_other_settings_is_not_taken_for_this_one(tmp_path):
    first = grid(tmp_path)
    write_spec(first.place(first.cells[1]), first.cells[1], None)
    first.check()
    with pytest.raises(ConfigError, match=r"supervised/seed-0: .* \(evaluation\.prompts: 128, now 5\); name another"):
        grid(tmp_path, "evaluation.prompts=5").check()
    write_spec(first.place(first.cells[2]), first.cells[2], None)
    other = grid(tmp_path, "supervised:supervised.max_steps=1")
    (tmp_path / "cells/commongen/supervised/seed-0/cell.json").unlink()
    with pytest.raises(ConfigError, match="of the model that it begins with"):
        other.check()


def test_jobs_of_what_is_missing(tmp_path, monkeypatch):
    asked: list[Job] = []
    monkeypatch.setattr("rl4lms.grue.runner.run_jobs", lambda jobs, logs, **options: asked.extend(jobs))
    write_cell(tmp_path, "supervised", 0, [0.5])
    told = []
    own = grid(tmp_path)
    left = own.run(
        executor=Processes(1),
        show=lambda every, done: contextlib.nullcontext(lambda jobs: None),
        finished=lambda cell, results: told.append((cell.key, len(results))),
    )
    assert told == [("commongen/supervised/seed-0", 2)]
    assert [job.name for job in asked] == [
        "commongen/models",
        "commongen/zero_shot/seed-0",
        "commongen/supervised+ppo/seed-0",
    ]
    assert asked[0].arguments[-1] == "base"
    # the warm start is there, so nothing waits for it but a finished job that is none of these
    assert asked[2].after == ["commongen/models", "commongen/supervised/seed-0"]
    assert left == asked  # none has run


QUICK = (
    "--tasks=commongen",
    "--systems=zero_shot,supervised,supervised+nlpo",
    "--seeds=1",
    "--quiet",
    "evaluation.prompts=16",
    "supervised:supervised.max_steps=4",
    "training.iterations=6",
    "training.prompts_per_iteration=8",
    "checkpoint.every=1",
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rl4lms", "grue", "run", "--output", str(folder), *QUICK]
    return subprocess.Popen(command, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_grid_continues_to_the_same_numbers(tmp_path):
    whole = start(tmp_path / "whole")
    assert whole.wait() == 0
    killed = start(tmp_path / "killed")
    run = tmp_path / "killed/cells/commongen/supervised+nlpo/seed-0/run"
    while not list(run.glob("checkpoints/step-*2")) and killed.poll() is None:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (run.parent / "results.json").exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed/cells").glob("*/*/*/results.json")}
    assert len(before) == 2
    assert start(tmp_path / "killed").wait() == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # finished cells are left alone
    ours, theirs = (
        {(r.system, r.decoding): r.metrics for _, r in read_cells(tmp_path / name)} for name in ("whole", "killed")
    )
    assert len(ours) == 6
    assert ours == theirs
    (last,) = (r for _, r in read_cells(tmp_path / "killed") if r.system == "supervised+nlpo" and r.decoding == "own")
    assert (last.cost.attempts, last.cost.iterations) == (2, 6)
    assert last.generation["mask"] is True
