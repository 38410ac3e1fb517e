"""Commands as child processes, several at a time, in the order that their dependencies allow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

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

State = Literal["waiting", "running", "done", "failed", "skipped"]


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
        state: filled by `run_jobs`; `skipped` where a job that it waits for failed.
        seconds: how long it took; filled by `run_jobs`.
        error: why it failed; filled by `run_jobs`.
    """

    name: str
    arguments: Sequence[str]
    after: Sequence[str] = ()
    progress: Callable[[], tuple[int, int, str]] = lambda: (0, 0, "")
    state: State = "waiting"
    seconds: float = 0.0
    error: str = ""


#: Shows jobs: called now and then with all of them.
Show = Callable[[Sequence[Job]], None]


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    started: float = field(default_factory=time.perf_counter)


def run_jobs(
    jobs: Sequence[Job],
    logs: Path,
    *,
    at_once: int,
    show: AbstractContextManager[Show],
    keep_going: bool = False,
    finished: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run jobs, at most `at_once` of them together, each as soon as what it waits for is done; earlier ones in the list
    go first.

    Every job is stopped when this process is interrupted, and when one fails, unless `keep_going`: then those that wait
    for it are skipped, and the others run.

    Args:
        jobs: what to run; names are unique.
        logs: folder for `<name>.log`, which gets a job's output; `/` in a name is `-` there.
        at_once: processes at a time.
        show: shows them.
        keep_going: whether the failure of one leaves the others alone.
        finished: called with each job that has ended well.

    Raises:
        JobError: a job failed, unless `keep_going`; the message has the end of its log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    running = list[_Running]()
    by_name = {job.name: job for job in jobs}
    with show as update:
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                for job in jobs:
                    before = {by_name[name].state for name in job.after if name in by_name}
                    if job.state == "waiting" and before & {"failed", "skipped"}:
                        job.state = "skipped"
                    elif job.state == "waiting" and before <= {"done"} and len(running) < at_once:
                        running.append(_start(job, logs))
                update(jobs)
                time.sleep(_POLL_S if running else 0)
                for entry in [entry for entry in running if entry.process.poll() is not None]:
                    running.remove(entry)
                    _finish(entry, logs)
                    if entry.job.state == "done":
                        finished(entry.job)
                    elif not keep_going:
                        raise JobError(entry.job.error)
            update(jobs)
        finally:
            for entry in running:
                entry.process.terminate()
            for entry in running:
                entry.process.wait()
                entry.log.close()


def _start(job: Job, logs: Path) -> _Running:
    log = _log(job, logs).open("wb")
    command, environment = [sys.executable, *job.arguments], {**os.environ, **_ENVIRONMENT}
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
    job.state = "running"
    return _Running(job, process, log)


def _log(job: Job, logs: Path) -> Path:
    return logs / f"{job.name.replace('/', '-')}.log"


def _finish(entry: _Running, logs: Path) -> None:
    entry.log.close()
    job = entry.job
    job.seconds = time.perf_counter() - entry.started
    job.state = "failed" if entry.process.returncode else "done"
    if entry.process.returncode:
        path = _log(job, logs)
        end = "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
        job.error = f"{job.name} failed with exit code {entry.process.returncode}; the end of {path}:\n{end}"


@contextmanager
def bars(console: Console, show: bool = True) -> Iterator[Show]:
    """A bar for each job that has begun.

    Args:
        console: where they are shown.
        show: whether to show them.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not show) as display:
        shown: dict[str, int] = {}

        def update(jobs: Sequence[Job]) -> None:
            for job in jobs:
                if job.state == "running" and job.name not in shown:
                    shown[job.name] = display.add_task(job.name, total=None, note="")
                if job.state == "running":
                    done, of, note = job.progress()
                    display.update(shown[job.name], completed=done, total=of or None, note=note)  # type: ignore[arg-type]
                elif job.state == "done" and job.name in shown:
                    bar = shown.pop(job.name)
                    display.update(bar, completed=1, total=1, note="done")  # type: ignore[arg-type]
                    display.stop_task(bar)  # type: ignore[arg-type]

        yield update


def seconds_by_job(jobs: Sequence[Job]) -> Mapping[str, float]:
    """Return how long each job took."""
    return {job.name: round(job.seconds, 1) for job in jobs}
