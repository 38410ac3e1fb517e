"""Texts of systems, to be judged: read from runs, grids, evaluations and tables of anybody's system."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rl4lms.data.rows import open_rows
from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.board import read_cells
from rl4lms.grue.scores import read_scores
from rl4lms.grue.spec import placed, read_spec, recipe_of
from rl4lms.grue.suite import CELLS
from rl4lms.human_eval.plan import Output
from rl4lms.runs.evaluations import kept_evaluations, read_evaluation
from rl4lms.tasks import build as build_task
from rl4lms.types import Sample

# Columns of a table, by the names that people have for them.
_NAMES = {
    "completion": ("completion", "machine_completion", "output", "prediction", "text"),
    "system": ("system", "algorithm", "model"),
    "prompt": ("prompt", "source", "input", "concept"),
    "id": ("id", "prompt_id"),
}
_TURN_END = "<EOU>"  # of daily_dialog


@dataclass(frozen=True, slots=True)
class Found:
    """Texts of systems, and of which task they are; None where the files do not say."""

    outputs: Sequence[Output]
    task: str | None


def read_outputs(
    places: Iterable[str],
    *,
    task: str | None = None,
    stratify: str | None = None,
    data: str | None = None,
    metrics: Sequence[str] = (),
) -> Found:
    """Read texts of systems.

    Args:
        places: each `[NAME=]PLACE`: a run folder (its last evaluation), a grid or one of its cells, a folder of
            submissions, a file of `rl4lms evaluate --output`, or a table (CSV, JSONL, Parquet, TSV) with the columns
            prompt, completion and system. NAME replaces the name of the only system of a place.
        task: which of several to take.
        stratify: a column of the table or of the task's rows whose values are the strata; None: three lengths of the
            prompt.
        data: where the data of the task's full edition is, if not where the files say.
        metrics: columns of tables with a number for each text, such as `bleu`, which reports hold against what people
            say. Other places have the numbers of their metrics with them.

    Raises:
        ConfigError: a place holds nothing of the kind, or several tasks; metrics are named and no table.
        DataError: a file is damaged, or lacks a column.
    """
    outputs: list[Output] = []
    tasks: set[str] = set()
    owners: dict[str, str] = {}
    for given in places:
        name, sign, place = given.partition("=")
        if not sign or Path(given).exists():
            name, place = "", given
        found = _read(place, stratify, task, data, metrics)
        if not found:
            raise ConfigError(f"{place}: no texts{f' of the task {task}' if task else ''} are there")
        tasks |= {of for of, _ in found if of is not None}
        systems = {one.system for _, one in found}
        if name and len(systems) > 1:
            raise ConfigError(f"{given}: several systems are there ({', '.join(sorted(systems))}), and one name")
        for system in {name or system for system in systems}:
            if system in owners:
                raise ConfigError(
                    f"{owners[system]} and {place} are both called {system!r}; name one of them: other={place}"
                )
            owners[system] = place
        outputs += [replace(one, system=name) if name else one for _, one in found]
    if metrics and not any(one.values.keys() & set(metrics) for one in outputs):
        raise ConfigError(f"--metric {metrics[0]} is a column of a table, and no place is one; leave it out")
    if len(tasks) > 1:
        raise ConfigError(f"the texts are of several tasks ({', '.join(sorted(tasks))}); name one with --task")
    _check_prompts(outputs)
    if stratify is None:
        outputs = _by_length(outputs)
    return Found(outputs, next(iter(tasks), task))


def _check_prompts(outputs: Sequence[Output]) -> None:
    first: dict[str, Output] = {}
    for output in outputs:
        known = first.setdefault(output.prompt_id, output)
        if known.prompt != output.prompt:
            raise DataError(
                f"prompt {output.prompt_id!r} is not the same for {known.system} and for {output.system}; what is "
                "compared must answer the same prompts"
            )


def _by_length(outputs: Sequence[Output]) -> list[Output]:
    lengths = sorted({output.prompt_id: len(output.prompt) for output in outputs}.values())
    low, high = lengths[len(lengths) // 3], lengths[2 * len(lengths) // 3]

    def name(length: int) -> str:
        return "short" if length < low else "middle" if length < high else "long"

    return [replace(output, stratum=name(len(output.prompt))) for output in outputs]


def _read(
    place: str, stratify: str | None, task: str | None, data: str | None, metrics: Sequence[str]
) -> list[tuple[str | None, Output]]:
    path = Path(place)
    if not path.exists():
        raise ConfigError(f"{place}: there is no such run, grid or file")
    if path.is_dir():
        if kept := kept_evaluations(path):
            plain = [found for (step, masked), found in sorted(kept.items()) if not masked]
            return _of_evaluation(plain[-1], path.name, stratify, task, data)
        if path.joinpath("own.json").is_file():  # a cell
            return _of_evaluation(path / "own.json", path.parent.name, stratify, task, data)
        cells = sorted(path.glob(f"{CELLS}/{task or '*'}/*/*/own.json"))
        if cells:
            return [
                row for cell in cells for row in _of_evaluation(cell, cell.parent.parent.name, stratify, task, data)
            ]
        return _of_board(path, stratify, task, data)
    if path.suffix == ".json":
        return _of_evaluation(path, path.stem, stratify, task, data)
    if data is not None:
        raise ConfigError(
            f"--data says where a task's data is, and {place} is a table with its own prompts; leave it out"
        )
    return [(None, output) for output in _of_table(place, stratify, metrics)]


def _of_evaluation(
    path: Path, system: str, stratify: str | None, wanted: str | None, data: str | None
) -> list[tuple[str | None, Output]]:
    evaluation = read_evaluation(path)
    component = evaluation.recipe.get("task") or {}
    task = component.get("name")
    if wanted is not None and task not in (None, wanted):
        return []
    metrics = [key for key, value in evaluation.results.items() if value]
    samples = _samples(json.dumps(component), evaluation.split, data) if task else {}
    found = []
    for name, rows in evaluation.prompts.items():
        for row in rows:
            sample = samples.get(name) or Sample(name, row["prompt"], tuple(row.get("references", ())))
            values = {key: float(row[key]) for key in metrics if isinstance(row.get(key), int | float)}
            output = _output(sample, row["completion"], system, evaluation.seed, task, stratify)
            found.append((task, replace(output, values=values)))
    return found


def _of_board(path: Path, stratify: str | None, task: str | None, data: str | None) -> list[tuple[str | None, Output]]:
    """Texts of submissions, whose files have the ids of prompts alone."""
    found: list[tuple[str | None, Output]] = []
    for place, result in read_cells(path):
        if result.decoding != "own" or task not in (None, result.task):
            continue
        component = recipe_of(read_spec(place)).model_dump(mode="json")["task"]
        samples = _samples(json.dumps(component), "test", data)
        scores = read_scores(place / result.scores)
        for row, (name, completion) in enumerate(scores.completions()):
            if name not in samples:
                raise DataError(f"{scores.path}: {name!r} is no prompt of the task {result.task}")
            values = {key: float(column[row]) for key, column in scores.columns.items() if column[row] == column[row]}
            output = _output(samples[name], completion, result.system, result.seed, result.task, stratify)
            found.append((result.task, replace(output, values=values)))
    return found


@cache
def _samples(component: str, split: Any, data: str | None) -> dict[str, Sample]:
    """Return the prompts of a task by id; the task as JSON, so that those of many cells are read once."""
    task = json.loads(component)
    return {sample.id: sample for sample in build_task(task if data is None else placed(task, data)).samples(split)}


def _output(
    sample: Sample, completion: str, system: str, seed: int | None, task: str | None, stratify: str | None
) -> Output:
    if stratify is not None and stratify not in sample.meta:
        known = ", ".join(sorted(sample.meta)) or "none"
        raise ConfigError(f"--stratify {stratify}: prompts have no such column; they have {known}")
    stratum = "" if stratify is None else str(sample.meta[stratify])
    context = context_of(task, sample.prompt, sample.meta)
    return Output(
        sample.id, sample.prompt, completion, system, seed, context, stratum, references=tuple(sample.references)
    )


def _of_table(place: str, stratify: str | None, metrics: Sequence[str]) -> list[Output]:
    rows = open_rows(place)
    found = []
    for number in range(len(rows)):
        row, where = rows[number], rows.place(number)
        named = {
            key: next((name for name in names if row.get(name) is not None), None) for key, names in _NAMES.items()
        }
        for key in ("completion", "system"):
            if named[key] is None:
                raise DataError(
                    f"{where}: no column {key} ({', '.join(_NAMES[key])}); it has {', '.join(map(str, row))}"
                )
        value = {key: str(row[name]) if name else "" for key, name in named.items()}
        meta = {str(key): one for key, one in row.items() if key not in named.values()}
        sample = Sample(value["id"] or value["prompt"], value["prompt"], (), meta)
        if not sample.id:
            raise DataError(f"{where}: neither an id nor a prompt, so nobody knows what else answers the same")
        output = _output(sample, value["completion"], value["system"], None, None, stratify)
        found.append(replace(output, values={key: _number(row, key, where) for key in metrics}))
    return found


def _number(row: Mapping[str, Any], key: str, where: str) -> float:
    if key not in row:
        raise DataError(f"{where}: no column {key}, which --metric names; it has {', '.join(map(str, row))}")
    try:
        number = float(row[key])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: {key} is {row[key]!r}, and --metric names a column of numbers")
    return number


def context_of(task: str | None, prompt: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page can show of a prompt: `text`, and `turns` or a `table` where there are any."""
    found: dict[str, Any] = {"text": prompt}
    turns = meta.get("turns")
    if isinstance(turns, list | tuple) and all(isinstance(turn, str) for turn in turns):
        found["turns"] = list(turns)
    elif task == "daily_dialog" or _TURN_END in prompt:
        found["turns"] = [turn.strip() for turn in prompt.split(_TURN_END) if turn.strip()]
    table = meta.get("table")
    if isinstance(table, list | tuple) and table and all(isinstance(row, list | tuple) for row in table):
        marked = {tuple(place) for place in meta.get("highlighted_cells") or ()}
        found["table"] = [[_cell(cell, (y, x) in marked) for x, cell in enumerate(row)] for y, row in enumerate(table)]
        titles = (meta.get("table_page_title"), meta.get("table_section_title"))
        found["title"] = " · ".join(str(title) for title in titles if title)
    return found


def _cell(cell: Any, marked: bool) -> dict[str, Any]:
    if isinstance(cell, Mapping):
        return {
            "text": str(cell.get("value", "")),
            "header": bool(cell.get("is_header", False)),
            "marked": marked,
            "columns": max(1, int(cell.get("column_span", 1))),
            "rows": max(1, int(cell.get("row_span", 1))),
        }
    return {"text": str(cell), "header": False, "marked": marked, "columns": 1, "rows": 1}
