"""Runs the cells of a grid: those that are not finished, each as a command of its own, in the order that their models
need.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rl4lms.config.resolve import flat
from rl4lms.errors import ConfigError
from rl4lms.grue.cell import RUN_FOLDER
from rl4lms.grue.executors import Executor
from rl4lms.grue.jobs import Job, Show, run_jobs
from rl4lms.grue.result import RESULTS_FILE, Result, read_results
from rl4lms.grue.spec import SPEC_FILE, Outside, read_spec, write_spec
from rl4lms.grue.suite import CELLS, Cell, task_of_cell
from rl4lms.runs.lock import RunLock
from rl4lms.supervised.assets import PREFIX

LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells and where they are kept.

    Attributes:
        folder: of the grid; each cell has its own below `cells/`.
        cells: those that others begin with before them.
    """

    folder: Path
    cells: Sequence[Cell]

    def place(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.folder / CELLS / cell.key

    def results(self, cell: Cell) -> list[Result]:
        """Return the results of a cell; none where it is not finished.

        Raises:
            DataError: they cannot be read.
        """
        path = self.place(cell) / RESULTS_FILE
        return read_results(path) if path.is_file() else []

    def check(self) -> None:
        """Refuse a folder in which a cell was begun with other settings.

        Raises:
            ConfigError: it was; the message says which settings differ.
        """
        for cell in self.cells:
            place = self.place(cell)
            if not (place / SPEC_FILE).is_file():
                continue
            there = read_spec(place)
            if isinstance(there, Outside):
                why = f"holds predictions of {there.model}, which were made elsewhere"
            elif there.fingerprint != cell.fingerprint:
                why = f"was begun with other settings ({_difference(there, cell)})"
            else:
                continue
            raise ConfigError(f"{place}: this cell {why}; name another folder with --output, or remove it")

    def run(
        self,
        *,
        executor: Executor,
        show: Callable[[Sequence[Cell], Sequence[Cell]], AbstractContextManager[Show]],
        finished: Callable[[Cell, list[Result]], None],
    ) -> list[Job]:
        """Run what is not finished.

        Args:
            executor: where they run.
            show: called with all cells and those that are finished already; shows the others.
            finished: called with each cell that is finished and its results, also with those that were before.

        Returns:
            The jobs that failed or were skipped.

        Raises:
            CheckpointError: another process is at work in the folder.
            ConfigError: a cell was begun with other settings.
        """
        with RunLock(self.folder):
            return self._run(executor, show, finished)

    def _run(
        self,
        executor: Executor,
        show: Callable[[Sequence[Cell], Sequence[Cell]], AbstractContextManager[Show]],
        finished: Callable[[Cell, list[Result]], None],
    ) -> list[Job]:
        self.check()
        done = [cell for cell in self.cells if self.results(cell)]
        for cell in done:
            finished(cell, self.results(cell))
        missing = [cell for cell in self.cells if cell not in done]
        assets, by_name = self._assets(missing), {cell.key: cell for cell in missing}
        jobs = list(assets.values())
        for cell in missing:
            place = self.place(cell).resolve()
            start = None if cell.after is None else self.place(cell.after).resolve() / RUN_FOLDER / "model"
            write_spec(place, cell, start)
            after = [assets[component].name] if (component := _component(cell)) in assets else []
            after += [] if cell.after is None else [cell.after.key]
            arguments = ["-m", "rl4lms.grue.cell", str(place)]
            jobs.append(Job(cell.key, arguments, after, partial(_progress, place / RUN_FOLDER, cell)))

        def tell(job: Job) -> None:
            if job.name in by_name:
                finished(by_name[job.name], self.results(by_name[job.name]))

        logs, shown = self.folder / LOGS, show(self.cells, done)
        run_jobs(jobs, logs, executor=executor, show=shown, keep_going=True, finished=tell)
        return [job for job in jobs if job.state != "done"]

    def _assets(self, missing: Sequence[Cell]) -> dict[str, Job]:
        """Return jobs that build the small models of tasks, before the cells that would all build them; by task with
        its options.
        """
        found: dict[str, Job] = {}
        for cell in missing:
            task, written = task_of_cell(cell), json.dumps(cell.blocks)
            names = [name for name in (*task.models, *task.classifiers) if f'"{PREFIX}{name}"' in written]
            component = _component(cell)
            if names and component not in found:
                arguments = ["-m", "rl4lms.supervised.build_assets", component, *names]
                number = sum(job.name.startswith(f"{cell.task}/models") for job in found.values())
                found[component] = Job(f"{cell.task}/models{number or ''}", arguments)
        return found


def _component(cell: Cell) -> str:
    """The task with its options, but for those that choose settings."""
    return json.dumps({key: value for key, value in cell.blocks["task"].items() if key != "preset"})


def _progress(run: Path, cell: Cell) -> tuple[int, int, str]:
    """Return how many iterations of how many are logged."""
    if cell.blocks["algorithm"] is None:
        return 0, 0, ""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().count(b"\n") if path.is_file() else 0
    return max(0, lines - 1), int(cell.blocks["training"]["iterations"]), ""  # the first is of the model before it


def _difference(one: Cell, other: Cell) -> str:
    """Say in which settings two cells differ."""
    ours, theirs = flat(one.blocks), flat(other.blocks)
    keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if not keys:
        return "of the model that it begins with"
    return ", ".join(f"{key}: {ours.get(key)}, now {theirs.get(key)}" for key in keys[:3])
