"""What a person sees while a grid runs: a table of tasks and systems, what runs now, and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rl4lms.grue.executors import Executor
from rl4lms.grue.jobs import Job, Show
from rl4lms.grue.suite import Cell

_REFRESH_S = 1.0


@contextmanager
def live(cells: Sequence[Cell], done: Sequence[Cell], console: Console, executor: Executor) -> Iterator[Show]:
    """Show a grid as a table on a terminal, or as one line for each cell that ends.

    Args:
        cells: all of the grid.
        done: those that were finished before.
        console: where it is shown.
        executor: where they run.
    """
    began, told = time.monotonic(), set[str]()
    last = 0.0
    with Live(console=console, auto_refresh=False, transient=False) as display:

        def update(jobs: Sequence[Job]) -> None:
            nonlocal last
            for job in jobs:
                if job.state in ("done", "failed", "skipped") and job.name not in told:
                    told.add(job.name)
                    if not console.is_terminal:
                        took = f" in {_time(job.seconds)}" if job.seconds else ""
                        console.print(f"{job.name}: {job.state}{took}, {len(told)} of {len(jobs)}", markup=False)
            ended = all(job.state not in ("waiting", "running") for job in jobs)
            if console.is_terminal and (ended or time.monotonic() - last >= _REFRESH_S):
                last = time.monotonic()
                display.update(_view(cells, done, jobs, last - began, executor.at_once), refresh=True)

        yield update


def _view(cells: Sequence[Cell], done: Sequence[Cell], jobs: Sequence[Job], seconds: float, at_once: int) -> Group:
    state = {cell.key: "done" for cell in done} | {job.name: job.state for job in jobs}
    tasks, systems = (
        list(dict.fromkeys(names)) for names in zip(*((c.task, c.system.label) for c in cells), strict=True)
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("finished cells")
    for system in systems:
        table.add_column(system.replace("+", "\n+"), justify="right", overflow="fold", vertical="bottom")
    for task in tasks:
        row = [
            _count([state[c.key] for c in cells if (c.task, c.system.label) == (task, system)]) for system in systems
        ]
        table.add_row(task, *row)
    running = [job for job in jobs if job.state == "running"]
    lines = [Text("  ".join(_running(job) for job in running), style="dim")]
    finished = sum(state[cell.key] == "done" for cell in cells)
    return Group(table, *lines, Text(f"{finished} of {len(cells)} cells, {_time(seconds)}{_left(jobs, at_once)}"))


def _count(states: Sequence[str]) -> Text:
    done, bad = states.count("done"), states.count("failed") + states.count("skipped")
    text = Text(f"{done}/{len(states)}", style="green" if done == len(states) else "")
    if bad:
        text.append(f" {bad} failed", style="red")
    elif "running" in states:
        text.append(" …", style="yellow")
    return text


def _running(job: Job) -> str:
    done, of, _ = job.progress()
    return f"{job.name} {done}/{of}" if of else job.name


def _left(jobs: Sequence[Job], at_once: int) -> str:
    """Say how long the rest may take: as long as jobs of the same system took, else as the mean of all."""
    took: dict[str, list[float]] = {}
    for job in jobs:
        if job.state == "done":
            took.setdefault(_kind(job), []).append(job.seconds)
    left = [job for job in jobs if job.state in ("waiting", "running")]
    if not took or not left:
        return ""
    mean = fmean(second for seconds in took.values() for second in seconds)
    expected = sum(fmean(took.get(_kind(job), [mean])) for job in left) / at_once
    return f", about {_time(expected)} left"


def _kind(job: Job) -> str:
    return "/".join(job.name.split("/")[1:2])


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes}:{rest:02d} min"
