"""Results that nothing was trained for."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from rl4lms.grue.rescore import Prediction
from rl4lms.grue.result import RESULTS_FILE, Cost, Result, Value, write_results
from rl4lms.grue.scores import write_scores
from rl4lms.tasks import build
from rl4lms.types import MetricResult

COST = Cost(attempts=1, cpu_s=1.0, wall_s=1.0, peak_memory_mb=1.0, iterations=1, tokens=1)


def result(system: str = "ppo", seed: int = 0, decoding: str = "own", **changes: Any) -> Result:
    content: dict[str, Any] = {
        "task": "commongen",
        "task_version": 1,
        "edition": "mini",
        "system": system,
        "algorithm": "ppo",
        "model": "asset:base",
        "seed": seed,
        "decoding": decoding,
        "generation": {"temperature": 1.0},
        "prompts": 4,
        "metrics": {"meteor_exact_stem": Value(mean=0.5, stderr=0.1, n=4, higher_is_better=True)},
        "fingerprint": "0" * 16,
        "git_commit": None,
        "packages": {"torch": "2"},
        "cost": COST,
        "scores": f"{decoding}.parquet",
    }
    return Result(**(content | changes))


def write_cell(
    grid: Path,
    system: str,
    seed: int,
    values: list[float],
    whole: float = 1.0,
    *,
    task: str = "commongen",
    documents: list[str] | None = None,
    **about: Any,
) -> Path:
    """Write what a finished cell leaves: a metric of each text with these values, and one of the whole set."""
    folder = grid / "cells" / task / system / f"seed-{seed}"
    folder.mkdir(parents=True)
    mean = sum(values) / len(values)
    metrics = {
        "meteor_exact_stem": MetricResult("meteor_exact_stem", mean, 0.1, len(values), tuple(values), True),
        "distinct-2": MetricResult("distinct-2", whole, 0.1, len(values), None, True),
    }
    samples = [
        {"id": f"test-{i}", "prompt": f"p{i}", "completion": "c", "references": ["r"], "meteor_exact_stem": value}
        for i, value in enumerate(values)
    ]
    names = documents or [f"document {i}" for i in range(len(values))]
    results = []
    for decoding in ("own", "shared"):
        write_scores(folder / f"{decoding}.parquet", samples, {f"test-{i}": name for i, name in enumerate(names)})
        numbers = {
            key: Value(mean=m.mean, stderr=m.stderr, n=m.n, higher_is_better=m.higher_is_better)
            for key, m in metrics.items()
        }
        results.append(result(system, seed, decoding, metrics=numbers, prompts=len(values), task=task, **about))
    write_results(folder / RESULTS_FILE, results)
    return folder


@functools.cache
def task() -> Any:
    return build("commongen")


def predictions(count: int | None = None) -> list[Prediction]:
    """The first reference of each prompt, but for the first prompt: an empty text."""
    rows = task().samples("test")[:count]
    texts = ["", *(row.references[0] for row in rows[1:])]
    return [Prediction(row.id, row.prompt, text, None, f"row {row.id}") for row, text in zip(rows, texts, strict=True)]


def change(path: Path, edit: Any) -> None:
    """Let `edit` change the content of a JSON file, or the rows of a Parquet file."""
    if path.suffix == ".parquet":
        change_scores(path, edit)
        return
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def change_scores(path: Path, edit: Any) -> None:
    """Let `edit` change the rows of a Parquet file."""
    rows = pyarrow.parquet.read_table(path).to_pylist()
    edit(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
