"""Predictions that were made elsewhere, as a cell of a grid: on the tables beside the others, and in submissions."""

from __future__ import annotations

from pathlib import Path

from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError
from rl4lms.grue.rescore import Rescored
from rl4lms.grue.result import RESULTS_FILE, Result, Value, write_results
from rl4lms.grue.scores import documents_of, fingerprint, write_scores
from rl4lms.grue.spec import Outside, write_spec
from rl4lms.grue.suite import CELLS, System
from rl4lms.runs.environment import environment, library_commit, processor
from rl4lms.runs.outputs import check_folder
from rl4lms.runs.storage import replacing
from rl4lms.tasks import task_of


def place_of(grid: Path, recipe: Recipe, system: str, seed: int) -> Path:
    """Return the folder of a cell that is to be added, before its predictions are scored.

    Raises:
        ConfigError: the label is no name, or the cell is there already.
    """
    place = grid / CELLS / task_of(recipe).name / System.read(f"{system}=ppo").label / f"seed-{seed}"
    if place.exists():
        raise ConfigError(f"{place}: this cell is there already; name another seed or system, or remove it")
    place.parent.mkdir(parents=True, exist_ok=True)
    check_folder(place)
    return place


def add_outside(place: Path, scored: Rescored, recipe: Recipe, *, system: str, seed: int, model: str) -> Result:
    """Write scored predictions of a test split as a cell.

    Args:
        place: folder of the cell, see `place_of`.
        scored: every prompt that an evaluation draws.
        recipe: with the task and the metrics.
        system: label of its row.
        seed: which of its runs.
        model: who made them, in words.
    """
    task = task_of(recipe)
    assert recipe.task is not None
    mark = fingerprint([(row["id"], row["completion"]) for row in scored.samples])
    evaluation = recipe.evaluation.model_dump(mode="json", include={"metrics", "prompts", "prompt_seed"})
    component = recipe.task.model_dump(mode="json")
    spec = Outside(task.name, task.edition, system, seed, component, evaluation, model, mark)
    values = {key: Value.of(result) for key, result in scored.results.items()}
    result = Result(
        task=task.name,
        task_version=task.version,
        edition=task.edition,
        system=system,
        algorithm=None,
        model=model,
        seed=seed,
        decoding="own",
        generation={},
        prompts=len(scored.samples),
        metrics=values,
        absent=dict(scored.absent),
        fingerprint=mark,
        git_commit=library_commit(),
        packages=environment()["packages"],
        processor=processor(),
        cost=None,
        scores="own.parquet",
    )
    with replacing(place) as folder:
        write_spec(folder, spec)
        write_scores(folder / result.scores, scored.samples, documents_of(task, "test"))
        write_results(folder / RESULTS_FILE, [result])
    return result
