"""Results of lm-evaluation-harness on exported tasks, as cells of a grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl4lms.config.recipe import Recipe
from rl4lms.errors import ConfigError, DataError
from rl4lms.grue.access import foreign_code
from rl4lms.grue.outside import add_outside, place_of
from rl4lms.grue.rescore import Prediction, Scorer
from rl4lms.grue.spec import placed
from rl4lms.integrations.lm_eval import MARK, SPLIT, prompt_of, recipe_of, whole_text

# A classifier in float32 rounds otherwise for each batch (1e-9 was seen) and processor. What is kept is computed here.
_SAME = {"rel_tol": 1e-4, "abs_tol": 1e-4}


def add_results(
    path: Path,
    grid: Path,
    *,
    system: str,
    seed: int = 0,
    model: str | None = None,
    data: Mapping[str, str] | None = None,
    run_code: bool = False,
) -> dict[str, dict[str, float]]:
    """Add results of the harness on exported tasks to a grid, as cells. None is added unless all can be.

    The numbers are computed again from the texts, and must be those in the results.

    Args:
        path: `results_TIME.json`, with the files of `--log_samples` beside it.
        grid: folder of the grid.
        system: label of its row.
        seed: which of its runs.
        model: who made the texts, in words; None: as the results say.
        data: where the data of tasks is, by their names.
        run_code: whether Python files that the results name may be executed.

    Returns:
        The numbers by cell and key.

    Raises:
        ConfigError: a cell is there already, or the results name code that is not this library's.
        DataError: a file is missing or damaged, a prompt has no completion, or the numbers differ.
    """
    content = _json(path)
    tasks = _tasks(path, content)
    foreign = foreign_code(list(tasks.values()))
    if foreign and not run_code:
        raise ConfigError(
            f"{path}: its tasks have this library run what is not of it: {', '.join(foreign)}; read that, and add "
            "--run-code if you trust it"
        )
    found = []
    for name, one in tasks.items():
        if place := (data or {}).get(one["task"]["name"]):
            one["task"] = placed(one["task"], place)
        recipe = recipe_of(one, str(path))
        cell = place_of(grid, recipe, system, seed)
        scorer = Scorer.of(recipe, SPLIT)
        scored = scorer(_predictions(path, name, scorer, recipe, one.get("join")), wanted=scorer.drawn(recipe))
        numbers = {key: result.mean for key, result in scored.results.items()}
        _compare(f"{path}: {name}", content["results"].get(name, {}), numbers, [*one["of_text"], *one["of_set"]])
        found.append((cell, scored, recipe, numbers))
    who = model or _who(content)
    for cell, scored, recipe, _ in found:
        add_outside(cell, scored, recipe, system=system, seed=seed, model=who)
    return {"/".join(cell.parts[-3:]): numbers for cell, _, _, numbers in found}


def tasks_in(path: Path) -> list[str]:
    """Return the names of the exported tasks that results of the harness are of.

    Raises:
        DataError: there are none, or the file is damaged.
    """
    return sorted(str(one["task"]["name"]) for one in _tasks(path, _json(path)).values())


def _tasks(path: Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    told = {name: _metadata(path, config) for name, config in content["configs"].items()}
    tasks = {name: one for name, one in told.items() if one is not None}
    if not tasks:
        raise DataError(f"{path}: has no task that `rl4lms grue to-lm-eval` exported, only {', '.join(sorted(told))}")
    return tasks


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    blocks = ("results", "configs")
    if not isinstance(content, dict) or not all(isinstance(content.get(block), dict) for block in blocks):
        raise DataError(f"{path}: no results of lm-eval; name the file results_TIME.json of its --output_path")
    return content


def _metadata(path: Path, config: Any) -> dict[str, Any] | None:
    """Return what a task was exported from, None where it is none of ours."""
    metadata = config.get("metadata") if isinstance(config, Mapping) else None
    found = metadata.get(MARK) if isinstance(metadata, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    kinds = {"task": Mapping, "evaluation": Mapping, "of_text": list, "of_set": list}
    if not all(isinstance(found.get(key), kind) for key, kind in kinds.items()) or "name" not in found["task"]:
        raise DataError(f"{path}: the metadata of {config.get('task')!r} were altered; export it and run it again")
    return dict(found)


def _predictions(path: Path, name: str, scorer: Scorer, recipe: Recipe, join: str | None) -> list[Prediction]:
    """Read the completions that the harness kept of a task, in the order in which an evaluation draws prompts."""
    time = path.name.removeprefix("results_").removesuffix(".json")
    file = path.with_name(f"samples_{name}_{time}.jsonl")
    if not file.is_file():
        raise DataError(f"{file}: no such file; scores are computed from texts: run lm-eval with --log_samples")
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
            prompt_id, prompt, (completion,) = row["doc"]["id"], row["doc"]["prompt"], row["filtered_resps"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where}: not a sample of lm-eval with one completion: {error!r}") from error
        sample = scorer.samples.get(str(prompt_id))
        if not isinstance(completion, str) or not isinstance(prompt, str):
            raise DataError(f"{where}: prompt and completion are texts")
        if sample is not None and prompt != prompt_of(recipe, sample):
            raise DataError(f"{where}: the prompt {prompt_id!r} is {sample.prompt[:60]!r} here, not {prompt[:60]!r}")
        found.append(Prediction(str(prompt_id), "", completion, whole_text(sample, completion, join), where))
    order = {one: number for number, one in enumerate(scorer.drawn(recipe))}
    return sorted(found, key=lambda row: order.get(row.id, -1))


def _compare(where: str, said: Mapping[str, Any], numbers: Mapping[str, float], keys: Sequence[str]) -> None:
    """Refuse numbers that are not those of the texts."""
    there = {key.partition(",")[0]: value for key, value in said.items()}
    for key in keys:
        ours, theirs = numbers.get(key, math.nan), there.get(key, math.nan)
        if not isinstance(theirs, int | float):  # which it writes for a number that is none
            theirs = math.nan
        if not (math.isclose(ours, theirs, **_SAME) or (math.isnan(ours) and math.isnan(theirs))):
            raise DataError(
                f"{where}: {key} is {there.get(key, 'not there')} in the results, and {ours} from the texts: they were "
                f"altered, or scored with other versions of rl4lms and what it uses"
            )


def _who(content: Mapping[str, Any]) -> str:
    name = content.get("model_name") or content.get("model_source") or "unknown"
    return f"{name} (lm-eval {content.get('lm_eval_version', 'of unknown version')})"
