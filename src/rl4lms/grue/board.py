"""Tables of what a grid has measured: a pure function of the files of its cells.

A number is the mean over prompts and seeds; its error covers both, see `rl4lms.stats.paired.contrast`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rl4lms.errors import ConfigError, DataError, did_you_mean
from rl4lms.grue.cell import RESULTS_FILE
from rl4lms.grue.result import Decoding, Result, read_results
from rl4lms.grue.runner import CELLS
from rl4lms.grue.scores import Scores, read_scores
from rl4lms.grue.suite import SYSTEMS, TASKS
from rl4lms.grue.verify import TIERS, Tier, tier_of
from rl4lms.stats.paired import Contrast, contrast, contrast_of_sets
from rl4lms.tasks import build as build_task

_ARROWS = {True: " ↑", False: " ↓", None: ""}


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell, decoded in one way: its result, its values by prompt, and how far it was checked."""

    result: Result
    scores: Scores
    tier: Tier = "reported"


@dataclass(frozen=True, slots=True)
class TaskBoard:
    """The table of one task.

    Attributes:
        task, version, edition, decoding: of what.
        prompts: how many each system answered.
        columns: metrics by key: whether higher is better.
        rows: by system: its seeds, and its number by metric; what was not measured is not there.
        tiers: by system: how far all of its cells were checked.
    """

    task: str
    version: int
    edition: str
    decoding: Decoding
    prompts: int
    columns: Mapping[str, bool | None]
    rows: Mapping[str, tuple[int, Mapping[str, Contrast]]]
    tiers: Mapping[str, Tier]

    @property
    def title(self) -> str:
        """What it is a table of, in one line."""
        how = "its own decoding" if self.decoding == "own" else "the decoding that all share"
        return f"{self.task} {self.edition}, version {self.version}: {self.prompts} test prompts, each system at {how}"


def read_cells(folder: Path) -> list[tuple[Path, Result]]:
    """Return every result of a grid with the folder of its cell.

    Raises:
        ConfigError: there is no finished cell.
        DataError: a file is damaged, or lies where another cell would.
    """
    found = []
    for path in sorted((folder / CELLS).glob(f"*/*/*/{RESULTS_FILE}")):
        for result in read_results(path):
            key = (result.task, result.system, f"seed-{result.seed}")
            if key != path.parent.parts[-3:]:
                raise DataError(f"{path}: says that it is of the cell {'/'.join(key)}")
            found.append((path.parent, result))
    if not found:
        raise ConfigError(f"{folder}: no cell of a grid is finished there; run one: rl4lms grue run --output {folder}")
    return found


def boards(
    grid: Path | Sequence[tuple[Path, Result]], decoding: Decoding, metrics: Sequence[str] = ()
) -> list[TaskBoard]:
    """Compute the table of each task.

    Args:
        grid: its folder; or results with the folders of their cells, as `stored.read_stored` returns them.
        decoding: which of the two.
        metrics: keys that are shown; where there are none, those that the task names, else all.

    Raises:
        ConfigError, DataError: see `read_cells`; also where no task has one of the metrics.
    """
    groups: dict[tuple[str, int, str], list[Measured]] = {}
    for place, result in read_cells(grid) if isinstance(grid, Path) else grid:
        if result.decoding == decoding:
            measured = Measured(result, read_scores(place / result.scores), tier_of(place))
            groups.setdefault((result.task, result.task_version, result.edition), []).append(measured)
    known = {key for group in groups.values() for one in group for key in one.result.metrics}
    for key in metrics:
        if key not in known:
            raise ConfigError(f"metric {key!r}: no result has it; {did_you_mean(key, known)}")
    order = {name: number for number, name in enumerate(TASKS)}
    ordered = sorted(groups, key=lambda group: (order.get(group[0], len(order)), group))
    return [_board(groups[group], decoding, metrics) for group in ordered]


def _board(cells: Sequence[Measured], decoding: Decoding, metrics: Sequence[str]) -> TaskBoard:
    first = cells[0].result
    prompts = {cell.result.prompts for cell in cells}
    if len(prompts) > 1:
        raise DataError(f"{first.task}: cells were evaluated on different numbers of prompts: {sorted(prompts)}")
    directions = {key: value.higher_is_better for cell in cells for key, value in cell.result.metrics.items()}
    shown = [key for key in (metrics or _named(first, directions)) if key in directions]
    systems = sorted({cell.result.system for cell in cells}, key=_place)
    rows, tiers = {}, {}
    for system in systems:
        own = sorted((cell for cell in cells if cell.result.system == system), key=lambda cell: cell.result.seed)
        numbers = {key: estimate for key in shown if (estimate := _estimate(key, own)) is not None}
        rows[system] = (len(own), numbers)
        tiers[system] = min((cell.tier for cell in own), key=TIERS.index)
    columns = {key: directions[key] for key in shown}
    return TaskBoard(first.task, first.task_version, first.edition, decoding, prompts.pop(), columns, rows, tiers)


def _place(system: str) -> tuple[int, str]:
    return (SYSTEMS.index(system) if system in SYSTEMS else len(SYSTEMS), system)


def _named(result: Result, there: Iterable[str]) -> list[str]:
    """Return the metrics that a task names for its table, or all but the reward's parts."""
    task = build_task(result.task, edition=result.edition)
    named = [key for keys in getattr(task, "board", {}).values() for key in keys]
    return named or [key for key in there if not key.startswith("reward/")]


def _estimate(key: str, cells: Sequence[Measured]) -> Contrast | None:
    """Return the number of a system; None where a seed has none."""
    if any(key not in cell.result.metrics or cell.result.metrics[key].mean is None for cell in cells):
        return None
    values = [cell.scores.values(key) for cell in cells]
    if any(row is None for row in values):
        return contrast_of_sets([cell.result.metrics[key].mean for cell in cells])  # type: ignore[arg-type]
    table = np.array(values, dtype=np.float64)
    return contrast(table) if np.isfinite(table).all(0).any() else None


def _text(number: Contrast | None) -> str:
    if number is None:
        return "—"
    digits = 3 if abs(number.value) < 10 else 1
    value = f"{number.value:.{digits}f}"
    known = number.stderr is not None and math.isfinite(number.stderr)
    return f"{value} ± {number.stderr:.{digits}f}" if known else value


def show(board: TaskBoard, console: Console) -> None:
    """Print a table for people: a column for each metric, or a row where they would not fit."""
    header, rows = _cells(board)
    rows = [[_short(cell) for cell in row] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    console.print(board.title, style="bold", highlight=False)
    if len(header) > 6:
        header, *rows = [list(row) for row in zip(header, *rows, strict=True)]
    for number, name in enumerate(header):
        broken = name.replace("+", "\n+")
        if number == 0:
            table.add_column(broken, no_wrap=True)
        else:
            table.add_column(broken, justify="right", vertical="bottom", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _short(text: str) -> str:
    """Return `0.382 ± 0.020` as `.382±.020`, so that six systems fit on 80 columns."""
    return re.sub(r"(?<![\d.])0\.", ".", text.replace(" ± ", "±")) if "±" in text else text


def markdown(board: TaskBoard) -> str:
    """Return a table as Markdown."""
    header, rows = _cells(board)
    lines = [f"### {board.title}", "", f"| {' | '.join(header)} |", f"|---|---{'|---:' * (len(header) - 2)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def latex(board: TaskBoard) -> str:
    """Return a table as LaTeX, for the package booktabs."""
    header, rows = _cells(board)
    lines = [f"% {board.title}", rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}", r"\toprule"]
    body = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (header, *rows)]
    return "\n".join([*lines, body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}", ""])


def _tex(text: str) -> str:
    for sign, written in (("↑", r"$\uparrow$"), ("↓", r"$\downarrow$"), ("±", r"$\pm$"), ("_", r"\_"), ("%", r"\%")):
        text = text.replace(sign, written)
    return text.replace("&", r"\&").replace("#", r"\#")


def _cells(board: TaskBoard) -> tuple[list[str], list[list[str]]]:
    header = ["system", "tier", "seeds", *(f"{key}{_ARROWS[better]}" for key, better in board.columns.items())]
    rows = [
        [system, board.tiers[system], str(seeds), *(_text(numbers.get(key)) for key in board.columns)]
        for system, (seeds, numbers) in board.rows.items()
    ]
    return header, rows


def comma_separated(tables: Sequence[TaskBoard]) -> str:
    """Return all numbers of tables as CSV, one to a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    about_rows = ("task", "version", "edition", "decoding", "system", "tier", "metric")
    writer.writerow([*about_rows, "mean", "stderr", "low", "high", "seeds", "prompts"])
    for board in tables:
        about = [board.task, board.version, board.edition, board.decoding]
        for system, (seeds, numbers) in board.rows.items():
            for key, n in numbers.items():
                row = [*about, _inert(system), board.tiers[system], _inert(key)]
                writer.writerow([*row, n.value, n.stderr, n.low, n.high, seeds, board.prompts])
    return out.getvalue()


def _inert(text: str) -> str:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text[:1] in "=+-@" else text
