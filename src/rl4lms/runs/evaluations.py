"""Evaluations as files: every prompt with its completions and values, and the settings that they were made with.

A run keeps its first evaluation and its last one in `evaluations/`, so that runs can be compared prompt by prompt;
`rl4lms evaluate --output` writes the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rl4lms.config.recipe import Recipe
from rl4lms.errors import DataError
from rl4lms.evaluation.evaluator import EvalResult
from rl4lms.runs.storage import write_text

FOLDER = "evaluations"
Which = Literal["trained", "start"]
_NAME = re.compile(r"step-(\d+)(-masked)?\.json")
_NEEDED = ("recipe", "model", "step", "split", "masked", "results", "samples")


def write_evaluation(
    path: Path, result: EvalResult, recipe: Recipe, *, model: Which, step: int, split: str, masked: bool
) -> None:
    """Write numbers and completions as JSON; NaN becomes null.

    Args:
        path: of the file.
        result: the evaluation.
        recipe: as the user wrote it; says how was decoded, and who the run is.
        model: whether the model that a run trained was evaluated, or the one that training starts from.
        step: iterations that it was trained for.
        split: where the prompts are from.
        masked: whether it was decoded inside the mask of rollouts.
    """
    write_text(path, _text(result, recipe, model=model, step=step, split=split, masked=masked))


def keep_evaluation(
    folder: Path, results: Mapping[str, EvalResult], recipe: Recipe, *, model: Which, step: int
) -> None:
    """Keep an evaluation of a run, and drop the earlier ones but that of step 0.

    Args:
        folder: of the run.
        results: by prefix: `eval/`, and `eval/masked/` inside the mask.
        recipe, model, step: as for `write_evaluation`.
    """
    place = folder / FOLDER
    split = recipe.evaluation.split
    for prefix, result in results.items():
        masked = prefix != "eval/"
        name = f"step-{step:06d}{'-masked' if masked else ''}.json"
        write_evaluation(place / name, result, recipe, model=model, step=step, split=split, masked=masked)
    for path in place.glob("step-*.json"):
        if step_of(path) not in (None, 0, step):
            path.unlink()


def step_of(path: Path) -> int | None:
    """Return the step that a kept evaluation is of; None for another file."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else None


def _text(result: EvalResult, recipe: Recipe, **about: Any) -> str:
    results = {key: {**r.summary(), "higher_is_better": r.higher_is_better} for key, r in result.results.items()}
    content = {
        **about,
        "prompts": result.prompts,
        "available": result.available,
        "results": results,
        "absent": dict(result.absent),
        "samples": result.samples,
        "recipe": recipe.model_dump(mode="json"),
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation that was read from a file; see `write_evaluation`.

    Attributes:
        path: of the file.
        recipe: as plain data.
        model, step, split, masked: what was evaluated, and where.
        results: `mean`, `stderr`, `n`, `higher_is_better` by metric.
        prompts: by prompt, in their order: the records of its completions.
    """

    path: Path
    recipe: Mapping[str, Any]
    model: Which
    step: int
    split: str
    masked: bool
    results: Mapping[str, Mapping[str, Any]]
    prompts: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def seed(self) -> int:
        """The seed of the run, which its decoding has, too."""
        return int(self.recipe["seed"])

    def values(self, key: str) -> NDArray[np.float64] | None:
        """Return the value of each prompt, the mean of its completions; NaN where none has one.

        Returns:
            (prompts,); None where the metric has one value for the whole set.
        """
        if not any(key in row for rows in self.prompts.values() for row in rows):
            return None
        kept = [[row[key] for row in rows if row.get(key) is not None] for rows in self.prompts.values()]
        return np.array([np.mean(values) if values else np.nan for values in kept], dtype=np.float64)

    def completions(self) -> list[tuple[str, str]]:
        """Return what was written: (prompt's id, completion)."""
        return [(name, row["completion"]) for name, rows in self.prompts.items() for row in rows]


def read_evaluation(path: Path) -> Evaluation:
    """Read a file of `write_evaluation`.

    Raises:
        DataError: it is none, or an earlier version wrote it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path}: this is no JSON ({error}); name a run, or a file of rl4lms evaluate --output"
        ) from error
    missing = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(
            f"{path}: no `{missing[0]}` in it, so it is no evaluation, or one of an earlier version; write it again: "
            "rl4lms evaluate RUN --output FILE"
        )
    prompts: dict[str, list[Mapping[str, Any]]] = {}
    for row in content["samples"]:
        prompts.setdefault(row["id"], []).append(row)
    return Evaluation(path=path, prompts=prompts, **{key: content[key] for key in _NEEDED if key != "samples"})


def kept_evaluations(folder: Path) -> dict[tuple[int, bool], Path]:
    """Return the evaluations that a run has kept, by step and whether they are of the mask."""
    found = ((_NAME.fullmatch(path.name), path) for path in (folder / FOLDER).glob("step-*.json"))
    return {(int(name[1]), name[2] is not None): path for name, path in found if name}
