"""Commands as child processes, several at a time, in the order that their dependencies allow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rl4lms.errors import Rl4lmsError

_POLL_S = 0.25
# One thread each: on small models more threads cost more than they bring, and jobs would fight over the cores.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
_LAST_LINES = 12


class JobError(Rl4lmsError, RuntimeError):
    """A child process failed."""


@dataclass(slots=True)
class Job:
    """One command.

    Attributes:
        name: shown in the progress display, and the name of its log file.
        arguments: of this Python interpreter.
        after: names of the jobs that must have finished before.
        progress: returns (done, of, note) while the job runs; `of` 0 where it is not known yet.
        seconds: how long it took; filled by `run_jobs`.
    """

    name: str
    arguments: Sequence[str]
    after: Sequence[str] = ()
    progress: Callable[[], tuple[int, int, str]] = lambda: (0, 0, "")
    seconds: float = 0.0


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float = field(default_factory=time.perf_counter)


def run_jobs(jobs: Sequence[Job], logs: Path, *, at_once: int, console: Console, show: bool = True) -> None:
    """Run jobs, at most `at_once` of them together, each as soon as what it waits for is done; earlier ones in the list
    go first.

    Every job is stopped when one fails, or when this process is interrupted.

    Args:
        jobs: what to run; names are unique.
        logs: folder for `<name>.log`, which gets a job's output.
        at_once: processes at a time.
        console: where progress is shown.
        show: whether to show it.

    Raises:
        JobError: a job failed; the message has the end of its log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running, finished = list(jobs), list[_Running](), set[str]()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not show) as display:
        bars = {job.name: display.add_task(job.name, start=False, total=None, visible=False, note="") for job in jobs}
        try:
            while waiting or running:
                for job in [job for job in waiting if set(job.after) <= finished][: at_once - len(running)]:
                    waiting.remove(job)
                    running.append(_start(job, logs))
                    display.start_task(bars[job.name])
                    display.update(bars[job.name], visible=True)
                time.sleep(_POLL_S)
                for entry in list(running):
                    done, of, note = entry.job.progress()
                    display.update(bars[entry.job.name], completed=done, total=of or None, note=note)
                    if entry.process.poll() is not None:
                        running.remove(entry)
                        _finish(entry, logs)
                        finished.add(entry.job.name)
                        display.update(bars[entry.job.name], completed=1, total=1, note="done")
                        display.stop_task(bars[entry.job.name])
        finally:
            for entry in running:
                entry.process.terminate()
            for entry in running:
                entry.process.wait()
                entry.log.close()


def _start(job: Job, logs: Path) -> _Running:
    log = (logs / f"{job.name}.log").open("wb")
    command, environment = [sys.executable, *job.arguments], {**os.environ, **_ENVIRONMENT}
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
    return _Running(job, process, log)


def _finish(entry: _Running, logs: Path) -> None:
    entry.log.close()
    entry.job.seconds = time.perf_counter() - entry.started
    if entry.process.returncode:
        path = logs / f"{entry.job.name}.log"
        end = "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
        raise JobError(f"{entry.job.name} failed with exit code {entry.process.returncode}; the end of {path}:\n{end}")


def seconds_by_job(jobs: Sequence[Job]) -> Mapping[str, float]:
    """Return how long each job took."""
    return {job.name: round(job.seconds, 1) for job in jobs}
