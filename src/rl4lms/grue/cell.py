"""Runs one cell of a grid in a process of its own: `python -m rl4lms.grue.cell FOLDER`.

`FOLDER/cell.json` says what to run. Training goes on where it was interrupted; `FOLDER/results.json` is written last,
so that a cell is finished if and only if it is there. What lies in the folder:

    cell.json       what the runner wrote
    run/            an ordinary run folder; none where nothing is trained
    own.parquet     texts and values of each prompt, see `scores.py`
    shared.parquet
    own.json        the same with prompts and references, as `rl4lms evaluate --output` writes it, for `rl4lms compare`
    shared.json
    attempts        a line for each time that it was begun
    results.json    the results
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

from rl4lms.api.calls import train
from rl4lms.config.recipe import Recipe
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.grue.result import RESULTS_FILE, Cost, Decoding, Result, Value, write_results
from rl4lms.grue.scores import documents_of, write_scores
from rl4lms.grue.spec import read_spec, read_start
from rl4lms.grue.suite import SHARED, Cell, task_of_cell
from rl4lms.runs.display import Display, quiet_libraries
from rl4lms.runs.environment import environment, library_commit, processor
from rl4lms.runs.evaluations import write_evaluation
from rl4lms.runs.history import read_history
from rl4lms.runs.layout import RESULT_FILE, is_run
from rl4lms.training.evaluate import evaluate, has_mask

RUN_FOLDER, ATTEMPTS_FILE = "run", "attempts"


def run_cell(folder: Path, cell: Cell, start: Path | None) -> list[Result]:
    """Run a cell, or finish it, and write its results.

    Args:
        folder: of the cell.
        cell: what to run.
        start: the model that it begins with, where another cell has trained it.
    """
    began = time.perf_counter()
    with (folder / ATTEMPTS_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
    run = folder / RUN_FOLDER
    recipe = cell.recipe(run, start)
    if cell.trains and not (run / RESULT_FILE).is_file():
        train(recipe, resume=is_run(run), progress=False)
    decodings: tuple[Decoding, ...] = ("own", "shared")
    evaluations = {decoding: _decoded(folder, cell, recipe, decoding) for decoding in decodings}
    cost = _cost(folder, recipe, cell, time.perf_counter() - began)
    documents, results = documents_of(task_of_cell(cell), "test"), []
    for decoding, (used, result) in evaluations.items():
        found = _result(cell, used, decoding, result, cost)
        write_scores(folder / found.scores, result.samples, documents)
        results.append(found)
    write_results(folder / RESULTS_FILE, results)
    return results


def _decoded(folder: Path, cell: Cell, recipe: Recipe, decoding: Decoding) -> tuple[Recipe, EvalResult]:
    masked = _is_masked(cell, recipe, decoding)
    if decoding == "shared":
        generation = {**recipe.decoding.model_dump(mode="json"), "num_beams": 1, "mask": False, "top_k": 0, **SHARED}
        settings = {**cell.blocks["evaluation"], "generation": generation}
        recipe = recipe.model_copy(update={"evaluation": type(recipe.evaluation)(**settings)})
    run = folder / RUN_FOLDER if cell.trains else None
    with Display(False) as display:
        result = evaluate(recipe, run_folder=run, split="test", masked=masked, display=display)
    path = folder / f"{decoding}.json"
    step = recipe.training.iterations if recipe.algorithm is not None else 0
    which: Any = "trained" if cell.trains else "start"
    write_evaluation(path, result, recipe, model=which, step=step, split="test", masked=masked)
    return recipe, result


def _is_masked(cell: Cell, recipe: Recipe, decoding: Decoding) -> bool:
    return decoding == "own" and cell.trains and has_mask(recipe)


def _cost(folder: Path, recipe: Recipe, cell: Cell, seconds: float) -> Cost:
    history = read_history(folder / RUN_FOLDER) if cell.trains else ()
    per_iteration = recipe.training.prompts_per_iteration * recipe.rollout.completions_per_prompt
    lengths = [row["rollout/completion_tokens"] for row in history if "rollout/completion_tokens" in row]
    used = resource.getrusage(resource.RUSAGE_SELF)
    in_mb = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    return Cost(
        attempts=len((folder / ATTEMPTS_FILE).read_text(encoding="utf-8").splitlines()),
        cpu_s=round(used.ru_utime + used.ru_stime, 1),
        wall_s=round(seconds, 1),
        peak_memory_mb=round(used.ru_maxrss / in_mb, 1),
        iterations=len(lengths),
        tokens=round(sum(lengths) * per_iteration),
    )


def _result(cell: Cell, recipe: Recipe, decoding: Decoding, result: EvalResult, cost: Cost) -> Result:
    task = task_of_cell(cell)
    values = {key: Value.of(value) for key, value in result.results.items()}
    masked = _is_masked(cell, recipe, decoding)
    return Result(
        task=cell.task,
        task_version=task.version,
        edition=cell.edition,
        system=cell.system.label,
        algorithm=cell.system.algorithm,
        model=cell.blocks["model"]["path"] if cell.after is None else f"cell:{cell.after.key}",
        seed=cell.seed,
        decoding=decoding,
        generation=recipe.decoding.model_dump(mode="json") | {"mask": masked},
        prompts=result.prompts,
        metrics=values,
        absent=dict(result.absent),
        fingerprint=cell.fingerprint,
        git_commit=library_commit(),
        packages=environment()["packages"],
        processor=processor(),
        cost=cost,
        scores="own.parquet" if decoding == "own" else "shared.parquet",
    )


def main(folder: Path) -> None:
    """Run the cell of a folder."""
    quiet_libraries()
    cell = read_spec(folder)
    assert isinstance(cell, Cell), f"{folder} holds predictions, and nothing to run"
    run_cell(folder, cell, read_start(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
