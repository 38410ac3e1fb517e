"""Commands, several at a time, in the order that their dependencies allow; where they run is an executor's matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rl4lms.errors import Rl4lmsError
from rl4lms.grue.executors import Executor, Running

_POLL_S = 0.25
_LAST_LINES = 12

State = Literal["waiting", "running", "done", "failed", "skipped"]


class JobError(Rl4lmsError, RuntimeError):
    """A job failed."""


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
class _Entry:
    job: Job
    command: Running
    started: float = field(default_factory=time.perf_counter)


def run_jobs(
    jobs: Sequence[Job],
    logs: Path,
    *,
    executor: Executor,
    show: AbstractContextManager[Show],
    keep_going: bool = False,
    finished: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run jobs, as many together as the executor may, each as soon as what it waits for is done; earlier ones in the
    list go first.

    Every job is stopped when this process is interrupted, and when one fails, unless `keep_going`: then those that wait
    for it are skipped, and the others run.

    Args:
        jobs: what to run; names are unique.
        logs: folder for `<name>.log`, which gets a job's output; `/` in a name is `-` there.
        executor: where they run.
        show: shows them.
        keep_going: whether the failure of one leaves the others alone.
        finished: called with each job that has ended well.

    Raises:
        JobError: a job failed, unless `keep_going`; the message has the end of its log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    running = list[_Entry]()
    by_name = {job.name: job for job in jobs}
    with show as update:
        try:
            while any(job.state in ("waiting", "running") for job in jobs):
                at_once = executor.at_once
                for job in jobs:
                    before = {by_name[name].state for name in job.after if name in by_name}
                    if job.state == "waiting" and before & {"failed", "skipped"}:
                        job.state = "skipped"
                    elif job.state == "waiting" and before <= {"done"} and len(running) < at_once:
                        running.append(_Entry(job, executor.start(job.arguments, _log(job, logs))))
                        job.state = "running"
                update(jobs)
                time.sleep(_POLL_S if running else 0)
                for entry, ended in [(entry, entry.command.poll()) for entry in running]:
                    if ended is None:
                        continue
                    running.remove(entry)
                    _finish(entry, ended, logs)
                    if entry.job.state == "done":
                        finished(entry.job)
                    elif not keep_going:
                        raise JobError(entry.job.error)
            update(jobs)
        finally:
            for entry in running:
                entry.command.stop()
            for entry in running:
                entry.command.wait()


def _log(job: Job, logs: Path) -> Path:
    return logs / f"{job.name.replace('/', '-')}.log"


def _finish(entry: _Entry, ended: str, logs: Path) -> None:
    job = entry.job
    job.seconds = time.perf_counter() - entry.started
    job.state = "failed" if ended else "done"
    if ended:
        path = _log(job, logs)
        end = "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
        job.error = f"{job.name} failed {ended}; the end of {path}:\n{end}"


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
