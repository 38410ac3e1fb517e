"""The parts of the pages of a leaderboard: tables with bars, maps of metrics, curves, texts, what was run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rl4lms import reporting
from rl4lms.grue.board import Measured, TaskBoard, by_system
from rl4lms.grue.curves import Curves, curves_of
from rl4lms.grue.formats import number_text
from rl4lms.grue.overall import BASELINE, Overall, Row
from rl4lms.grue.people import HumanScore, HumanScores, people_sheet, score_text
from rl4lms.grue.submission_file import Submission
from rl4lms.reporting import Block, Browser, Cell, Charts, Cloud, Dot, LinePlot, Paragraph, Table
from rl4lms.stats.base import Estimate
from rl4lms.stats.paired import Contrast
from rl4lms.types import Sample

_ARROWS = {True: "\u00a0↑", False: "\u00a0↓", None: ""}
_CURVES = (
    ("Training reward", "rollout/score", "score", "What RL optimises, on the completions that it trains on."),
    ("Distance from the start", "rollout/kl_per_sequence", "nats per completion", "KL to the model RL started from."),
    ("Entropy", "rollout/entropy", "nats per token", "Of what tokens are drawn from: for NLPO, inside the mask."),
    ("Mask", "train/mask_size", "tokens allowed", "Mean size of the mask over the tokens of a rollout."),
)


def overall_blocks(board: Overall, shared: Overall | None) -> list[Block]:
    """Return the overall table with a chart, or why there is none.

    Args:
        board: each system at its own decoding.
        shared: all at the same; None where that was not measured.
    """
    if board.absent:
        return [Paragraph(f"There is no overall score: {board.absent}.")]
    dots = [
        Dot(f"{system} (rank {row.rank})" if row.rank else system, row.score.value, row.score.low, row.score.high)
        for system, row in board.rows.items()
        if row.score is not None
    ]
    caption = (
        "Each system at its own decoding. 0 is the base model of each task, 1 its references; bars are 95% intervals."
    )
    chart = reporting.dot_plot("Task score, all tasks", dots, x_label="task score", caption=caption)
    columns = ["system", "rank", "task score", "naturalness", "interquartile mean", f"P(better than {BASELINE})"]
    columns += ["seeds", "tier"]
    rows: list[list[str | Cell]] = [["Each system at its own decoding"]]
    rows += [_overall_row(system, row) for system, row in board.rows.items()]
    if shared is not None and not shared.absent:
        rows.append(["All at the decoding that they share"])
        rows += [_overall_row(system, row) for system, row in shared.rows.items()]
    table = Table(
        columns,
        rows,
        note="Ranks are 95% intervals over all systems at once. The task score is the mean over tasks of the task's "
        "metrics, naturalness that of its metrics of naturalness; the constants stand with the version of the task. "
        f"P: the chance that a run is better than one of {BASELINE} on a task.",
    )
    lacking = [f"{system}: {row.lacks}, so no score and no rank." for system, row in board.rows.items() if row.lacks]
    return [Charts([chart]), table, *([Paragraph(" ".join(lacking))] if lacking else [])]


def _overall_row(system: str, row: Row) -> list[str | Cell]:
    rank = "—" if row.rank is None else str(row.rank)
    numbers = [_with_interval(value) for value in (row.score, row.naturalness, row.iqm, row.improvement)]
    return [system, rank, *numbers, str(row.seeds), row.tier]


def _with_interval(number: Contrast | Estimate | None) -> str | Cell:
    if number is None:
        return "—"
    known = math.isfinite(number.low) and math.isfinite(number.high)
    return Cell(f"{number.value:z.3f}", f"{number.low:z.3f} to {number.high:z.3f}" if known else "")


def task_table(board: TaskBoard) -> Table:
    """Return the table of a task: every number with its error and, to scale in its column, its interval."""
    columns = list(board.columns)
    best = {key: _best(board, key) for key in columns}
    spans = {key: _span(row[1].get(key) for row in board.rows.values()) for key in columns}
    ranks = board.ranks.get(columns[0], {}) if columns else {}
    rows: list[list[str | Cell]] = []
    for system, (seeds, numbers) in board.rows.items():
        cells: list[str | Cell] = [system, str(ranks.get(system, "—"))]
        cells += [_number(numbers.get(key), spans[key], numbers.get(key) in best[key]) for key in columns]
        rows.append([*cells, str(seeds), board.tiers[system]])
    headings = [_heading(key, better) for key, better in board.columns.items()]
    over = {n.over for _, numbers in board.rows.values() for n in numbers.values() if n.over}
    note = (
        f"± is the standard error over {' or '.join(sorted(over))}; bars are 95% intervals, to the scale of a column."
    )
    note += f" Bold: the best of a column. Rank: by {columns[0]}, 95% interval." if columns else ""
    return Table(["system", "rank", *headings, "seeds", "tier"], rows, board.title, note)


def people_table(scores: HumanScores) -> Table:
    """Return the table of a study: every score with its interval, to scale in its column."""
    sheet = people_sheet(scores)
    rows: list[list[str | Cell]] = []
    for system, *_ in sheet.rows:
        cells: list[str | Cell] = [system]
        for column in scores.columns:
            score = column.systems.get(system)
            text = score_text(column, system)
            bar = None if score is None else _bar(score, column.systems.values())
            cells.append(Cell(text.partition(" ")[0], text.partition(" ")[2], bar=bar))
        rows.append([*cells, scores.tier])
    headings = [_heading(column.question, True) for column in scores.columns]
    return Table(["system", *headings, "tier"], rows, sheet.title, " · ".join(sheet.notes))


def _bar(score: HumanScore, column: Iterable[HumanScore]) -> tuple[float, float, float] | None:
    if score.low is None or score.high is None:
        return None
    ends = [end for one in column for end in (one.low, one.mean, one.high) if end is not None]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0
    return (score.low - low) / width, (score.mean - low) / width, (score.high - low) / width


def _heading(key: str, better: bool | None) -> str:
    return key.replace("_", "_\u200b").replace("-", "-\u2060") + _ARROWS[better]


def _best(board: TaskBoard, key: str) -> list[Contrast]:
    """Return the number that is shown in bold; none where neither direction is better."""
    better, numbers = board.columns[key], [row[1][key] for row in board.rows.values() if key in row[1]]
    if better is None or not numbers:
        return []
    top = (max if better else min)(number.value for number in numbers)
    return [number for number in numbers if number.value == top]


def _span(numbers: Iterable[Contrast | None]) -> tuple[float, float]:
    ends = [end for n in numbers if n is not None for end in (n.low, n.value, n.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _number(number: Contrast | None, span: tuple[float, float], strong: bool) -> str | Cell:
    if number is None:
        return "—"
    value, _, error = number_text(number).partition(" ± ")
    width = span[1] - span[0]
    known = width > 0 and math.isfinite(number.low) and math.isfinite(number.high)
    ends = [(end - span[0]) / width for end in (number.low, number.value, number.high)] if known else []
    bar = (ends[0], ends[1], ends[2]) if ends else None
    return Cell(value, f"± {error}" if error else "", strong, bar=bar)


def against(cells: Sequence[Measured], x: str, y: str, title: str) -> tuple[LinePlot, dict[str, Cloud]]:
    """Return a map of one metric against another: every run of every system.

    Args:
        cells: of a task.
        x, y: metrics.
        title: of the chart.
    """
    clouds = {}
    for system, own in by_system(cells).items():
        points = [(_mean(cell, x), _mean(cell, y)) for cell in own]
        clouds[system] = Cloud([(a, b) for a, b in points if a is not None and b is not None])
    return LinePlot(title, x, y, whole_x=False), clouds


def _mean(cell: Measured, key: str) -> float | None:
    value = cell.result.metrics.get(key)
    return None if value is None else value.mean


def curve_blocks(places: Mapping[str, Sequence[Path]]) -> list[Block]:
    """Return how training went: a curve for each system, with its seeds behind it, and reward against KL.

    Args:
        places: folders of the cells of a task by system.
    """
    of_systems = {system: [curves for place in own if (curves := curves_of(place))] for system, own in places.items()}
    if not any(of_systems.values()):
        return []
    plots = []
    for title, key, unit, caption in _CURVES:
        runs = {system: [curves[key] for curves in own if key in curves] for system, own in of_systems.items()}
        if any(runs.values()):
            means = {system: _mean_curve(own) for system, own in runs.items()}
            plots.append((LinePlot(title, "iteration", unit, caption, faint=runs), means))
    frontier = {system: _frontier(own) for system, own in of_systems.items()}
    label = "Reward against KL"
    caption = "The mean over seeds, iteration by iteration: how far a system went for its reward."
    plot = LinePlot(label, "KL, nats per completion", "score", caption, whole_x=False)
    return [reporting.line_charts([*plots, (plot, frontier)])]


def _mean_curve(runs: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[float, float | None]]:
    """Return the mean over runs of each iteration that all of them have, smoothed over a tenth of them."""
    if not runs:
        return []
    steps = sorted(set.intersection(*({step for step, _ in run} for run in runs)))
    by_run = [dict(run) for run in runs]
    means = [fmean(run[step] for run in by_run) for step in steps]
    return list(zip(map(float, steps), reporting.running_mean(means, len(means) // 20), strict=True))


def _frontier(runs: Sequence[Curves]) -> list[tuple[float, float | None]]:
    keys = ("rollout/kl_per_sequence", "rollout/score")
    there = [run for run in runs if all(key in run for key in keys)]
    x, y = ([value for _, value in _mean_curve([run[key] for run in there])] for key in keys)
    return [(a, b) for a, b in zip(x, y, strict=False) if a is not None]


def browser(cells: Sequence[Measured], samples: Mapping[str, Sample], shown: Sequence[str]) -> Browser:
    """Return the texts of a task, of the first seed of each system.

    Args:
        cells: of the task, in one decoding.
        samples: by id; of a prompt that is not there only its id is shown.
        shown: metrics whose values stand below each text.
    """
    first = {system: own[0] for system, own in by_system(cells).items()}
    directions = {key: value.higher_is_better for cell in cells for key, value in cell.result.metrics.items()}
    metrics = [key for key in shown if any(key in cell.scores.columns for cell in first.values())]
    texts: dict[str, dict[str, tuple[str, list[float | None]]]] = {}
    for system, cell in first.items():
        columns = [cell.scores.columns.get(key) for key in metrics]
        for number, (name, text) in enumerate(cell.scores.completions()):
            values = [None if column is None else float(column[number]) for column in columns]
            shown_values = [None if v is None or not math.isfinite(v) else round(v, 4) for v in values]
            texts.setdefault(name, {}).setdefault(system, (text, shown_values))  # of several completions, the first
    rows = []
    for name, own in texts.items():
        sample = samples.get(name)
        rows.append(
            {
                "id": name,
                "prompt": "" if sample is None else sample.prompt,
                "references": [] if sample is None else list(sample.references),
                "texts": [own[system][0] if system in own else None for system in first],
                "values": [own[system][1] if system in own else [] for system in first],
            }
        )
    seeds = sorted({cell.result.seed for cell in first.values()})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else "the first seed of each system"
    note = f"Test prompts, {which}. Marked words are not in the text that it is compared with."
    return Browser(cells[0].result.task, list(first), [(key, directions[key]) for key in metrics], rows, note)


def cost_table(cells: Sequence[Measured]) -> Table:
    """Return what the cells of all tasks cost, by task and system: means over seeds."""
    rows: list[list[str | Cell]] = []
    for task in dict.fromkeys(cell.result.task for cell in cells):
        rows.append([task])
        rows += _costs(by_system([cell for cell in cells if cell.result.task == task]))
    return Table(
        ["system", "CPU s", "wall s", "peak MB", "iterations", "tokens sampled", "times begun"],
        rows,
        note="Means over seeds, training and evaluation together; of a cell that was interrupted, of its last attempt. "
        "A system with a warm start begins with the model of the row `supervised`, whose cost is not counted again.",
    )


def _costs(systems: Mapping[str, Sequence[Measured]]) -> list[list[str | Cell]]:
    rows: list[list[str | Cell]] = []
    for system, own in systems.items():
        costs = [cell.result.cost for cell in own if cell.result.cost is not None]
        columns: list[list[float]] = [
            [c.cpu_s for c in costs],
            [c.wall_s for c in costs],
            [c.peak_memory_mb for c in costs],
            [c.iterations for c in costs],
            [c.tokens for c in costs],
        ]
        begun = str(max(c.attempts for c in costs)) if costs else "—"
        rows.append([system, *(f"{fmean(column):,.0f}" if column else "—" for column in columns), begun])
    return rows


def submission_table(submissions: Sequence[Submission]) -> Table:
    """Return what submissions say of themselves."""
    rows: list[list[str | Cell]] = []
    for said in submissions:
        data = []
        for declared in said.training:
            overlaps = "; ".join(f"{task}: {overlap}" for task, overlap in declared.overlap.items())
            data.append(f"{declared.name} ({overlaps})" if overlaps else declared.name)
        rows.append(
            [
                said.name,
                said.created,
                str(said.tried),
                ", ".join(data) or "nothing declared",
                ", ".join(said.supersedes) or "—",
                said.note or "—",
            ]
        )
    return Table(
        ["submission", "day", "settings tried", "training data", "supersedes", "note"],
        rows,
        numeric=False,
        note="Every seed that was begun is in a submission, and nothing is taken back.",
    )


def overlap_table(submissions: Sequence[Submission]) -> Table | None:
    """Return how many texts of each system share words with references that their prompts do not have."""
    rows: list[list[str | Cell]] = [
        [key, f"{overlap.shared:,}", f"{overlap.texts:,}", str(overlap.n)]
        for said in submissions
        for key, overlap in said.outputs.items()
        if overlap.texts
    ]
    if not rows:
        return None
    return Table(
        ["task/system", "texts that share", "of", "words in a row"],
        rows,
        "Words that texts share with their references, and that are not in the prompt",
        "Of a model that has not seen the test set these are few, unless the language is small, as that of the mini "
        "editions, or the references are short.",
    )
