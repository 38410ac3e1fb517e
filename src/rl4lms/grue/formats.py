"""Tables of a leaderboard as text, Markdown, LaTeX and CSV.

Names of systems, tasks and metrics come from files that anybody may have written: none of them can do anything in any
format but stand there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rl4lms.grue.board import TaskBoard
from rl4lms.grue.overall import BASELINE, Overall
from rl4lms.grue.suite import TASKS
from rl4lms.reporting.inert import plain
from rl4lms.stats.base import Estimate
from rl4lms.stats.paired import Contrast
from rl4lms.stats.ranks import Rank

_ARROWS = {True: " ↑", False: " ↓", None: ""}
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "—": "---",
}
# What begins markup in GitHub's Markdown or in the HTML in it; an underline inside of a word does not.
_MARKUP = re.compile(r"[\\`*\[\]<>|~@&#!]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=\bwww)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as texts.

    Attributes:
        title: what it is a table of.
        header: of the columns; the first `left` are words, the others numbers.
        rows: as long as the header.
        left: how many columns are words.
        notes: lines below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 2
    notes: Sequence[str] = ()


def sheet(board: TaskBoard) -> Sheet:
    """Return the table of a task; ranks are by its first metric."""
    header = ["system", "tier", "seeds", *(f"{key}{_ARROWS[better]}" for key, better in board.columns.items())]
    first = next(iter(board.columns), None)
    ranks = board.ranks.get(first, {}) if first is not None else {}
    if ranks:
        header.insert(3, "rank")
    every = max((seeds for seeds, _ in board.rows.values()), default=0)
    rows, notes = [], []
    for system, (seeds, numbers) in board.rows.items():
        row = [system, board.tiers[system], str(seeds), *(number_text(numbers.get(key)) for key in board.columns)]
        if ranks:
            row.insert(3, str(ranks.get(system, "—")))
        rows.append(row)
    if ranks:
        notes = [f"rank: by {first}, 95 % interval"]
        without = [system for system in board.rows if system not in ranks]
        if without:
            notes.append(f"no rank: {', '.join(without)}; not every seed of the others ({every}), or no value")
    return Sheet(board.title, header, rows, notes=notes)


def overall_sheet(board: Overall) -> Sheet:
    """Return the overall table, or a line that says why there is none."""
    title = f"Overall, {board.edition}: {len(board.tasks)} of {len(TASKS)} tasks"
    if board.absent:
        return Sheet(title, [], [], notes=[f"no overall score: {board.absent}"])
    header = [
        "system",
        "tier",
        "seeds",
        "rank",
        "task score",
        "95 %",
        "naturalness",
        "IQM",
        "95 %",
        "P(better)",
        "95 %",
    ]
    rows, notes = [], []
    for system, row in board.rows.items():
        numbers = ["—" if row.rank is None else str(row.rank), number_text(row.score), _interval(row.score)]
        numbers += [number_text(row.naturalness), _value(row.iqm), _interval(row.iqm)]
        rows.append([system, row.tier, str(row.seeds), *numbers, _value(row.improvement), _interval(row.improvement)])
        if row.lacks:
            notes.append(f"{system}: {row.lacks}, so no score and no rank")
        elif row.rank is None:
            notes.append(f"{system}: one seed says nothing of other training runs, so no error and no rank")
    notes.append("0 is the base model, 1 the references of each task; all tasks count alike")
    notes.append(f"rank: 95 % interval; P(better): that a run is better than one of {BASELINE}")
    return Sheet(title, header, rows, notes=notes)


def _value(number: Estimate | None) -> str:
    return "—" if number is None else f"{number.value:z.2f}"


def _interval(number: Contrast | Estimate | None) -> str:
    if number is None or not (math.isfinite(number.low) and math.isfinite(number.high)):
        return "—"
    return f"{number.low:.2f}, {number.high:.2f}"


def number_text(number: Contrast | None) -> str:
    """Return `0.382 ± 0.020`."""
    if number is None:
        return "—"
    digits = 3 if abs(number.value) < 10 else 1
    value = f"{number.value:z.{digits}f}"
    known = number.stderr is not None and math.isfinite(number.stderr)
    return f"{value} ± {number.stderr:.{digits}f}" if known else value


def show(table: Sheet, console: Console) -> None:
    """Print a table for people: a column for each metric, or a row where they would not fit."""
    header = [plain(name) for name in table.header]
    rows = [[_short(plain(cell)) for cell in row] for row in table.rows]
    printed = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    console.print(Text(plain(table.title), style="bold"))
    if len(header) > 6:
        header, *rows = [list(row) for row in zip(header, *rows, strict=True)]
    header = [name.replace("+", "\n+") for name in header]
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(header, *rows, strict=True)
    ]
    # names are broken before numbers are
    whole = sum(width + 1 for width in widths[1:]) + _NAMES <= console.width
    for number, name in enumerate(header):
        if number == 0:
            printed.add_column(Text(name), no_wrap=not whole, overflow="fold")
        else:
            printed.add_column(Text(name), justify="right", vertical="bottom", no_wrap=whole, overflow="fold")
    for row in rows:
        printed.add_row(*map(Text, row))
    if rows:
        console.print(printed)
    for note in table.notes:
        console.print(Text(plain(note), style="dim"))


_NAMES = 12  # characters that the first column keeps, whatever the others need


def _short(text: str) -> str:
    """Return `0.382 ± 0.020` as `.382±.020`, so that six systems fit on 80 columns."""
    numbers = re.fullmatch(r"-?\d+\.\d+(?:( ± |, )-?\d+\.\d+)?", text)
    return re.sub(r"(?<![\d.])0\.", ".", text.replace(" ± ", "±")) if numbers else text


def markdown(table: Sheet) -> str:
    """Return a table as Markdown."""
    lines = [f"### {_inert_markdown(table.title)}", ""]
    if table.rows:
        columns = "|---" * table.left + "|---:" * (len(table.header) - table.left) + "|"
        lines += [_markdown_row(table.header), columns, *map(_markdown_row, table.rows), ""]
    return "\n".join([*lines, *(f"{_inert_markdown(note)}\n" for note in table.notes)])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_inert_markdown, cells))} |"


def _inert_markdown(text: str) -> str:
    return _MARKUP.sub(lambda found: f"\\{found[0]}", plain(text))


def latex(table: Sheet) -> str:
    """Return a table as LaTeX, for the package booktabs."""
    lines = [f"% {plain(table.title)}", *(f"% {plain(note)}" for note in table.notes)]
    if not table.rows:
        return "\n".join([*lines, ""])
    columns = "l" * table.left + "r" * (len(table.header) - table.left)
    body = [" & ".join(map(inert_latex, row)) + r" \\" for row in (table.header, *table.rows)]
    top = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule"]
    return "\n".join([*lines, *top, *body[1:], r"\bottomrule", r"\end{tabular}", ""])


def inert_latex(text: str) -> str:
    """Keep LaTeX from reading a text as commands."""
    # a bracket after \\ or \midrule would be read as its argument
    written = "".join(_TEX.get(sign, sign) for sign in plain(text))
    return f"{{{written}}}" if written[:1] in ("[", "*") else written


def all_rows(overall: Sequence[Overall], tables: Sequence[TaskBoard]) -> list[list[object]]:
    """Return all numbers with a header, one to a row; those of the overall table are of the task `(overall)`."""
    header = ["task", "version", "edition", "decoding", "system", "tier", "metric", "mean", "stderr", "low", "high"]
    found: list[list[object]] = [[*header, "rank", "rank_low", "rank_high", "seeds", "prompts", "lacks"]]
    decoding = tables[0].decoding if tables else ""
    for board in overall:
        for system, row in board.rows.items():
            about = ["(overall)", "", board.edition, decoding, system, row.tier]
            numbers: dict[str, Contrast | Estimate | None] = {"score": row.score, "naturalness": row.naturalness}
            numbers |= {"iqm": row.iqm, f"probability of improvement over {BASELINE}": row.improvement}
            for key, number in numbers.items():
                if number is not None or (row.lacks and key == "score"):
                    rank = row.rank if key == "score" else None
                    found.append([*about, key, *_numbers(number), *_places(rank), row.seeds, "", row.lacks])
    for table in tables:
        of_task = [table.task, table.version, table.edition, table.decoding]
        for system, (seeds, values) in table.rows.items():
            for key, value in values.items():
                rank = table.ranks.get(key, {}).get(system)
                numbers_of = [*_numbers(value), *_places(rank)]
                found.append([*of_task, system, table.tiers[system], key, *numbers_of, seeds, table.prompts, ""])
    return found


def _numbers(number: Contrast | Estimate | None) -> list[object]:
    if number is None:
        return [""] * 4
    return [number.value, number.stderr if isinstance(number, Contrast) else "", number.low, number.high]


def _places(rank: Rank | None) -> list[object]:
    return [""] * 3 if rank is None else [rank.rank, rank.low, rank.high]
